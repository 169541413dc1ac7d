"""The catalogue as a marketer writes it: models of its entries and their rules."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, PlainValidator

from features.entities import (
    ACTION_TYPES,
    BENEFIT_TYPES,
    OFFER_TYPES,
    Candidate,
    Conditions,
    Economics,
    Family,
    Limits,
    Occasion,
    PointsRules,
    SegmentRules,
    Tier,
)
from features.tiers_written import TierRulesEntry
from features.written import Written, moment

CHANNELS = ("app", "web", "email", "sms", "push", "till", "call")
LIFECYCLES = ("new", "active", "at-risk", "lapsed")
VALUES = ("high", "potential", "low")
TYPES: dict[Family, tuple[str, ...]] = {"offer": OFFER_TYPES, "action": ACTION_TYPES, "benefit": BENEFIT_TYPES}


def _slug(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", value):
        raise ValueError(f'"{value}" is no id: use up to 64 of a-z, 0-9, "-" and "_", and begin with a letter or digit')
    return value


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f'"{value}" is no time zone; write one like Europe/Rome')
    return value


def _moment(value: object) -> date | datetime | None:
    if value is None or isinstance(value, date):
        return value
    raise ValueError(f'"{value}" is no date; write one like 2026-12-31, or 2026-12-31 18:00:00')


def _begins(value: object) -> date | datetime:
    found = _moment(value)
    if found is None:
        raise ValueError("is missing; write when it begins, like 2026-12-31 18:00:00")
    return found


Moment = Annotated[datetime | date | None, PlainValidator(_moment)]
Id = Annotated[str, AfterValidator(_slug)]
Money = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Days = Annotated[int, Field(ge=1, le=36500)]
Remembered = Annotated[int, Field(ge=1, le=90)]
"""Days that contacts are remembered."""
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class TierEntry(Written):
    """One tier."""

    id: Id
    name: Text
    min_spend: Money
    window_days: Days
    earn_rate: Money


class PointsEntry(Written):
    """The rules of points."""

    expiry_days: Days
    cost_per_point: Money
    redeemed_share: Share


class SegmentsEntry(Written):
    """Thresholds of the labels."""

    new_days: Days
    at_risk_gaps: Annotated[float, Field(gt=0)]
    lapsed_days: Days
    high_spend_365d: Money
    potential_spend_365d: Money
    at_risk_days: Days = 60


class ProgrammeFile(Written):
    """`tiers.yaml`."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    timezone: Annotated[str, AfterValidator(_zone)]
    default_margin_rate: Share
    churn_horizon_days: Days = 90
    points: PointsEntry
    segments: SegmentsEntry
    tiers: Annotated[list[TierEntry], Field(min_length=1)]
    region_timezones: dict[str, Annotated[str, AfterValidator(_zone)]] = Field(default_factory=dict)
    tier_rules: TierRulesEntry = Field(default_factory=TierRulesEntry)

    def points_rules(self) -> PointsRules:
        """The rules of points as the other rooms know them."""
        return PointsRules(**self.points.model_dump())

    def segment_rules(self) -> SegmentRules:
        """The thresholds as the other rooms know them."""
        return SegmentRules(**self.segments.model_dump())

    def ladder(self) -> tuple[Tier, ...]:
        """The tiers from the lowest to the highest."""
        return tuple(Tier(**tier.model_dump()) for tier in sorted(self.tiers, key=lambda tier: tier.min_spend))


class ConditionsEntry(Written):
    """Who and when."""

    tiers: list[str] = Field(default_factory=list)
    lifecycles: list[Literal["new", "active", "at-risk", "lapsed"]] = Field(default_factory=list)
    values: list[Literal["high", "potential", "low"]] = Field(default_factory=list)
    segments: list[str] = Field(default_factory=list)
    min_tenure_days: Money | None = None
    min_points: Money | None = None
    min_points_expiring_30d: Money | None = None
    min_basket_value: Money | None = None
    min_recency_days: Money | None = None
    max_recency_days: Money | None = None
    min_churn: Share | None = None
    max_spend_to_next_tier: Money | None = None
    bought_category: str | None = None
    min_baskets_365d: Money | None = None
    max_hours_since_low_score: Money | None = None

    def conditions(self) -> Conditions:
        """The same as the other rooms know them."""
        lists = {"tiers", "lifecycles", "values", "segments"}
        values = self.model_dump(exclude=lists)
        words: dict[str, Any] = {name: tuple(getattr(self, name)) for name in lists}
        return Conditions(**words, **values)


class LimitsEntry(Written):
    """How often."""

    per_member: Annotated[int, Field(ge=1)] | None = None
    per_days: Remembered = 30
    cooldown_days: Annotated[float, Field(ge=0, le=90)] = 0.0


class EconomicsEntry(Written):
    """Money of one acceptance."""

    discount: Money = 0.0
    points: Money = 0.0
    burns: Money = 0.0
    cost: Money = 0.0
    contact_cost: Money = 0.0
    response: Share | None = None
    effect_share: Share | None = None
    retention: Share | None = None


class OccasionEntry(Written):
    """When and where."""

    at: Annotated[datetime | date, PlainValidator(_begins)]
    place: Text
    capacity: Annotated[int, Field(ge=1)] | None = None
    topic: Text | None = None

    def occasion(self, zone: str) -> Occasion:
        """The same as the other rooms know it; the time is aware and in UTC."""
        begins = moment(self.at, zone)
        assert begins is not None
        return Occasion(begins, self.place, self.capacity, self.topic)


class Entry(Written):
    """An offer, an action or a benefit."""

    id: Id
    type: str
    name: Text
    conditions: ConditionsEntry = ConditionsEntry()
    limits: LimitsEntry = LimitsEntry()
    economics: EconomicsEntry = EconomicsEntry()
    starts: Moment = None
    ends: Moment = None
    placements: list[Id] = Field(default_factory=list)
    channels: list[Literal["app", "web", "email", "sms", "push", "till", "call"]] = Field(default_factory=list)
    category: str | None = None
    entitlement: bool | None = None
    lever: Annotated[float, Field(ge=0, le=10)] = 1.0
    content: dict[str, str] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    event: OccasionEntry | None = None

    def candidate(self, family: Family, zone: str) -> Candidate:
        """The same as the other rooms know it; times are aware and in UTC."""
        return Candidate(
            id=self.id,
            family=family,
            type=self.type,
            name=self.name,
            conditions=self.conditions.conditions(),
            limits=Limits(**self.limits.model_dump()),
            economics=Economics(**self.economics.model_dump()),
            starts=moment(self.starts, zone),
            ends=moment(self.ends, zone),
            placements=tuple(self.placements),
            channels=tuple(self.channels),
            category=self.category,
            entitlement=self.type == "entitlement" if self.entitlement is None else self.entitlement,
            lever=self.lever,
            content=self.content,
            tags=tuple(self.tags),
            occasion=None if self.event is None else self.event.occasion(zone),
        )
