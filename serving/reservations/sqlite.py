"""Reservations in the journal's SQLite file: functions over the writer's connection, inside its transaction.

All claims of a commit are decided by one INSERT whose trigger runs the conditional UPDATE for each in turn: every
statement gives the interpreter lock away once, and a commit must not wait for it hundreds of times.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from serving.reservations.contract import Claim, in_the_way, totals
from serving.sql_rows import as_json, insert

SCHEMA = """
create table if not exists budget_use(
  budget_id text not null, period integer not null, spent integer not null default 0,
  open_count integer not null default 0, open_most integer not null default 0, open_mean real not null default 0,
  open_variance real not null default 0, open_third real not null default 0, safety real not null default 1,
  granted integer not null default 0, refused integer not null default 0, tight integer not null default 0,
  primary key(budget_id, period)) without rowid;
create table if not exists reservations(
  reservation_id text primary key, decision_id text not null, member_id text not null, candidate_id text not null,
  at integer not null, expires_at integer not null, state text not null, settled_at integer,
  matured integer not null default 0) without rowid;
create index if not exists reservations_by_decision on reservations(decision_id);
create index if not exists reservations_by_member on reservations(member_id, candidate_id, at);
create index if not exists reservations_to_mature on reservations(expires_at) where matured = 0;
create table if not exists draws(
  reservation_id text not null, budget_id text not null, period integer not null, unit text not null,
  amount integer not null, sure integer not null, most integer not null, face integer not null, mean real not null,
  variance real not null, third real not null, hard integer not null, taken integer,
  primary key(reservation_id, budget_id)) without rowid;
create table if not exists cap_uses(
  member_id text not null, key text not null, at integer not null, reservation_id text not null,
  primary key(member_id, key, at, reservation_id)) without rowid;
create index if not exists cap_uses_by_reservation on cap_uses(reservation_id);
create table if not exists calibration(
  budget_id text primary key, expected real not null, taken real not null, faces real not null,
  matured integer not null, safety real not null default 1) without rowid;
"""

_MEAN = "((u.open_mean + d.mean) * u.safety)"
_VARIANCE = "max((u.open_variance + d.variance) * u.safety, 1e-9)"
_QUANTILE = f"""({_MEAN} + d.z * sqrt({_VARIANCE})
  + (d.z * d.z - 1) / 6 * (u.open_third + d.third) * u.safety / {_VARIANCE})"""
"""Cornish & Fisher 1938, to the third moment."""
_FITS = f"""u.spent + d.sure + case when d.z is null then u.open_most + d.most
  else min(u.open_most + d.most, {_QUANTILE}) end <= d.amount"""
"""Whether a draw `d` fits into a budget `u`."""

_DRAWS = """select value->>0 as budget_id, value->>1 as period, value->>2 as amount, value->>3 as sure,
  value->>4 as most, value->>5 as mean, value->>6 as variance, value->>7 as third, value->>8 as z,
  value->>9 as checked, value->>10 as holds from json_each(new.draws)"""

_TEMPORARY = f"""
create temp table if not exists claims(
  n integer primary key, member_id text, at integer, draws text, caps text, wanted integer, granted integer);
create temp trigger if not exists grant_claim after insert on claims begin
  update claims set granted = not exists (
    select 1 from json_each(new.caps) c where c.value->>3 + (select count(*) from cap_uses
      where member_id = new.member_id and key = c.value->>0 and at > c.value->>2) > c.value->>1)
    where n = new.n;
  update budget_use set
    spent = spent + d.sure, open_count = open_count + d.holds, open_most = open_most + d.most,
    open_mean = open_mean + d.mean, open_variance = open_variance + d.variance, open_third = open_third + d.third,
    granted = granted + 1
  from ({_DRAWS}) d
  where budget_use.budget_id = d.budget_id and budget_use.period = d.period
    and (select granted from claims where n = new.n)
    and not exists (select 1 from ({_DRAWS}) d join budget_use u on u.budget_id = d.budget_id and u.period = d.period
      where d.checked and not ({_FITS}));
  update claims set granted = granted and changes() = new.wanted where n = new.n;
  insert into cap_uses(member_id, key, at, reservation_id)
    select new.member_id, c.value->>0, new.at, c.value->>4 from json_each(new.caps) c
    where (select granted from claims where n = new.n);
