"""Which rows a member's features are taken from, as SQL.

A *relation* is a member's facts of one kind, a row per fact. A row counts at `at` if and only if it happened by then,
was known by then and is younger than the relation's horizon. DuckDB runs these texts for many members and times in one
pass; the state of a member online is the same rows, stored (see `features.states`). The texts keep to what sqlglot
carries over to Spark.

Money is in whole cents and every stored column is a whole number, so that sums are exact in any order and both engines
agree to the last bit. Times are microseconds since 1970 (`…_us`); hours and weekdays are of the programme's zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlglot
from sqlglot import exp

from features.entities import ACTION_TYPES, OFFER_TYPES, Programme
from features.tables import ENGAGEMENT_TYPES, POINTS_TYPES

DAY = "8.64e10"
"""Microseconds of a day, written as a double so that no engine divides whole numbers."""
PARTS_OF_DAY = ("night", "morning", "afternoon", "evening")
TO_THE_NEWEST = "order by occurred_us, row_key rows between current row and unbounded following"


@dataclass(frozen=True, slots=True)
class Stored:
    """A column that the facts bring and the state keeps.

    Kinds: `whole` a whole number; `flag` 0 or 1; `word` one of `words`, or null; `name` any text, of which only
    sameness matters; `moment` a time in microseconds, or null.
    """

    name: str
    kind: Literal["whole", "flag", "word", "name", "moment"] = "whole"
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A member's facts of one kind."""

    name: str
    facts: str
    """SQL over the typed tables: member_id, occurred_us, known_us, row_key and the stored columns. Parts of one fact
    that were known at different times are rows of their own, and `gathered` adds up those known at `at`."""
    stored: tuple[Stored, ...]
    gathered: Mapping[str, str] = field(default_factory=dict)
    """Stored column → aggregate over the known rows with the same time, key and the rest. Empty: a row is a fact."""
    derived: tuple[tuple[str, str], ...] = ()
    """Columns that follow from the rows that count: name → SQL over the row, or a window over the member's rows."""
    horizon_days: int | None = None
    """Rows of this age or older do not count."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a member, defined once: an aggregate over the rows of one relation."""

    name: str
    family: str
    """What an ablation drops together."""
    relation: str
    sql: str
    doc: str


def microseconds(at: datetime) -> int:
    """An aware time as microseconds since 1970, exactly."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def relations(timezone: str) -> Mapping[str, Relation]:
    """All relations, by name.

    Args:
        timezone: Name of the zone in which hours and weekdays are read, such as `Europe/Amsterdam`.
    """
    found = (_baskets(timezone), _lines(), _points(), _offers(), _engagements(), _profile())
    return {relation.name: relation for relation in found}


def of(programme: Programme) -> Mapping[str, Relation]:
    """All relations of a programme, by name."""
    return relations(programme.timezone)


def counted(relation: Relation, *, upcoming: bool = False) -> str:
    """SQL for the rows that count for each row of the table `pairs` (pair, member_id, at_us).

    Args:
        relation: Its facts stand in the table `facts_<name>`.
        upcoming: Also the rows that are known at `at` and happen later; a state keeps them.
    """
    limits = ["facts.known_us <= pairs.at_us"]
    if not upcoming:
        limits.append("facts.occurred_us <= pairs.at_us")
    if relation.horizon_days is not None:
        limits.append(f"pairs.at_us - facts.occurred_us < {relation.horizon_days * 86_400_000_000}")
    columns = ["pair", "at_us", "occurred_us", "row_key", *(column.name for column in relation.stored)]
    keys = [name for name in columns if name not in relation.gathered]
    chosen = keys + [f"{text} as {name}" for name, text in relation.gathered.items()]
    group = f" group by {', '.join(keys)}" if relation.gathered else ""
    joined = f"pairs join facts_{relation.name} as facts on facts.member_id = pairs.member_id"
    return f"select {', '.join(chosen)} from {joined} where {' and '.join(limits)}{group}"


def with_derived(relation: Relation, rows: str) -> str:
    """SQL for the rows with their derived columns; windows stay inside a pair."""
    for name, text in relation.derived:
        rows = f"select *, {_inside_pair(text)} as {name} from ({rows}) as counted"
    return rows


def to_spark(text: str) -> str:
    """The same SQL in Spark's dialect."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for node in list(tree.find_all(exp.Anonymous)):
        if node.name.lower() == "epoch_us":
            node.set("this", "unix_micros")
    for part in list(tree.find_all(exp.Extract)):
        if part.name.lower() == "isodow":
            part.set("this", exp.var("DAYOFWEEK_ISO"))
    return str(tree.sql(dialect="spark"))


def _inside_pair(text: str) -> str:
    tree = sqlglot.parse_one(text, read="duckdb")
    for window in tree.find_all(exp.Window):
        window.set("partition_by", [exp.column("pair"), *(window.args.get("partition_by") or [])])
    return str(tree.sql(dialect="duckdb"))


_AGE = ("age_days", f"(at_us - occurred_us) / {DAY}")


