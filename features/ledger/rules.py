"""What earns points beside the tier's rate, and what points may be spent on: `configs/catalog/earning.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Occasion = Literal[
    "purchase",
    "check_in_streak",
    "referral",
    "check_in",
    "share",
    "review",
    "event_attended",
    "community_post",
    "survey_answer",
]
Period = Literal["day", "week", "month", "year", "ever"]
SPENDING = ("goods", "coupon", "tier_upgrade", "pay_with_points")
"""The channels through which points can be redeemed."""


@dataclass(frozen=True, slots=True)
class EarningLimit:
    """The most that one rule gives one member in a calendar period of the programme's time zone."""

    times: int | None = None
    points: int | None = None
    per: Period = "month"


@dataclass(frozen=True, slots=True)
class EarningRule:
    """One rule that issues lots of its own, beside the lot of each basket at the rate of the tier."""

    id: str
    type: Occasion
    points: int = 0
    """A fixed number for each occasion; for a referral, what the referring member gets."""
    multiplier: float = 1.0
    """Of what the covered lines earn at the tier's rate; 2 gives as much once more. For purchases alone."""
    points_referred: int = 0
    """What the member who came gets (referrals)."""
    days: int = 1
    """Check-ins on so many days in a row are one occasion (streaks)."""
    min_spend: float = 0.0
    """The covered lines of a basket must come to this; of a referral, the newcomer's first such basket is awaited."""
    categories: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    """Lines of these categories or products are covered; both empty cover all."""
    tiers: tuple[str, ...] = ()
    """Tiers of the moment; empty means all."""
    segments: tuple[str, ...] = ()
    """Rule segments; the audience are the members who are in one of them when the rule starts."""
    starts: datetime | None = None
    ends: datetime | None = None
    expiry_days: int | None = None
    """How long its lots live, where not as long as all others."""
    limit: EarningLimit = EarningLimit()


@dataclass(frozen=True, slots=True)
class SpendingRule:
    """What a point is worth to the member in one channel, and in which amounts it can be used."""

    channel: str
    value_per_point: float
    cost_per_point: float | None = None
    """What it costs us there; None takes the programme's."""
    min_points: int = 1
    step: int = 1
    """Points are used in multiples of this."""


@dataclass(frozen=True, slots=True)
class Earning:
    """All rules of the file; without the file there are none, and only spend earns, at the rate of the tier."""

    rules: tuple[EarningRule, ...] = ()
    channels: tuple[SpendingRule, ...] = ()

    def channel(self, name: str) -> SpendingRule | None:
        """The rule of a channel; None where points cannot be spent there."""
        return next((one for one in self.channels if one.channel == name), None)
