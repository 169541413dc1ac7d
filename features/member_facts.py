"""The relations: baskets, lines, points, offers, engagements, profile and standing, as SQL over the typed tables.

Money is in whole cents and every stored column is a whole number, so that sums are exact in any order and both engines
agree to the last bit. Times are microseconds since 1970 (`…_us`); hours and weekdays are of the programme's zone.
"""

from __future__ import annotations

from collections.abc import Mapping

from features import qualifying
from features.entities import ACTION_TYPES, OFFER_TYPES, Programme, TierRules
from features.relations import Relation, Stored
from features.tables import ENGAGEMENT_TYPES, POINTS_TYPES

DAY = "8.64e10"
"""Microseconds of a day, written as a double so that no engine divides whole numbers."""
PARTS_OF_DAY = ("night", "morning", "afternoon", "evening")
TO_THE_NEWEST = "order by occurred_us, row_key rows between current row and unbounded following"
_TIMES = ("occurred_at", "known_at")
READ: Mapping[str, tuple[str, ...]] = {
    "members": (
        *("member_id", "enrolled_at", "region"),
        *(f"consent_{purpose}" for purpose in ("personalisation", "email", "sms", "push", "call")),
        *_TIMES,
    ),
    "products": ("product_id", "category"),
    "purchases": (
        *(
            "purchase_id",
            "basket_id",
            "member_id",
            "product_id",
            "quantity",
            "discount",
            "amount",
            "reverses",
            "offer_id",
        ),
        *_TIMES,
    ),
    "points": ("entry_id", "member_id", "type", "points", "lot_id", "expires_at", *_TIMES),
    "engagements": ("engagement_id", "member_id", "type", *_TIMES),
    "offer_events": ("event_id", "member_id", "offer_type", "type", *_TIMES),
}
"""The typed tables that the facts are taken from, with the columns they need."""


def relations(timezone: str, rules: TierRules | None = None, tiers: int = 0) -> Mapping[str, Relation]:
    """All relations, by name.

    Args:
        timezone: Name of the zone in which hours and weekdays are read, such as `Europe/Amsterdam`.
        rules: How tiers are held; by the plain rule the relation `standing` has no rows.
        tiers: How many there are.
    """
    found = (
        *(_baskets(timezone), _lines(), _points(), _offers(), _engagements(), _profile()),
        qualifying.standing(timezone, rules or TierRules(), tiers),
    )
    return {relation.name: relation for relation in found}


def of(programme: Programme) -> Mapping[str, Relation]:
    """All relations of a programme, by name."""
    return relations(programme.timezone, programme.tier_rules, len(programme.tiers))


_AGE = ("age_days", f"(at_us - occurred_us) / {DAY}")


def _baskets(timezone: str) -> Relation:
    zone = timezone.replace("'", "''")
    return Relation(
        name="baskets",
        facts=f"""
            with priced as (
                select member_id, basket_id, occurred_at, known_at,
                    cast(round(amount * 100) as bigint) as cents,
                    cast(round(discount * 100) as bigint) as discount_cents,
                    cast(round(quantity) as bigint) as units,
                    case when quantity > 0 then 1 else 0 end as bought,
                    case when offer_id is not null then 1 else 0 end as offered
                from purchases
            ),
            added as (
                select member_id, basket_id, occurred_at, known_at,
                    cast(sum(cents) as bigint) as spend,
                    cast(sum(case when bought = 1 then cents else 0 end) as bigint) as bought_cents,
                    cast(sum(case when bought = 1 then discount_cents else 0 end) as bigint) as discount,
                    cast(sum(case when bought = 1 then units else 0 end) as bigint) as units,
                    cast(sum(bought) as bigint) as lines,
                    max(bought) as bought, max(offered) as offered,
                    occurred_at at time zone '{zone}' as local
                from priced group by member_id, basket_id, occurred_at, known_at
            )
            select member_id, basket_id as row_key,
                epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us,
                spend, bought_cents, discount, units, lines, bought, offered,
                case when bought = 1 and extract(isodow from local) >= 6 then 1 else 0 end as weekend,
                case when bought = 0 then null when extract(hour from local) < 6 then 'night'
                    when extract(hour from local) < 12 then 'morning'
                    when extract(hour from local) < 18 then 'afternoon' else 'evening' end as part
            from added
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