end;
"""
"""A claim is granted if its caps leave room and every budget that must can bear it: all of them change, or none."""


def prepare(connection: apsw.Connection) -> None:
    """Make the tables, and what lives with the connection."""
    connection.execute(SCHEMA)
    connection.execute(_TEMPORARY)


def reserve(connection: apsw.Connection, claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]:
    """See `Reservations.reserve`; the caller holds the transaction."""
    claims = _fresh(connection, [one for one in claims if one.holds])
    if not claims:
        return {}
    draws = [totals(one) for one in claims]
    connection.execute(_PERIODS, (as_json(sorted({(one.budget_id, one.period) for many in draws for one in many})),))
    rows = [
        (n, one.member_id, one.at, as_json([tuple(total) for total in many]), as_json(_caps(one)), len(many))
        for n, (one, many) in enumerate(zip(claims, draws, strict=True))
    ]
    insert(connection, "insert into claims(n, member_id, at, draws, caps, wanted)", rows)
    lost = [int(row[0]) for row in connection.execute("select n from claims where not granted")]
    refused = {claims[n].decision_id: _refused(connection, claims[n], n) for n in lost}
    connection.execute("delete from claims")
    _write(connection, [one for one in claims if one.decision_id not in refused])
    return refused


_PERIODS = """
insert or ignore into budget_use(budget_id, period, safety)
select value->>0, value->>1, coalesce((select safety from calibration where budget_id = value->>0), 1) from json_each(?)
"""


def _fresh(connection: apsw.Connection, claims: Sequence[Claim]) -> list[Claim]:
    """Claims of decisions that hold nothing yet."""
    if not claims:
        return []
    sql = "select decision_id from reservations where decision_id in (select value from json_each(?))"
    known = {row[0] for row in connection.execute(sql, (as_json([one.decision_id for one in claims]),))}
    found = {one.decision_id: one for one in reversed(claims) if one.decision_id not in known}
    return [one for one in claims if found.get(one.decision_id) is one]


def _caps(claim: Claim) -> list[tuple[str, int, int, int, str]]:
    """Key, count, since, how many of the claim fall under it, and the reservation, for all that are no rights."""
    free = [(hold, cap) for hold in claim.holds if not hold.forced for cap in hold.caps]
    keys = [cap.key for _, cap in free]
    return [(cap.key, cap.count, cap.since, keys.count(cap.key), hold.reservation_id) for hold, cap in free]


def _refused(connection: apsw.Connection, claim: Claim, n: int) -> tuple[str, ...]:
    """Note which budgets refused the claim, and say which candidate gives way."""
    budgets = [row[0] for row in connection.execute(_REFUSED, (n,))]
    keys = [row[0] for row in connection.execute(_CAPPED, (claim.member_id, n))]
    return in_the_way(claim, budgets, keys)


_REFUSED = f"""
update budget_use set refused = refused + 1, tight = f.amount from (select u.budget_id, u.period, d.amount from
  ({_DRAWS.replace("new.draws", "(select draws from claims where n = ?)")}) d
  join budget_use u on u.budget_id = d.budget_id and u.period = d.period where d.checked and not ({_FITS})) f
where budget_use.budget_id = f.budget_id and budget_use.period = f.period returning budget_use.budget_id
"""
_CAPPED = """
select value->>0 from json_each((select caps from claims where n = ?2)) where value->>3 + (select count(*) from cap_uses
  where member_id = ?1 and key = value->>0 and at > value->>2) > value->>1
"""


def _write(connection: apsw.Connection, claims: Sequence[Claim]) -> None:
    insert(
        connection,
        "insert into reservations(reservation_id, decision_id, member_id, candidate_id, at, expires_at, state)",
        [
            (hold.reservation_id, one.decision_id, one.member_id, hold.candidate_id, one.at, hold.expires_at, "open")
            for one in claims
            for hold in one.holds
        ],
    )
    insert(
        connection,
        "insert into draws(reservation_id, budget_id, period, unit, amount, sure, most, face, mean, variance, third,"
        " hard)",
        [
            (hold.reservation_id, d.budget_id, d.period, d.unit, d.amount, d.sure, d.most, d.face, d.mean, d.variance,
             d.third, int(d.quantile is None))
            for one in claims
            for hold in one.holds
            for d in hold.draws
        ],
    )  # fmt: skip