def _baskets(timezone: str) -> Relation:
    zone = timezone.replace("'", "''")
    return Relation(
        name="baskets",
        facts=f"""
            with priced as (
                select member_id, basket_id, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
                    cast(round(amount * 100) as bigint) as cents,
                    cast(round(discount * 100) as bigint) as discount_cents,
                    cast(round(quantity) as bigint) as units,
                    case when quantity > 0 then 1 else 0 end as bought,
                    case when offer_id is not null then 1 else 0 end as offered,
                    occurred_at at time zone '{zone}' as local
                from purchases
            )
            select member_id, basket_id as row_key, occurred_us, known_us,
                cast(sum(cents) as bigint) as spend,
                cast(sum(case when bought = 1 then cents else 0 end) as bigint) as bought_cents,
                cast(sum(case when bought = 1 then discount_cents else 0 end) as bigint) as discount,
                cast(sum(case when bought = 1 then units else 0 end) as bigint) as units,
                cast(sum(bought) as bigint) as lines,
                max(bought) as bought,
                max(offered) as offered,
                max(case when bought = 1 and extract(isodow from local) >= 6 then 1 else 0 end) as weekend,
                max(case when bought = 0 then null when extract(hour from local) < 6 then 'night'
                    when extract(hour from local) < 12 then 'morning'
                    when extract(hour from local) < 18 then 'afternoon' else 'evening' end) as part
            from priced
            group by member_id, basket_id, occurred_us, known_us
        """,
        stored=(
            Stored("spend"),
            Stored("bought_cents"),
            Stored("discount"),
            Stored("units"),
            Stored("lines"),
            Stored("bought", "flag"),
            Stored("offered", "flag"),
            Stored("weekend", "flag"),
            Stored("part", "word", PARTS_OF_DAY),
        ),
        gathered={
            **{
                name: f"cast(sum({name}) as bigint)" for name in ("spend", "bought_cents", "discount", "units", "lines")
            },
            **{name: f"max({name})" for name in ("bought", "offered", "weekend", "part")},
        },
        derived=(
            _AGE,
            (
                "gap_days",
                f"(occurred_us - lag(occurred_us) over (partition by bought order by occurred_us, row_key)) / {DAY}",
            ),
            ("newer_spend", f"sum(spend) over ({TO_THE_NEWEST}) - spend"),
        ),
        horizon_days=1095,
    )


def _lines() -> Relation:
    return Relation(
        name="lines",
        facts="""
            select purchases.member_id as member_id, purchases.basket_id as row_key,
                epoch_us(purchases.occurred_at) as occurred_us, epoch_us(purchases.known_at) as known_us,
                coalesce(products.category, 'unknown') as category,
                cast(sum(cast(round(purchases.amount * 100) as bigint)) as bigint) as spend
            from purchases left join products on products.product_id = purchases.product_id
            where purchases.quantity > 0
            group by 1, 2, 3, 4, 5
        """,
        stored=(Stored("category", "name"), Stored("spend")),
        gathered={"spend": "cast(sum(spend) as bigint)"},
        derived=(_AGE, ("category_spend", "sum(spend) over (partition by category)")),
        horizon_days=365,
    )


def _points() -> Relation:
    return Relation(
        name="points",
        facts="""
            select member_id, entry_id as row_key, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
                type, cast(round(points) as bigint) as points, lot_id as lot, epoch_us(expires_at) as expires_us
            from points
        """,
        stored=(
            Stored("type", "word", POINTS_TYPES),
            Stored("points"),
            Stored("lot", "name"),
            Stored("expires_us", "moment"),
        ),
        derived=(
            _AGE,
            ("lot_expires_us", "max(expires_us) over (partition by lot)"),
            ("days_left", f"(lot_expires_us - at_us) / {DAY}"),
        ),
    )


def _offers() -> Relation:
    kinds = (*OFFER_TYPES, *(action for action in ACTION_TYPES if action != "do_nothing"))
    return Relation(
        name="offers",
        facts="""
            select member_id, event_id as row_key, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
                case when type in ('sent', 'impression') then 1 else 0 end as seen,
                case when type in ('accept', 'redeem') then 1 else 0 end as accepted,
                case when type = 'unsubscribe' then 1 else 0 end as unsubscribed,
                case when type in ('sent', 'impression') then offer_type end as seen_kind,
                case when type in ('accept', 'redeem') then offer_type end as accepted_kind
            from offer_events
        """,
        stored=(
            Stored("seen", "flag"),
            Stored("accepted", "flag"),
            Stored("unsubscribed", "flag"),
            Stored("seen_kind", "word", kinds),
            Stored("accepted_kind", "word", kinds),
        ),
        derived=(_AGE,),
        horizon_days=365,
    )


def _engagements() -> Relation:
    return Relation(
        name="engagements",
        facts="""
            select member_id, engagement_id as row_key, epoch_us(occurred_at) as occurred_us,
                epoch_us(known_at) as known_us, type
            from engagements
        """,
        stored=(Stored("type", "word", ENGAGEMENT_TYPES),),
        derived=(_AGE,),
        horizon_days=365,
    )


def _profile() -> Relation:
    return Relation(
        name="profile",
        facts="""
            select member_id, '' as row_key, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
                epoch_us(enrolled_at) as enrolled_us
            from members
        """,
        stored=(Stored("enrolled_us", "moment"),),
        derived=(_AGE, ("enrolled_days", f"(at_us - enrolled_us) / {DAY}")),
    )
