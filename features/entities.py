"""The nouns of a loyalty programme: values that every room shares and nobody changes.

Money is a float in the programme's currency, points are whole numbers, times are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from features.ledger.rules import Earning

Family = Literal["offer", "action", "benefit", "product"]
Channel = Literal["app", "web", "email", "sms", "push", "till", "call"]
Lifecycle = Literal["new", "active", "at-risk", "lapsed"]
ValueLabel = Literal["high", "potential", "low"]
BudgetUnit = Literal["money", "points", "messages", "units"]

OFFER_TYPES = (
    "discount_percent",  # `discount` is a share of the basket, 0.10 = ten percent
    "discount_amount",  # `discount` is money off the basket
    "points_multiplier",  # `points` is the factor on what the basket would earn
    "points_fixed",  # `points` is a number of points
    "gift",  # `cost` is what the gift costs us
    "free_shipping",  # `cost` is what the shipping costs us
)
ACTION_TYPES = (
    "win_back",
    "points_expiry_reminder",
    "event_invitation",
    "community_invitation",
    "review_request",
    "satisfaction_survey",
    "tier_nudge",
    "courtesy_call",
    "product_recommendation",
    "do_nothing",
)
BENEFIT_TYPES = ("entitlement", "service", "gift", "event", "points_bonus")


@dataclass(frozen=True, slots=True)
class Tier:
    """One level of the programme, reached by qualifying spend inside a rolling window."""

    id: str
    name: str
    min_spend: float
    """What has to be spent inside the window to reach this tier; the lowest tier has 0. Where the programme counts
    baskets (`TierRules.measure`), so many baskets."""
    window_days: int
    """Length of a rolling window; windows of a year do not look at it."""
    earn_rate: float
    """Points earned per unit of currency spent."""


@dataclass(frozen=True, slots=True)
class TierRules:
    """How a tier is counted and how long it is held (docs/tiers.md); what is written here by default is the plain rule.

    A *period* is a calendar year of the programme's time zone or, with `membership_year`, a year of the membership; a
    *review* is its end. The plain rule knows neither: whoever spends enough inside the rolling window has the tier.
    """

    window: Literal["rolling", "calendar_year", "membership_year"] = "rolling"
    """What is added up: the last `window_days` of each tier, or the period."""
    measure: Literal["spend", "baskets"] = "spend"
    """What is counted: money net of returns, or baskets in which something was bought."""
    hold: Literal["none", "year", "next_year"] = "none"
    """A tier once reached stays to the end of that period, or of the next one; `none`: as long as the window has it."""
    grace_days: int = 0
    """So long a tier stays after it would be lost."""
    soft_landing: bool = False
    """Nobody falls more than one tier at a review (with `hold: none`: in one stretch of `grace_days`)."""
    upgrade: Literal["at_once", "review"] = "at_once"
    """When a higher tier begins."""

    @property
    def reviewed(self) -> bool:
        """Whether there are periods and reviews."""
        return self.hold != "none"


@dataclass(frozen=True, slots=True)
class PointsRules:
    """How long points live and what one costs us when it is redeemed."""

    expiry_days: int
    cost_per_point: float
    redeemed_share: float
    """Assumed share of issued points that will ever be redeemed, 0..1 (1 − breakage)."""


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """Thresholds of the lifecycle and value labels."""

    new_days: int
    """A member whose first purchase is at most this many days old is `new`."""
    at_risk_gaps: float
    """Recency above this multiple of the member's own median gap between baskets is `at-risk`."""
    lapsed_days: int
    """No purchase for more than this many days is `lapsed`."""
    high_spend_365d: float
    potential_spend_365d: float
    at_risk_days: int = 60
    """The same for members whose own rhythm is unknown (fewer than three baskets)."""


@dataclass(frozen=True, slots=True)
class RuleSegment:
    """A marketer's own segment: whoever fits `when`, a filter expression over features and labels."""

    id: str
    name: str
    when: str


