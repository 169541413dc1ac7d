"""What stands in a candidate's way, in numbers, and what could take it out of the way.

An option is an upper bound: enough for this obstacle by inverting its condition. `serving.counterfactuals` makes it as
small as it may be by running the decision, and drops it where it does not help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, isnan, nan

from features.entities import Candidate
from serving import eligibility
from serving.explain_case import Case
from serving.explain_steps import By, Change, Kind
from serving.portrait import Portrait
from serving.snapshot import Suppressed

HORIZON_DAYS = 90
"""So far ahead moments are looked for."""
_DAY = 86_400.0
_CENT = 0.01


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The rule that dropped a candidate, and the number it looked at; NaN where it looked at none or it is missing."""

    reason: Suppressed
    feature: str = ""
    value: float = nan
    low: float = nan
    high: float = nan

    @property
    def gap(self) -> float:
        """How far the number is outside; NaN where there is none."""
        if self.value < self.low:
            return self.low - self.value
        return self.value - self.high if self.value > self.high else nan


def obstacle(case: Case, candidate: Candidate, reason: Suppressed, who: Portrait) -> Obstacle:
    """The numbers behind a drop."""
    if reason.code == "TIER" and candidate.conditions.tiers:
        ranks = {tier.id: rank for rank, tier in enumerate(case.catalog.programme.tiers)}
        wanted = [ranks[one] for one in candidate.conditions.tiers if one in ranks]
        return Obstacle(reason, "tier_rank", float(ranks[who.tier.id]), float(min(wanted)), float(max(wanted)))
    for bound in eligibility.ready(candidate).bounds:
        value = eligibility.number(bound.feature, who)
        if (bound.stage, bound.code) == (reason.stage, reason.code) and not bound.low <= value <= bound.high:
            return Obstacle(reason, bound.feature, value, bound.low, bound.high)
    return Obstacle(reason)


def options(case: Case, candidate: Candidate, reason: Suppressed, who: Portrait) -> list[Change]:
    """Changes that may take the obstacle away; those in the member's and in time's hands first."""
    at, met = case.snapshot.at, obstacle(case, candidate, reason, who)
    found: list[Change] = []
    if reason.until is not None:
        found.append(Change("wait", "time", now=at, needed=reason.until))
    elif _passes(met):
        found.append(Change("wait", "time", now=at, needed=at + HORIZON_DAYS * _DAY, step=1.0))
    if reason.code.startswith("NO_CONSENT_"):
        found.append(Change("consent", "member", reason.code.removeprefix("NO_CONSENT_").lower()))
    if met.feature and isnan(met.value) and not who.personal and case.snapshot.features:
        found.append(Change("consent", "member", "personalisation"))
    find = _OPTIONS.get(reason.code) or (_limit if reason.stage == "contact_policy" else None)
    return found if find is None else [*found, *find(case, candidate, met, who)]


_TIMED = frozenset(("TENURE", "POINTS_EXPIRING", "LIFECYCLE", "SEGMENT", "OTHER_VARIANT", "HOLDOUT"))


def _passes(met: Obstacle) -> bool:
    """Whether the mere passing of time may take it away."""
    return met.reason.code in _TIMED or (met.reason.code == "RECENCY" and met.value < met.low)


_Found = Iterator[Change]
_Option = Callable[[Case, Candidate, Obstacle, Portrait], _Found]


def _relaxed(field: str, step: float, _: Case, one: Candidate, met: Obstacle, _who: Portrait) -> _Found:
    """The marketer's own bound moved to where the member is."""
    bound = getattr(one.conditions, field)
    if bound is None or isnan(met.value):
        return
    cells = met.value / abs(step)
    needed = (floor(cells + 1e-9) if step < 0 else ceil(cells - 1e-9)) * abs(step)
    if (needed - bound) * step > 0:
        yield Change("condition", "marketer", field, now=bound, needed=round(needed, 6), step=step)


