"""Every feature of a member, once: a name, a family and one SQL expression over the rows of one relation.

DuckDB runs the expressions for training (`historical`); the same texts, compiled to Python, finish a member's stored
state while serving (`features.finishing`). A feature is added by one line here.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features import cutoffs
from features.entities import OFFER_TYPES, Programme
from features.member_facts import of
from features.relations import Feature
from features.standing import tier_features

__all__ = ["Feature", "by_family", "definitions", "historical", "names"]


def definitions(programme: Programme) -> tuple[Feature, ...]:
    """Every feature of a programme, in the order that all arrays of features follow."""
    return (*_FIXED, *tier_features(programme))


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


def _family(family: str, relation: str, *entries: tuple[str, str, str]) -> tuple[Feature, ...]:
    return tuple(Feature(name, family, relation, sql, doc) for name, sql, doc in entries)


_N = "count(*) filter (where bought = 1)"
_PER_BASKET = f"* 1.0 / nullif({_N}, 0)"
_RECENCY = "min(age_days) filter (where bought = 1)"
_GAP = "median(gap_days) filter (where bought = 1)"
_ALL_GAPS = "avg(gap_days) filter (where bought = 1)"
_BOUGHT_90, _BOUGHT_360 = (f"sum(bought_cents) filter (where age_days < {days})" for days in (90, 360))
_N_90, _N_360 = (f"count(*) filter (where bought = 1 and age_days < {days})" for days in (90, 360))

_PURCHASES = (
    *_family("recency", "baskets", ("recency_days", _RECENCY, "Days since the last purchase.")),
    *_family(
        "frequency",
        "baskets",
        *(
            (
                f"baskets_{days}d",
                f"count(*) filter (where bought = 1 and age_days < {days})",
                f"Baskets in the last {days} days.",
            )
            for days in (30, 90, 365)
        ),
        ("lifetime_baskets", _N, "Baskets in the last three years."),
        (
            "frequency_trend",
            f"{_N_90} * 4.0 / nullif({_N_360}, 0)",
            "Baskets of the last quarter as a multiple of the year's average quarter.",
        ),
    ),
    *_family(
        "spend",
        "baskets",
        *(
            (
                f"spend_{days}d",
                f"coalesce(sum(spend) filter (where age_days < {days}), 0) / 100",
                f"Money spent in the last {days} days, returns taken off.",
            )
            for days in (30, 90, 365)
        ),
        ("lifetime_spend", "coalesce(sum(spend), 0) / 100", "Money spent in three years, returns taken off."),
        (
            "spend_trend",
            f"coalesce({_BOUGHT_90}, 0) * 4.0 / nullif({_BOUGHT_360}, 0)",
            "Spend of the last quarter as a multiple of the year's average quarter.",
        ),
    ),
    *_family(
        "basket",
        "baskets",
        ("avg_basket_value", f"sum(bought_cents) / 100 / nullif({_N}, 0)", "Money in an average basket."),
        ("max_basket_value", "max(bought_cents) filter (where bought = 1) / 100", "Money in the largest basket."),
        ("units_per_basket", f"sum(units) {_PER_BASKET}", "Units in an average basket."),
        ("lines_per_basket", f"sum(lines) {_PER_BASKET}", "Lines in an average basket."),
        (
            "discount_share",
            "sum(discount) * 1.0 / nullif(sum(bought_cents) + sum(discount), 0)",
            "Discount as a share of the price before discount.",
        ),
        (
            "offer_basket_share",
            f"count(*) filter (where offered = 1) {_PER_BASKET}",
            "Share of baskets in which an offer was used.",
        ),
        (
            "return_share",
            "(sum(bought_cents) - sum(spend)) * 1.0 / nullif(sum(bought_cents), 0)",
            "Money taken back by returns as a share of the money spent.",
        ),
    ),
    *_family(
        "rhythm",
        "baskets",
        ("median_gap_days", _GAP, "The usual number of days between two baskets."),
        ("recency_over_gap", f"{_RECENCY} / nullif({_GAP}, 0)", "Days since the last purchase in usual gaps."),
        ("max_gap_days", "max(gap_days) filter (where bought = 1)", "The longest gap between two baskets."),
        (
            "gap_trend",
            f"avg(gap_days) filter (where bought = 1 and age_days < 180) / nullif({_ALL_GAPS}, 0)",
            "Gaps of the last half year in average gaps; above 1 the member slows down.",
        ),
    ),
    *_family(
        "time",
        "baskets",
        *(
            (
                f"{part}_share",
                f"count(*) filter (where part = '{part}') {_PER_BASKET}",
                f"Share of baskets bought in the {part}, in the programme's time zone.",
            )
            for part in ("morning", "evening")
        ),
        (
            "weekend_share",
            f"count(*) filter (where weekend = 1) {_PER_BASKET}",
            "Share of baskets bought on Saturday or Sunday, in the programme's time zone.",
        ),
    ),
    *_family(
        "category",
        "lines",
        (
            "top_category_share",
            "max(category_spend) * 1.0 / nullif(sum(spend), 0)",
            "Share of the year's spend that goes to the largest category.",
        ),
        (
            "category_concentration",
            "sum(spend * 1.0 * category_spend) / nullif(sum(spend) * 1.0 * sum(spend), 0)",
            "Sum of squared category shares over a year (1: one category only).",
        ),
        *(
            (
                f"category_breadth_{days}d",
                f"count(distinct category) filter (where age_days < {days})",
                f"Categories bought in the last {days} days.",
            )
            for days in (90, 365)
        ),
    ),
    *_family(
        "tenure",
        "baskets",
        (
            "first_purchase_days",
            "max(age_days) filter (where bought = 1)",
            "Days since the first purchase, up to three years.",
        ),
    ),
    *_family("tenure", "profile", ("tenure_days", "max(enrolled_days)", "Days since the member enrolled.")),
)

_POINTS = _family(
    "points",
    "points",
    (
        "points_balance",
        "coalesce(sum(points) filter (where days_left is null or days_left > 0), 0)",
        "Points in lots that have not expired.",
    ),
    *(
        (
            f"points_expiring_{days}d",
            f"coalesce(sum(points) filter (where days_left > 0 and days_left <= {days}), 0)",
            f"Points that expire within {days} days.",
        )
        for days in (30, 60)
    ),
    (
        "points_earned_365d",
        "coalesce(sum(points) filter (where type = 'earn' and age_days < 365), 0)",
        "Points earned in a year.",
    ),
    (
        "points_burned_365d",
        "coalesce(0 - sum(points) filter (where type = 'redeem' and age_days < 365), 0)",
        "Points redeemed in a year.",
    ),
    (
        "redemption_recency_days",
        "min(age_days) filter (where type = 'redeem')",
        "Days since points were redeemed last.",
    ),
)

_SEEN = "count(*) filter (where seen = 1)"
_OFFERS = _family(
    "offers",
    "offers",
    *(
        (
            f"offers_seen_{days}d",
            f"count(*) filter (where seen = 1 and age_days < {days})",
            f"Offers and actions sent or shown in the last {days} days.",
        )
        for days in (30, 90, 365)
    ),
    *(
        (
            f"offers_accepted_{days}d",
            f"count(*) filter (where accepted = 1 and age_days < {days})",
            f"Acceptances and redemptions in the last {days} days.",
        )
        for days in (90, 365)
    ),
    (
        "offer_acceptance_365d",
        f"count(*) filter (where accepted = 1) * 1.0 / nullif({_SEEN}, 0)",
        "Acceptances and redemptions for each offer seen, over a year.",
    ),
    ("offer_recency_days", "min(age_days) filter (where seen = 1)", "Days since an offer or action was seen."),
    ("unsubscribes_365d", "count(*) filter (where unsubscribed = 1)", "Unsubscriptions in a year."),
    *(
        (
            f"{answer}_{kind}_365d",
            f"count(*) filter (where {answer}_kind = '{kind}')",
            f"Offers of type {kind} {answer} in a year.",
        )
        for answer in ("seen", "accepted")
        for kind in OFFER_TYPES
    ),
)

_ENGAGEMENTS = _family(
    "engagement",
    "engagements",
    *(
        (
            f"engagements_{days}d",
            f"count(*) filter (where age_days < {days})",
            f"Check-ins, shares, reviews and the like in the last {days} days.",
        )
        for days in (30, 90, 365)
    ),
    ("engagement_recency_days", "min(age_days)", "Days since the last engagement, up to a year."),
    ("reviews_365d", "count(*) filter (where type = 'review')", "Reviews written in a year."),
    ("events_attended_365d", "count(*) filter (where type = 'event_attended')", "Events attended in a year."),
)

_FIXED = (*_PURCHASES, *_POINTS, *_OFFERS, *_ENGAGEMENTS)
