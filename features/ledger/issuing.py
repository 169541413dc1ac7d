"""Which lots a history issues, by the tier's rate and by every earning rule: SQL over purchases and engagements.

The tables made here, all in the session's database: `priced` (each basket with the rate and tier of its moment), `lots`
(what was issued, by which rule) and `changes` (what each return takes back). Amounts are exact decimals, and every
order is total, so the answer depends on the set of rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from features.entities import Programme, Tier, TierRules
from features.ledger import occasions, ranked
from features.ledger.rules import EarningRule
from features.table_files import quote

MONEY = "decimal(18, 4)"
RATE = "decimal(9, 4)"
SPEND = "spend"
"""The rule that every programme has: a basket earns at the rate of its member's tier."""
LOT = "member_id, rule, owner, basket_id, moment, known_at, covered, rate, fixed, min_spend, wished, life_days, ordinal"
"""A lot before the limits: `owner` is whose basket it rests on (null: on none), `covered` the money it counts."""


def issue(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """Make `priced`, `lots` and `changes` from the tables `facts`, `engagements`, `goods` and `audience`.

    Args:
        db: A session that holds those tables.
        programme: Tiers, rates, how long points live, earning rules.
    """
    _make_baskets(db)
    occasions.make(db, programme)
    _make_priced(db, programme)
    _make_covers(db, programme.earning.rules)
    parts = [_spend_lots(programme), *(_rule_lots(rule, programme) for rule in programme.earning.rules)]
    db.execute(f"create temp table wishes as {' union all '.join(parts)}")
    _make_lots(db, programme)
    _make_changes(db)


def _make_baskets(db: duckdb.DuckDBPyConnection) -> None:
    """The table `baskets`: what was bought in each."""
    db.execute(
        f"""create temp table baskets as
        select member_id, basket_id, min(occurred_at) as moment, max(known_at) as known_at,
            cast(sum(cast(amount as {MONEY})) as {MONEY}) as bought
        from facts where quantity > 0 group by member_id, basket_id"""
    )


def _make_priced(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """The table `priced`: each basket and each other occasion with the rate and the tier of its moment."""
    if programme.tier_rules != TierRules():
        ranked.make_priced(db, programme)
        return
    windows = sorted({tier.window_days for tier in programme.tiers if tier.min_spend > 0})
    sums = "".join(f", {_spend_in(days)} as spend_{days}" for days in windows)
    rates = [f"{tier.earn_rate!r}::{RATE}" for tier in programme.tiers]
    names = [quote(tier.id) for tier in programme.tiers]
    db.execute(
        f"""create temp table priced as
        with moves as (
            select member_id, null as basket_id, null as key, null as kind, occurred_at as moment, known_at,
                cast(amount as {MONEY}) as spent, null as bought from facts
            union all
            select member_id, basket_id, basket_id, 'purchase', moment, known_at, 0, bought from baskets
            union all
            select member_id, null, key, kind, moment, known_at, 0, null from occasions
        ), spending as (select *{sums} from moves)
        select member_id, basket_id, key, kind, moment, known_at, bought,
            {_of_tier(programme.tiers, rates)} as rate, {_of_tier(programme.tiers, names)} as tier
        from spending where kind is not null"""
    )


def _spend_in(days: int) -> str:
    """Spend of the days before a moment: younger than `days`, and not of the moment itself."""
    return (
        "coalesce(sum(spent) over (partition by member_id order by moment "
        f"range between to_microseconds({days * 86_400_000_000 - 1}) preceding and to_microseconds(1) preceding), 0)"
    )


def _of_tier(tiers: tuple[Tier, ...], values: list[str]) -> str:
    """What belongs to the highest tier reached, as SQL."""
    cases = [
        f"when spend_{tier.window_days} >= cast({tier.min_spend!r} as {MONEY}) then {value}"
        for tier, value in reversed(list(zip(tiers, values, strict=True)))
        if tier.min_spend > 0
    ]
    return f"case {' '.join(cases)} else {values[0]} end" if cases else values[0]


def _make_covers(db: duckdb.DuckDBPyConnection, rules: tuple[EarningRule, ...]) -> None:
    """The table `covers`: the products that a rule names, itself or by category; a rule that names none covers all."""
    db.execute("create temp table covers (rule varchar, product_id varchar)")
    for rule in rules:
        for column, wanted in (("category", rule.categories), ("product_id", rule.products)):
            if wanted:
                db.execute(
                    f"insert into covers select distinct {quote(rule.id)}, product_id from goods "
                    f"where {column} in ({', '.join(map(quote, wanted))})"
                )


def _spend_lots(programme: Programme) -> str:
    return f"""select member_id, '{SPEND}' as rule, member_id as owner, basket_id, moment, known_at, bought as covered,
        rate, 0 as fixed, 0::{MONEY} as min_spend, floor(bought * rate) as wished,
        {programme.points.expiry_days} as life_days, basket_id as ordinal
        from priced where kind = 'purchase'"""


def _rule_lots(rule: EarningRule, programme: Programme) -> str:
    """What a rule gives before its limit, as SQL with the columns `LOT`."""
    life = programme.points.expiry_days if rule.expiry_days is None else rule.expiry_days
    holds = " and ".join(_holds(rule)) or "true"
    name = quote(rule.id)
    if rule.type == "purchase":
        return _purchase_lots(rule, name, holds, life)
    if rule.type == "referral":
        return " union all ".join(_referral_lots(rule, name, holds, life))
    kind = occasions.streak(rule.days) if rule.type == "check_in_streak" else rule.type
    return f"""select member_id, {name}, null, null, moment, known_at, 0, 0, {rule.points}, 0, {rule.points}, {life},
        key from priced where kind = '{kind}' and {holds}"""


def _holds(rule: EarningRule) -> Iterator[str]:
    """Window, tiers and audience as SQL over `priced`."""
    if rule.starts:
        yield f"moment >= {quote(rule.starts.isoformat())}::timestamptz"
    if rule.ends:
        yield f"moment < {quote(rule.ends.isoformat())}::timestamptz"
    if rule.tiers:
        yield f"tier in ({', '.join(map(quote, rule.tiers))})"
    if rule.segments:
        yield f"member_id in (select a.member_id from audience a where a.rule = {quote(rule.id)})"


def _purchase_lots(rule: EarningRule, name: str, holds: str, life: int) -> str:
    more = f"{rule.multiplier - 1!r}::{RATE}"
    only = f"and f.product_id in (select c.product_id from covers c where c.rule = {name})" if _narrow(rule) else ""
    return f"""select member_id, {name}, member_id, basket_id, moment, known_at, covered, rate, fixed, low,
            case when covered <= 0 or covered < low then 0 else floor(covered * rate) + fixed end, {life}, basket_id
        from (
            select p.member_id, p.basket_id, p.moment, p.known_at, p.rate * {more} as rate, {rule.points} as fixed,
                {rule.min_spend!r}::{MONEY} as low, cast(sum(cast(f.amount as {MONEY})) as {MONEY}) as covered
            from (select * from priced where kind = 'purchase' and {holds}) p
            join facts f on f.member_id = p.member_id and f.basket_id = p.basket_id and f.quantity > 0 {only}
            group by all)"""


def _narrow(rule: EarningRule) -> bool:
    return bool(rule.categories or rule.products)


def _referral_lots(rule: EarningRule, name: str, holds: str, life: int) -> Iterator[str]:
    """Both members are credited when the newcomer enrols or, with `min_spend`, at the first basket that comes to it."""
    low = f"{rule.min_spend!r}::{MONEY}"
    came = f"""select r.*, p.moment, p.known_at from (select * from priced where kind = 'referral' and {holds}) p
        join referrals r using (key)"""
    if rule.min_spend > 0:
        when = f"""select c.*, b.basket_id as basket, b.bought, b.moment as since,
                greatest(b.known_at, c.known_at) as told
            from ({came}) c join baskets b on b.member_id = c.referred and b.moment >= c.moment and b.bought >= {low}
            qualify row_number() over (partition by c.key order by b.moment, b.basket_id) = 1"""
        rests = "referred, basket"
    else:
        when = f"select *, 0 as bought, moment as since, known_at as told from ({came})"
        rests = "null, null"
    for whom, points in (("referrer", rule.points), ("referred", rule.points_referred)):
        if points:
            yield f"""select {whom}, {name}, {rests}, since, told, bought, 0, {points}, {low}, {points}, {life},
                key || ':{whom}' from ({when})"""


def _make_lots(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """The table `lots`: the wishes inside the limits of their rules, first come first served."""
    cases = [(rule, rule.limit) for rule in programme.earning.rules if rule.limit.times or rule.limit.points]
    period = "".join(f" when {quote(rule.id)} then {_period(limit.per, programme.timezone)}" for rule, limit in cases)
    times = "".join(f" when {quote(rule.id)} then {limit.times or 'null'}" for rule, limit in cases)
    points = "".join(f" when {quote(rule.id)} then {limit.points or 'null'}" for rule, limit in cases)
    limited = f"case rule{period} end as period, case rule{times} end as most_times, case rule{points} end as most"
    none = "null::varchar as period, null::bigint as most_times, null::bigint as most"
    db.execute(
        f"""create temp table lots as
        with named as (select {LOT}, {limited if cases else none} from wishes where wished > 0),
        counted as (
            select *, row_number() over so_far as nth, sum(wished) over so_far - wished as before from named
            window so_far as (partition by member_id, rule, period order by moment, ordinal
                rows between unbounded preceding and current row)
        ), given as (
            select *, case when most_times is not null and nth > most_times then 0
                when most is null then wished else greatest(least(wished, most - before), 0) end as issued
            from counted
        )
        select member_id, rule, owner, basket_id, moment, known_at, covered, rate, fixed, min_spend, issued,
            member_id || ':' || ordinal || case rule when '{SPEND}' then '' else ':' || rule end as lot_id,
            moment + to_days(life_days::integer) as expires_at
        from given where issued > 0"""
    )


def _period(per: str, zone: str) -> str:
    if per == "ever":
        return "'ever'"
    return f"cast(date_trunc('{per}', moment at time zone {quote(zone)}) as varchar)"


def _make_changes(db: duckdb.DuckDBPyConnection) -> None:
    """The table `changes`: what each return takes back from the lots that rest on its sale, living or not."""
    db.execute(
        f"""create temp table changes as
        with returned as (
            select r.purchase_id, l.lot_id, l.member_id, l.rule, l.issued, l.covered, l.rate, l.fixed, l.min_spend,
                l.expires_at, r.occurred_at as moment, r.known_at,
                sum(cast(-r.amount as {MONEY})) over (
                    partition by l.lot_id order by r.occurred_at, r.purchase_id
                    rows between unbounded preceding and current row) as back
            from facts r join facts s on r.reverses = s.purchase_id and r.member_id = s.member_id
            join lots l on l.owner = s.member_id and l.basket_id = s.basket_id
            where r.quantity < 0 and r.occurred_at >= l.moment and (
                l.rule not in (select c.rule from covers c)
                or exists (select 1 from covers c where c.rule = l.rule and c.product_id = s.product_id))
        ), staying as (
            select *, cast(greatest(covered - back, 0) as {MONEY}) as still from returned
        ), worth as (
            select *, least(issued, case when still < min_spend or still <= 0 then 0
                else floor(still * rate) + fixed end) as stays from staying
        ), lowest as (
            select *, min(stays) over (partition by lot_id order by moment, purchase_id
                rows between unbounded preceding and current row) as left_over from worth
        )
        select *, coalesce(lag(left_over) over (partition by lot_id order by moment, purchase_id), issued) - left_over
            as reversed from lowest"""
    )
