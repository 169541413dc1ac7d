"""What counts towards a tier, as a relation of its own: only for programmes whose tiers are held beyond the window.

Beside the member's baskets it has a row for the beginning of each period (a calendar year, or a year of membership)
in which they may still count. So the period of any moment is the highest one among the rows that happened by then, and
neither engine has to know a calendar.
"""

from __future__ import annotations

from features.entities import TierRules
from features.relations import Relation, Stored

HORIZON_DAYS = 2922
"""Eight years: what is older is forgotten; `features.standing.faults` refuses rules that look further back."""
DAY = "8.64e10"
_AMOUNT = {
    "spend": "cast(sum(cast(round(amount * 100) as bigint)) as bigint)",
    "baskets": "cast(max(case when quantity > 0 then 1 else 0 end) as bigint)",
}
_GATHERED = {"spend": "cast(sum(qualifying) as bigint)", "baskets": "max(qualifying)"}
_ANCHOR = {
    "calendar": "cast('2000-01-01 00:00:00' as timestamp)",
    "membership": "date_trunc('day', coalesce(min(enrolled_at), min(began)) at time zone '{zone}')",
}


def scale(rules: TierRules) -> int:
    """Units of `qualifying` in one unit of a tier's threshold: cents, or baskets."""
    return 100 if rules.measure == "spend" else 1


def standing(timezone: str, rules: TierRules, tiers: int) -> Relation:
    """The relation `standing`: `qualifying` in whole units, `period` the year in which the period begins (0: none).

    Rows of periods that begin carry `ends_us`, when they end; rows of baskets do not. No rows at all under the plain
    rule.

    Args:
        timezone: The programme's; periods begin at midnight there.
        rules: What counts, in which periods.
        tiers: How many tiers there are: what was reached may be felt for as many periods after its own.
    """
    if rules == TierRules():
        facts = f"select * from ({_rows(rules)}) as nothing where false"
    else:
        facts = _with_periods(timezone.replace("'", "''"), rules, tiers + 2) if rules.reviewed else _rows(rules)
    return Relation(
        name="standing",
        facts=facts,
        stored=(Stored("qualifying"), Stored("period"), Stored("ends_us", "moment")),
        gathered={"qualifying": _GATHERED[rules.measure]},
        derived=(("age_days", f"(at_us - occurred_us) / {DAY}"),),
        horizon_days=HORIZON_DAYS,
    )


def _counted(rules: TierRules) -> str:
    return f"""select member_id, basket_id, occurred_at, known_at, {_AMOUNT[rules.measure]} as qualifying
        from purchases group by member_id, basket_id, occurred_at, known_at"""


def _rows(rules: TierRules) -> str:
    return f"""
        select member_id, basket_id as row_key, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
            qualifying, 0 as period, cast(null as bigint) as ends_us
        from ({_counted(rules)}) as counted_rows
    """


def _with_periods(zone: str, rules: TierRules, ahead: int) -> str:
    """Baskets with their period, and the beginnings of their periods and of so many after them."""
    anchor = _ANCHOR["membership" if rules.window == "membership_year" else "calendar"].format(zone=zone)
    steps = ", ".join(f"({step})" for step in range(ahead + 1))
    start = "anchor + (period - extract(year from anchor)) * interval '1' year"
    after = "anchor + (period + 1 - extract(year from anchor)) * interval '1' year"
    return f"""
        with counted_rows as ({_counted(rules)}),
        began as (select member_id, min(occurred_at) as began from counted_rows group by member_id),
        anchors as (
            select began.member_id as member_id, {anchor} as anchor
            from began left join members on members.member_id = began.member_id group by began.member_id
        ),
        dated as (
            select counted_rows.*, anchor, occurred_at at time zone '{zone}' as local
            from counted_rows join anchors on anchors.member_id = counted_rows.member_id
        ),
        placed as (
            select *, case
                when anchor + (extract(year from local) - extract(year from anchor)) * interval '1' year <= local
                then extract(year from local) else extract(year from local) - 1 end as period
            from dated
        ),
        steps (ahead) as (values {steps}),
        begun as (
            select member_id, anchor, period + ahead as period, min(known_at) as known_at
            from placed cross join steps group by member_id, anchor, period + ahead
        )
        select member_id, basket_id as row_key, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
            qualifying, cast(period as bigint) as period, cast(null as bigint) as ends_us
        from placed
        union all
        select member_id, 0 as row_key, epoch_us(({start}) at time zone '{zone}') as occurred_us,
            epoch_us(known_at) as known_us, 0 as qualifying, cast(period as bigint) as period,
            epoch_us(({after}) at time zone '{zone}') as ends_us
        from begun
    """