@dataclass(frozen=True, slots=True)
class Programme:
    """The rules of the programme: `configs/catalog/tiers.yaml`, and the segments of `segments.yaml`."""

    currency: str
    timezone: str
    tiers: tuple[Tier, ...]
    """Ordered from the lowest to the highest `min_spend`; the first has `min_spend` 0."""
    points: PointsRules
    segments: SegmentRules
    default_margin_rate: float
    """Share of a product's price that is margin where the history does not say."""
    churn_horizon_days: int = 90
    rule_segments: tuple[RuleSegment, ...] = ()
    region_timezones: tuple[tuple[str, str], ...] = ()
    """Region of a member → time zone, where it is not the programme's."""
    earning: Earning = field(default_factory=Earning)
    """What earns points beside spend, and where they can be used: `earning.yaml`."""
    tier_rules: TierRules = field(default_factory=TierRules)
    """How tiers are counted and held."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Who may get a candidate and when it makes sense; every field that is empty or None holds for everybody."""

    tiers: tuple[str, ...] = ()
    lifecycles: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    """Rule segments, of which the member is in one at least."""
    min_tenure_days: float | None = None
    min_points: float | None = None
    min_points_expiring_30d: float | None = None
    min_basket_value: float | None = None
    min_recency_days: float | None = None
    max_recency_days: float | None = None
    min_churn: float | None = None
    max_spend_to_next_tier: float | None = None
    bought_category: str | None = None
    """The member bought in this category within a year."""
    min_baskets_365d: float | None = None
    max_hours_since_low_score: float | None = None
    """The member gave a bad score in a survey at most this long ago, and it was not resolved since."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How often, and when not. Contacts are counted from the journal."""

    per_member: int | None = None
    """At most this many times in `per_days` days."""
    per_days: int = 30
    cooldown_days: float = 0.0
    """Not again within this many days after it was shown."""


@dataclass(frozen=True, slots=True)
class Economics:
    """What one acceptance brings and costs. A `None` falls back to the priors of the policy for that type."""

    discount: float = 0.0
    points: float = 0.0
    burns: float = 0.0
    """Points of the member's own that are used up with it, those that expire soonest first."""
    cost: float = 0.0
    """Money paid on every redemption beside discount and points (a gift, a shipment)."""
    contact_cost: float = 0.0
    """Money paid for making it, whatever the answer (a call, a stamp)."""
    response: float | None = None
    effect_share: float | None = None
    """ρ: the share of responses caused by the candidate, 0..1; only where no experiment says better."""
    retention: float | None = None
    """Assumed share of churn this candidate prevents among those who respond, 0..1."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What an invitation is to."""

    at: datetime
    """When it begins; nobody is invited afterwards."""
    place: str
    capacity: int | None = None
    """Seats: a stock of units that is never exceeded; None for as many as come."""
    topic: str | None = None
    """A category: it suits members who bought in it within a year."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing we may do to or for a member: an offer, an action, a benefit, or a product put forward."""

    id: str
    family: Family
    type: str
    name: str
    conditions: Conditions = field(default_factory=Conditions)
    limits: Limits = field(default_factory=Limits)
    economics: Economics = field(default_factory=Economics)
    starts: datetime | None = None
    ends: datetime | None = None
    placements: tuple[str, ...] = ()
    """Placement ids it may fill; empty means any."""
    channels: tuple[str, ...] = ()
    """Channels it may use; empty means any."""
    category: str | None = None
    entitlement: bool = False
    """A right of the tier or a service message: never withheld from a holdout, never put to chance."""
    lever: float = 1.0
    """A marketer's multiplier on value."""
    content: Mapping[str, str] = field(default_factory=dict)
    """What the member sees: `title`, `text`, `image`, …"""
    tags: tuple[str, ...] = ()
    occasion: Occasion | None = None
    """When and where, for invitations."""


DO_NOTHING = Candidate(id="do_nothing", family="action", type="do_nothing", name="Do nothing", content={"title": ""})


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent on some candidates together: money, points, messages, or units of a stock.

    It pays for a candidate that every list names or leaves open; an empty list is open. Outside its dates it pays for
    nothing.
    """

    id: str
    name: str
    unit: BudgetUnit
    amount: float
    """In its unit, for each period where it has periods, otherwise once."""
    every_days: int | None = None
    """It is full again after so many days, counted from `starts` (from 1970 where there is none)."""
    starts: datetime | None = None
    ends: datetime | None = None
    candidates: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    """Channels a candidate goes through; for messages an empty list means every outbound channel."""
    tiers: tuple[str, ...] = ()
    """Tiers of the members it is spent on."""
    tags: tuple[str, ...] = ()
    hard: bool = False
    """Money and points: reserve the face value of what is open instead of a high quantile of it."""
    overspend: float = 0.001
    """Money and points without `hard`: the chance of spending more than `amount` that is accepted, 0..1."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything a marketer has written, checked; `version` is the SHA-256 of the files it came from (first 12 hex)."""

    version: str
    programme: Programme
    offers: tuple[Candidate, ...]
    actions: tuple[Candidate, ...]
    benefits: tuple[Candidate, ...]
    budgets: tuple[Budget, ...] = ()

    def tier(self, tier_id: str) -> Tier:
        """The tier with this id; KeyError if the programme has none."""
        for tier in self.programme.tiers:
            if tier.id == tier_id:
                return tier
        raise KeyError(tier_id)
