"""Who may get what, and why not: every candidate that falls out does so at a stage and with a code.

The stages, in order: `control` (an operator paused it), `request` (the caller left it out), `eligibility` (who may ever
have it), `applicability` (does it make sense now), `suitability` (is it good for this member), `consent`,
`contact_policy`, `stock`, `experiment`, `holdout`. Nothing random happens here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf, nan

from features.entities import Candidate, Conditions
from features.filters import compile as compile_filter
from serving import contact_policy, satisfaction
from serving.contact_policy import Contacting
from serving.policy import Policy
from serving.portrait import History, Portrait
from serving.snapshot import Ask, Snapshot, Suppressed

NEEDS_CONSENT = frozenset(("email", "sms", "push", "call"))


@dataclass(frozen=True, slots=True)
class Bound:
    """A number of the member that must lie between two others; a missing number lies nowhere."""

    stage: str
    code: str
    feature: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rules:
    """A candidate with its conditions made ready; made once for a catalogue."""

    candidate: Candidate
    starts: float
    ends: float
    bounds: tuple[Bound, ...]
    facts: Mapping[str, object]
    """What a filter expression may ask about."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Everything beside the candidate that eligibility depends on."""

    snapshot: Snapshot
    ask: Ask
    portrait: Portrait
    history: History
    policy: Policy
    held_out: bool
    withheld: frozenset[str]
    """Candidates that belong to another variant of an experiment."""
    keep: Callable[[Mapping[str, object]], bool] | None
    """The caller's filter."""
    contacting: Contacting | None = None
    """The contact rules; None where none of them can hold."""


def ready(candidate: Candidate) -> Rules:
    """The candidate with its conditions as bounds on the member's numbers."""
    economics = candidate.economics
    facts = {"id": candidate.id, "type": candidate.type, "category": candidate.category, "name": candidate.name}
    money = {"discount": economics.discount, "points": economics.points, "cost": economics.cost}
    return Rules(
        candidate=candidate,
        starts=candidate.starts.timestamp() if candidate.starts else -inf,
        ends=min(_over(candidate.ends), _over(candidate.occasion.at if candidate.occasion else None)),
        bounds=_bounds(candidate.conditions, candidate.occasion.topic if candidate.occasion else None),
        facts={**facts, **money, "tags": candidate.tags},
    )


def _over(moment: datetime | None) -> float:
    return moment.timestamp() if moment else inf


def _bounds(conditions: Conditions, topic: str | None) -> tuple[Bound, ...]:
    c = conditions
    category = f"bought_365d:{c.bought_category}"
    every = (
        ("eligibility", "TENURE", "tenure_days", c.min_tenure_days, None),
        ("applicability", "POINTS", "points_balance", c.min_points, None),
        ("applicability", "POINTS_EXPIRING", "points_expiring_30d", c.min_points_expiring_30d, None),
        ("applicability", "BASKET_VALUE", "basket_value", c.min_basket_value, None),
        ("applicability", "RECENCY", "recency_days", c.min_recency_days, c.max_recency_days),
        ("applicability", "BASKETS", "baskets_365d", c.min_baskets_365d, None),
        ("applicability", "CATEGORY", category, None if c.bought_category is None else 1.0, None),
        ("suitability", "NEXT_TIER", "spend_to_next_tier", None, c.max_spend_to_next_tier),
        ("suitability", "CHURN", "churn", c.min_churn, None),
        ("applicability", "LOW_SCORE", satisfaction.HOURS_SINCE, None, c.max_hours_since_low_score),
        ("suitability", "TOPIC", f"bought_365d:{topic}", None if topic is None else 1.0, None),
    )
    return tuple(
        Bound(stage, code, feature, -inf if low is None else low, inf if high is None else high)
        for stage, code, feature, low, high in every
        if low is not None or high is not None
    )


def caller_filter(ask: Ask) -> Callable[[Mapping[str, object]], bool] | None:
    """The caller's filter expression made ready; None where there is none."""
    return None if ask.filter is None else compile_filter(ask.filter, ask.filter_values)


