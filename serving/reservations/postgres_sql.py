"""The tables of reservations in PostgreSQL, and the statements that change them."""

SCHEMA = """
create table if not exists budget_use(
  budget_id text not null, period bigint not null, spent bigint not null default 0,
  open_count bigint not null default 0,
  open_most bigint not null default 0, open_mean float8 not null default 0, open_variance float8 not null default 0,
  open_third float8 not null default 0, safety float8 not null default 1, granted bigint not null default 0,
  refused bigint not null default 0, tight bigint not null default 0, primary key(budget_id, period));
create table if not exists reservations(
  reservation_id text primary key, decision_id text not null, member_id text not null, candidate_id text not null,
  at bigint not null, expires_at bigint not null, state text not null, settled_at bigint,
  matured boolean not null default false);
create index if not exists reservations_by_decision on reservations(decision_id);
create index if not exists reservations_by_member on reservations(member_id, candidate_id, at);
create index if not exists reservations_to_mature on reservations(expires_at) where not matured;
create table if not exists draws(
  reservation_id text not null, budget_id text not null, period bigint not null, unit text not null,
  amount bigint not null, sure bigint not null, most bigint not null, face bigint not null, mean float8 not null,
  variance float8 not null, third float8 not null, hard boolean not null, taken bigint,
  primary key(reservation_id, budget_id));
create table if not exists claimed(
  decision_id text primary key, keeper text not null default '', made_at timestamptz not null default now(),
  kept boolean not null default false);
create index if not exists claimed_unsure on claimed(keeper, made_at) where not kept;
create table if not exists told(keeper text primary key, seq bigint not null);
create table if not exists cap_members(member_id text primary key);
create table if not exists cap_uses(
  member_id text not null, key text not null, at bigint not null, reservation_id text not null,
  primary key(member_id, key, at, reservation_id));
create index if not exists cap_uses_by_reservation on cap_uses(reservation_id);
create table if not exists calibration(
  budget_id text primary key, expected float8 not null, taken float8 not null, faces float8 not null,
  matured bigint not null, safety float8 not null default 1);
"""

_VARIANCE = "greatest((open_variance + %(variance)s) * safety, 1e-9)"
_FITS = f"""spent + %(sure)s + case when %(quantile)s::float8 is null then open_most + %(most)s
  else least(open_most + %(most)s, (open_mean + %(mean)s) * safety + %(quantile)s::float8 * sqrt({_VARIANCE})
    + (%(quantile)s::float8 * %(quantile)s::float8 - 1) / 6 * (open_third + %(third)s) * safety / {_VARIANCE})
  end <= %(amount)s"""
RESERVE = f"""update budget_use set spent = spent + %(sure)s, open_count = open_count + %(holds)s,
  open_most = open_most + %(most)s, open_mean = open_mean + %(mean)s, open_variance = open_variance + %(variance)s,
  open_third = open_third + %(third)s, granted = granted + 1
  where budget_id = %(budget_id)s and period = %(period)s and (not %(checked)s or {_FITS})"""
PERIOD = """insert into budget_use(budget_id, period, safety)
  values (%s, %s, coalesce((select safety from calibration where budget_id = %s), 1)) on conflict do nothing"""
LESS = """open_count = open_count - d.holds, open_most = open_most - d.most,
  open_mean = case when open_count <= d.holds then 0 else open_mean - d.mean end,
  open_variance = case when open_count <= d.holds then 0 else greatest(open_variance - d.variance, 0) end,
  open_third = case when open_count <= d.holds then 0 else open_third - d.third end, tight = 0"""
SAME = "budget_use.budget_id = d.budget_id and budget_use.period = d.period"
EXPIRE = f"""update budget_use set {LESS} from (select budget_id, period, count(*) as holds, sum(most) as most,
    sum(mean) as mean, sum(variance) as variance, sum(third) as third from draws
    where reservation_id = any(%s) and budget_id = %s and period = %s group by budget_id, period) d where {SAME}"""
MATURED = """select budget_id, sum(mean), sum(coalesce(taken, 0)), sum(face), count(*) from draws
  join reservations using (reservation_id) where mean > 0 and state != 'released' and reservation_id = any(%s)
  group by budget_id order by budget_id"""

NEWEST = """select reservation_id from reservations
where (%(decision)s::text is null or decision_id = %(decision)s) and (%(id)s::text is null or candidate_id = %(id)s)
  and (%(decision)s::text is not null or (member_id = %(member)s and %(id)s::text is not null))
order by (state = 'open') desc, at desc limit 1"""
TELL = """insert into told as t values (%s, %s)
on conflict(keeper) do update set seq = greatest(t.seq, excluded.seq)"""
UNSURE = """select decision_id from claimed
where keeper = %s and not kept and made_at < now() - make_interval(secs => %s) limit 1000"""