def _points(case: Case, one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    if not isnan(met.value):
        yield Change("points", "member", now=met.value, needed=met.value + ceil(met.low - met.value), step=1.0)
    yield from _relaxed("min_points", -1.0, case, one, met, who)


def _basket_value(case: Case, one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    now = 0.0 if isnan(met.value) else floor(met.value * 100) / 100
    needed = ceil(met.low * 100 - 1e-9) / 100
    yield Change("basket_value", "member", now=now, needed=needed, step=_CENT)
    yield from _relaxed("min_basket_value", -_CENT, case, one, met, who)


def _recency(case: Case, one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    if who.personal and not met.value < met.low:
        yield Change("baskets", "member", now=0.0, needed=1.0, step=1.0)
    yield from _relaxed("max_recency_days", 1.0, case, one, met, who)
    yield from _relaxed("min_recency_days", -1.0, case, one, met, who)


def _baskets(case: Case, one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    if who.personal:
        have = 0.0 if isnan(met.value) else met.value
        yield Change("baskets", "member", now=0.0, needed=float(ceil(met.low - have)), step=1.0)
    yield from _relaxed("min_baskets_365d", -1.0, case, one, met, who)


def _category(_: Case, _one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    if who.personal:
        yield Change("category", "member", met.feature.split(":", 1)[1])


def _next_tier(case: Case, one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    if not isnan(met.value):
        yield _spend(met.value - met.high)
    yield from _relaxed("max_spend_to_next_tier", 1.0, case, one, met, who)


def _spend(missing: float) -> Change:
    return Change("spend", "member", now=0.0, needed=ceil(missing * 100 + 1) / 100, step=_CENT)


def _tier(case: Case, _one: Candidate, met: Obstacle, who: Portrait) -> _Found:
    missing = who.numbers.get("spend_to_next_tier", nan)
    rank = int(met.value)
    if met.value < met.low and not isnan(missing):
        tiers = case.catalog.programme.tiers
        yield _spend(missing + tiers[int(met.low)].min_spend - tiers[rank + 1].min_spend)
    yield Change("open_to", "marketer", f"tiers:{who.tier.id}")


def _lifecycle(_: Case, one: Candidate, _met: Obstacle, who: Portrait) -> _Found:
    if who.personal and who.lifecycle in ("at-risk", "lapsed") and "active" in one.conditions.lifecycles:
        yield Change("baskets", "member", now=0.0, needed=1.0, step=1.0)
    if who.lifecycle:
        yield Change("open_to", "marketer", f"lifecycles:{who.lifecycle}")


def _value(case: Case, one: Candidate, _met: Obstacle, who: Portrait) -> _Found:
    rules, spent = case.catalog.programme.segments, who.numbers.get("spend_365d", 0.0)
    higher = {"potential": rules.potential_spend_365d, "high": rules.high_spend_365d}
    missing = [least - spent for label, least in higher.items() if label in one.conditions.values and least > spent]
    if who.personal and missing:
        yield _spend(min(missing))
    if who.value:
        yield Change("open_to", "marketer", f"values:{who.value}")


def _segment(_: Case, _one: Candidate, _met: Obstacle, who: Portrait) -> _Found:
    if who.personal:
        yield Change("baskets", "member", now=0.0, needed=1.0, step=1.0)
    yield Change("open_to", "marketer", "segments:")


def _limit(_: Case, one: Candidate, met: Obstacle, _who: Portrait) -> _Found:
    limits, code = one.limits, met.reason.code
    if code == "COOLDOWN":
        yield Change("limit", "marketer", "cooldown_days", now=ceil(limits.cooldown_days), needed=0.0, step=-1.0)
    elif code.startswith("LIMIT_") and limits.per_member is not None:
        more = limits.per_member + 20.0
        yield Change("limit", "marketer", "per_member", now=float(limits.per_member), needed=more, step=1.0)


def _budget(case: Case, _one: Candidate, _met: Obstacle, _who: Portrait) -> _Found:
    for one in sorted(case.snapshot.spent_out):
        yield Change("budget", "marketer", one)


def _channel(_: Case, one: Candidate, _met: Obstacle, _who: Portrait) -> _Found:
    yield from (Change("channel", "caller", channel) for channel in one.channels)


def _placement(_: Case, one: Candidate, _met: Obstacle, _who: Portrait) -> _Found:
    yield from (Change("placement", "caller", place) for place in one.placements)


def _plain(kind: Kind, by: By, *_: object) -> _Found:
    yield Change(kind, by)


_OPTIONS: Mapping[str, _Option] = {
    "TENURE": partial(_relaxed, "min_tenure_days", -1.0),
    "POINTS": _points,
    "POINTS_EXPIRING": partial(_relaxed, "min_points_expiring_30d", -1.0),
    "BASKET_VALUE": _basket_value,
    "RECENCY": _recency,
    "BASKETS": _baskets,
    "CATEGORY": _category,
    "TOPIC": _category,
    "NEXT_TIER": _next_tier,
    "CHURN": partial(_relaxed, "min_churn", -0.01),
    "TIER": _tier,
    "LIFECYCLE": _lifecycle,
    "VALUE": _value,
    "SEGMENT": _segment,
    "BUDGET_SPENT": _budget,
    "OUT_OF_STOCK": _budget,
    "CHANNEL": _channel,
    "PLACEMENT": _placement,
    "DISSATISFIED": partial(_plain, "resolved", "service"),
    "NOT_STARTED": partial(_plain, "starts", "marketer"),
    "ENDED": partial(_plain, "ends", "marketer"),
    "PAUSED": partial(_plain, "resume", "marketer"),
    "EXCLUDED": partial(_plain, "exclude", "caller"),
    "NOT_INCLUDED": partial(_plain, "include", "caller"),
    "FILTER": partial(_plain, "filter", "caller"),
}