Stage = Callable[[Rules, Circumstances], Suppressed | None]


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages that can drop anything, before and after those that `settled` stands for."""

    early: tuple[Stage, ...]
    late: tuple[Stage, ...]


def stages(now: Circumstances) -> Stages:
    """The stages that can drop anything under these circumstances, in order."""
    snapshot, ask = now.snapshot, now.ask
    early: tuple[tuple[object, Stage], ...] = (
        (snapshot.paused, _control),
        (ask.include or ask.exclude or now.keep, _request),
    )
    late: tuple[tuple[object, Stage], ...] = (
        (True, _member),
        (satisfaction.HOURS_SINCE in now.portrait.numbers, _dissatisfied),
        (ask.channel is None or ask.channel in NEEDS_CONSENT, _consent),
        (now.contacting, _contacts),
        (snapshot.refused or now.withheld or now.held_out, _kept_back),
    )
    return Stages(*(tuple(stage for applies, stage in every if applies) for every in (early, late)))


def settled(rules: Rules, ask: Ask, who: Portrait) -> Suppressed | None:
    """The reason that hangs on channel, placements, tier and labels alone, and so is the same for many members."""
    return _place(rules, ask) or _segment(rules, who)


def why_not(rules: Rules, now: Circumstances, through: Stages, is_settled: Suppressed | None) -> Suppressed | None:
    """The first reason for which the candidate may not be given; None where it may.

    Args:
        rules: from `ready`.
        now: the circumstances.
        through: from `stages`.
        is_settled: from `settled`.
    """
    for stage in through.early:
        if (reason := stage(rules, now)) is not None:
            return reason
    if not rules.starts <= now.snapshot.at < rules.ends:
        return _validity(rules, now)
    if is_settled is not None:
        return is_settled
    for stage in through.late:
        if (reason := stage(rules, now)) is not None:
            return reason
    return None


def _control(rules: Rules, now: Circumstances) -> Suppressed | None:
    one = rules.candidate.id
    return Suppressed(one, "control", "PAUSED") if one in now.snapshot.paused else None


def _request(rules: Rules, now: Circumstances) -> Suppressed | None:
    one, ask = rules.candidate.id, now.ask
    if one in ask.exclude:
        return Suppressed(one, "request", "EXCLUDED")
    if ask.include and one not in ask.include:
        return Suppressed(one, "request", "NOT_INCLUDED")
    if now.keep is not None and not now.keep(rules.facts):
        return Suppressed(one, "request", "FILTER")
    return None


def _validity(rules: Rules, now: Circumstances) -> Suppressed:
    if now.snapshot.at < rules.starts:
        return Suppressed(rules.candidate.id, "eligibility", "NOT_STARTED", rules.starts)
    return Suppressed(rules.candidate.id, "eligibility", "ENDED")


def _place(rules: Rules, ask: Ask) -> Suppressed | None:
    candidate = rules.candidate
    if candidate.channels and ask.channel is not None and ask.channel not in candidate.channels:
        return Suppressed(candidate.id, "eligibility", "CHANNEL")
    if candidate.placements and not any(place.id in candidate.placements for place in ask.placements):
        return Suppressed(candidate.id, "eligibility", "PLACEMENT")
    return None


def _segment(rules: Rules, who: Portrait) -> Suppressed | None:
    conditions = rules.candidate.conditions
    if conditions.tiers and who.tier.id not in conditions.tiers:
        return Suppressed(rules.candidate.id, "eligibility", "TIER")
    if conditions.lifecycles and who.lifecycle not in conditions.lifecycles:
        return Suppressed(rules.candidate.id, "suitability", "LIFECYCLE")
    if conditions.values and who.value not in conditions.values:
        return Suppressed(rules.candidate.id, "suitability", "VALUE")
    if conditions.segments and who.segments.isdisjoint(conditions.segments):
        return Suppressed(rules.candidate.id, "suitability", "SEGMENT")
    return None


def _member(rules: Rules, now: Circumstances) -> Suppressed | None:
    for bound in rules.bounds:
        if not bound.low <= number(bound.feature, now.portrait) <= bound.high:
            return Suppressed(rules.candidate.id, bound.stage, bound.code)
    return None


def number(feature: str, who: Portrait) -> float:
    """The number of the member that a condition asks for; NaN where it is missing or may not be used."""
    if feature == "churn":
        return who.churn
    if feature == "basket_value":
        return who.basket_value
    return who.numbers.get(feature, nan)


def route(candidate: Candidate, ask: Ask) -> str | None:
    """The channel a candidate would go through: the caller's, else its own where it has only one, else unknown."""
    if ask.channel is not None:
        return ask.channel
    return candidate.channels[0] if len(candidate.channels) == 1 else None


def _consent(rules: Rules, now: Circumstances) -> Suppressed | None:
    channel = route(rules.candidate, now.ask)
    if channel in NEEDS_CONSENT and not now.snapshot.consents.get(channel, False):
        return Suppressed(rules.candidate.id, "consent", f"NO_CONSENT_{channel.upper()}")
    return None


def _dissatisfied(rules: Rules, now: Circumstances) -> Suppressed | None:
    hours = now.portrait.numbers.get(satisfaction.HOURS_SINCE)
    return satisfaction.why_not(rules.candidate, hours, now.snapshot.at, now.policy)


def _contacts(rules: Rules, now: Circumstances) -> Suppressed | None:
    candidate = rules.candidate
    return contact_policy.why_not(candidate, route(candidate, now.ask), now.contacting) if now.contacting else None


def _kept_back(rules: Rules, now: Circumstances) -> Suppressed | None:
    candidate = rules.candidate
    if candidate.id in now.snapshot.refused:
        return Suppressed(candidate.id, "stock", "RESERVATION_REFUSED")
    if candidate.entitlement:
        return None
    if candidate.id in now.withheld:
        return Suppressed(candidate.id, "experiment", "OTHER_VARIANT")
    return Suppressed(candidate.id, "holdout", "HOLDOUT") if now.held_out else None
