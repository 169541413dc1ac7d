"""Every feature of a member, once: a name, a family and one SQL expression over the rows of one relation.

DuckDB runs the expressions for training (`historical`); the same texts, compiled to Python, finish a member's stored
state while serving (`features.expressions`). A feature is added by one line here.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features import cutoffs
from features.entities import OFFER_TYPES, Programme
from features.relations import Feature, of
from features.standing import tier_features

__all__ = ["Feature", "by_family", "definitions", "historical", "names"]

_Lines = tuple[tuple[str, str, str, str], ...]

_BASKETS: _Lines = (
    (
        "recency_days",
        "recency",
        "min(age_days) filter (where bought = 1)",
        "Days since the last purchase.",
    ),
    (
        "first_purchase_days",
        "tenure",
        "max(age_days) filter (where bought = 1)",
        "Days since the first purchase, up to three years.",
    ),
    *(
        (
            f"baskets_{days}d",
            "frequency",
            f"count(*) filter (where bought = 1 and age_days < {days})",
            f"Baskets in the last {days} days.",
        )
        for days in (30, 90, 365)
    ),
    (
        "lifetime_baskets",
        "frequency",
        "count(*) filter (where bought = 1)",
        "Baskets in the last three years.",
    ),
    (
        "frequency_trend",
        "frequency",
        "count(*) filter (where bought = 1 and age_days < 90) * 4.0"
        " / nullif(count(*) filter (where bought = 1 and age_days < 360), 0)",
        "Baskets of the last quarter as a multiple of the year's average quarter.",
    ),
    *(
        (
            f"spend_{days}d",
            "spend",
            f"coalesce(sum(spend) filter (where age_days < {days}), 0) / 100",
            f"Money spent in the last {days} days, returns taken off.",
        )
        for days in (30, 90, 365)
    ),
    (
        "lifetime_spend",
        "spend",
        "coalesce(sum(spend), 0) / 100",
        "Money spent in the last three years, returns taken off.",
    ),
    (
        "spend_trend",
        "spend",
        "coalesce(sum(bought_cents) filter (where age_days < 90), 0) * 4.0"
        " / nullif(sum(bought_cents) filter (where age_days < 360), 0)",
        "Spend of the last quarter as a multiple of the year's average quarter.",
    ),
    (
        "avg_basket_value",
        "basket",
        "sum(bought_cents) / nullif(count(*) filter (where bought = 1), 0) / 100",
        "Money in an average basket.",
    ),
    ("max_basket_value", "basket", "max(bought_cents) filter (where bought = 1) / 100", "Money in the largest basket."),
    (
        "units_per_basket",
        "basket",
        "sum(units) * 1.0 / nullif(count(*) filter (where bought = 1), 0)",
        "Units in an average basket.",
    ),
    (
        "lines_per_basket",
        "basket",
        "sum(lines) * 1.0 / nullif(count(*) filter (where bought = 1), 0)",
        "Lines in an average basket.",
    ),
    (
        "discount_share",
        "basket",
        "sum(discount) * 1.0 / nullif(sum(bought_cents) + sum(discount), 0)",
        "Discount as a share of the price before discount.",
    ),
    (
        "offer_basket_share",
        "basket",
        "count(*) filter (where offered = 1) * 1.0 / nullif(count(*) filter (where bought = 1), 0)",
        "Share of baskets in which an offer was used.",
    ),
    (
        "return_share",
        "basket",
        "(sum(bought_cents) - sum(spend)) * 1.0 / nullif(sum(bought_cents), 0)",
        "Money taken back by returns as a share of the money spent.",
    ),
    (
        "median_gap_days",
        "rhythm",
        "median(gap_days) filter (where bought = 1)",
        "The usual number of days between two baskets.",
    ),
    (
        "recency_over_gap",
        "rhythm",
        "min(age_days) filter (where bought = 1) / nullif(median(gap_days) filter (where bought = 1), 0)",
        "Days since the last purchase as a multiple of the member's usual gap.",
    ),
    (
        "max_gap_days",
        "rhythm",
        "max(gap_days) filter (where bought = 1)",
        "The longest gap between two baskets.",
    ),
    (
        "gap_trend",
        "rhythm",
        "avg(gap_days) filter (where bought = 1 and age_days < 180)"
        " / nullif(avg(gap_days) filter (where bought = 1), 0)",
        "Gaps of the last half year as a multiple of all gaps; above 1 the member slows down.",
    ),
    *(
        (
            f"{part}_share",
            "time",
            f"count(*) filter (where part = '{part}') * 1.0 / nullif(count(*) filter (where bought = 1), 0)",
            f"Share of baskets bought in the {part}, local time.",
        )
        for part in ("morning", "evening")
    ),
    (
        "weekend_share",
        "time",
        "count(*) filter (where weekend = 1) * 1.0 / nullif(count(*) filter (where bought = 1), 0)",
        "Share of baskets bought on Saturday or Sunday, local time.",
    ),
)

_LINES: _Lines = (
    (
        "top_category_share",
        "category",
        "max(category_spend) * 1.0 / nullif(sum(spend), 0)",
        "Share of the year's spend that goes to the largest category.",
    ),
    (
        "category_concentration",
        "category",
        "sum(spend * 1.0 * category_spend) / nullif(sum(spend) * 1.0 * sum(spend), 0)",
        "Sum of squared category shares over a year (1: one category only).",
    ),
    *(
        (
            f"category_breadth_{days}d",
            "category",
            f"count(distinct category) filter (where age_days < {days})",
            f"Categories bought in the last {days} days.",
        )
        for days in (90, 365)
    ),
)

_POINTS: _Lines = (
    (
        "points_balance",
        "points",
        "coalesce(sum(points) filter (where days_left is null or days_left > 0), 0)",
        "Points in lots that have not expired.",
    ),
    *(
        (
            f"points_expiring_{days}d",
            "points",
            f"coalesce(sum(points) filter (where days_left > 0 and days_left <= {days}), 0)",
            f"Points that expire within {days} days.",
        )
        for days in (30, 60)
    ),
    (
        "points_earned_365d",
        "points",
        "coalesce(sum(points) filter (where type = 'earn' and age_days < 365), 0)",
        "Points earned in a year.",
    ),
    (
        "points_burned_365d",
        "points",
        "coalesce(0 - sum(points) filter (where type = 'redeem' and age_days < 365), 0)",
        "Points redeemed in a year.",
    ),
    (
        "redemption_recency_days",
        "points",
        "min(age_days) filter (where type = 'redeem')",
        "Days since points were redeemed last.",
    ),
)

_OFFERS: _Lines = (
    *(
        (
            f"offers_seen_{days}d",
            "offers",
            f"count(*) filter (where seen = 1 and age_days < {days})",
            f"Offers and actions sent or shown in the last {days} days.",
        )
        for days in (30, 90, 365)
    ),
    *(
        (
            f"offers_accepted_{days}d",
            "offers",
            f"count(*) filter (where accepted = 1 and age_days < {days})",
            f"Acceptances and redemptions in the last {days} days.",
        )
        for days in (90, 365)
    ),
    (
        "offer_acceptance_365d",
        "offers",
        "count(*) filter (where accepted = 1) * 1.0 / nullif(count(*) filter (where seen = 1), 0)",
        "Acceptances and redemptions per offer seen, over a year.",
    ),
    (
        "offer_recency_days",
        "offers",
        "min(age_days) filter (where seen = 1)",
        "Days since an offer or action was sent or shown.",
    ),
    ("unsubscribes_365d", "offers", "count(*) filter (where unsubscribed = 1)", "Unsubscriptions in a year."),
    *(
        (
            f"seen_{kind}_365d",
            "offers",
            f"count(*) filter (where seen_kind = '{kind}')",
            f"Offers of type {kind} sent or shown in a year.",
        )
        for kind in OFFER_TYPES
    ),
    *(
        (
            f"accepted_{kind}_365d",
            "offers",
            f"count(*) filter (where accepted_kind = '{kind}')",
            f"Offers of type {kind} accepted or redeemed in a year.",
        )
        for kind in OFFER_TYPES
    ),
)

_ENGAGEMENTS: _Lines = (
    *(
        (
            f"engagements_{days}d",
            "engagement",
            f"count(*) filter (where age_days < {days})",
            f"Check-ins, shares, reviews and the like in the last {days} days.",
        )
        for days in (30, 90, 365)
    ),
    ("engagement_recency_days", "engagement", "min(age_days)", "Days since the last engagement, up to a year."),
    ("reviews_365d", "engagement", "count(*) filter (where type = 'review')", "Reviews written in a year."),
    (
        "events_attended_365d",
        "engagement",
        "count(*) filter (where type = 'event_attended')",
        "Events attended in a year.",
    ),
)

_PROFILE: _Lines = (("tenure_days", "tenure", "max(enrolled_days)", "Days since the member enrolled."),)

_BY_RELATION = {
    "baskets": _BASKETS,
    "lines": _LINES,
    "points": _POINTS,
    "offers": _OFFERS,
    "engagements": _ENGAGEMENTS,
    "profile": _PROFILE,
}


def definitions(programme: Programme) -> tuple[Feature, ...]:
    """Every feature of a programme, in the order that all arrays of features follow."""
    fixed = [
        Feature(name, family, relation, sql, doc)
        for relation, entries in _BY_RELATION.items()
        for name, family, sql, doc in entries
    ]
    return (*fixed, *tier_features(programme.tiers))


def names(programme: Programme) -> tuple[str, ...]:
    """The names of `definitions`, in their order."""
    return tuple(feature.name for feature in definitions(programme))


def by_family(programme: Programme) -> dict[str, tuple[str, ...]]:
    """Family → the names of its features."""
    families: dict[str, list[str]] = {}
    for feature in definitions(programme):
        families.setdefault(feature.family, []).append(feature.name)
    return {family: tuple(found) for family, found in families.items()}


def historical(tables: Path, pairs: pd.DataFrame, programme: Programme) -> pd.DataFrame:
    """All features as they were known at each member's time.

    Args:
        tables: Folder of the typed tables.
        pairs: Columns `member_id` and `at` (aware times), any number of times a member.
        programme: Its rules.

    Returns:
        One row for each row of `pairs`, in their order: `member_id`, `at` and a float64 column for each feature,
        NaN where it has no value.
    """
    return cutoffs.compute(tables, pairs, definitions(programme), of(programme))
