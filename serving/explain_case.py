"""A logged decision as a case that can be tried again: its inputs, and what becomes of one candidate under them.

Pure. A case can be moved in time and the member can be let buy in it; everything else about it is replaced as it is.
What the models said is held as it was, and so are prices of budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import isnan, nan
from typing import Any, Literal

from features.entities import DO_NOTHING, Candidate, Catalog, Programme, TierRules
from serving import budget_use, decide
from serving.assignment import Experiments
from serving.decide import Appraisal
from serving.policy import FamilyName, FamilyRules, Policy
from serving.slate import Choice, arrange
from serving.snapshot import Ask, Learned, Snapshot, Suppressed
from serving.value import NOTHING, UNITS, Worth

Later = Callable[[float], Mapping[str, float]]
"""The member's features at a later moment (epoch seconds), if nothing happens until then."""
Outcome = Literal["unknown", "dropped", "outdone", "undrawn", "given"]
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Bought:
    """A basket that the member is let buy."""

    at: float
    spend: float
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """All that a decision rests on, and what was changed about it since."""

    snapshot: Snapshot
    ask: Ask
    learned: Learned
    catalog: Catalog
    policy: Policy
    experiments: Experiments
    later: Later
    bought: tuple[Bought, ...] = ()
    more_points: float = 0.0
    books: decide.Books = field(default_factory=dict, compare=False, repr=False)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those that may be asked about in this family."""
        catalog = self.catalog
        found = {"offer": catalog.offers, "action": (*catalog.actions, *catalog.offers), "benefit": catalog.benefits}
        return tuple(one for one in found.get(self.ask.family, ()) if one.type != "do_nothing")

    def candidate(self, name: str) -> Candidate | None:
        """The candidate with this id; None where the family has none."""
        return next((one for one in self.candidates if one.id == name), None)

    def alone(self, name: str) -> Case:
        """The same with no candidate but this: its worth and whether it is allowed hang on no other."""
        return replace(self, catalog=_filtered(self.catalog, lambda one: one.id == name))

    def put(self, candidate: Candidate) -> Case:
        """The same with this candidate in the place of the one with its id."""
        catalog = self.catalog
        families: dict[str, Any] = {
            name: tuple(candidate if one.id == candidate.id else one for one in getattr(catalog, name))
            for name in ("offers", "actions", "benefits")
        }
        return replace(self, catalog=replace(catalog, **families))

    def appraised(self) -> Appraisal:
        """Every candidate of the case, filtered and priced by the code that decides."""
        return decide.appraise(
            self.snapshot, self.ask, self.learned, self.catalog, self.policy, self.experiments, self.books
        )

    def moved(
        self, at: float | None = None, bought: tuple[Bought, ...] | None = None, more_points: float | None = None
    ) -> Case:  # fmt: skip
        """The case at another moment, with other baskets, or with more points."""
        when = self.snapshot.at if at is None else at
        baskets = self.bought if bought is None else bought
        points = self.more_points if more_points is None else more_points
        features = self.later(when)
        if features:
            features = _shopped(features, baskets, when, self.catalog.programme, self.policy)
            features = {**features, "points_balance": _of(features, "points_balance") + points}
        snapshot = replace(self.snapshot, at=when, features=features, spent_out=self._spent_out(when))
        return replace(self, snapshot=snapshot, bought=baskets, more_points=points)

    def _spent_out(self, at: float) -> frozenset[str]:
        renewed = {one.id: budget_use.full_again(one, self.snapshot.at) for one in self.catalog.budgets}
        return frozenset(
            one for one in self.snapshot.spent_out if (when := renewed.get(one)) is None or at < when
        )  # fmt: skip


def case(
    snapshot: Snapshot, ask: Ask, learned: Learned, catalog: Catalog, policy: Policy, experiments: Experiments,
    later: Later | None = None,
) -> Case:  # fmt: skip
    """The case of one decision.

    Args:
        snapshot: This and the next five are what `serving.decide.decide` was given.
        ask: What was asked.
        learned: What the models said.
        catalog: Candidates, budgets and the programme.
        policy: The operator's rules.
        experiments: Those that ran.
        later: The member's features at later moments; where left out only recency and tenure move on.
    """
    return Case(snapshot, ask, learned, catalog, policy, experiments, later or partial(_aged, snapshot))


def _filtered(catalog: Catalog, keep: Callable[[Candidate], bool]) -> Catalog:
    families: dict[str, Any] = {
        name: tuple(filter(keep, getattr(catalog, name))) for name in ("offers", "actions", "benefits")
    }
    return replace(catalog, **families)


def _aged(snapshot: Snapshot, at: float) -> Mapping[str, float]:
    days, features = (at - snapshot.at) / _DAY, dict(snapshot.features)
    recency = features.get("recency_days", nan)
    if recency > 0.0 and "recency_over_gap" in features:
        features["recency_over_gap"] *= (recency + days) / recency
    for name in ("recency_days", "tenure_days"):
        if name in features:
            features[name] += days
    return features


def usual_basket(features: Mapping[str, float], policy: Policy) -> float:
    """What the member spends in a basket, or what is assumed."""
    return _of(features, "avg_basket_value") or policy.unknown_member.basket_value


def _shopped(
    features: Mapping[str, float], baskets: tuple[Bought, ...], at: float, programme: Programme, policy: Policy
) -> Mapping[str, float]:
    """The features with baskets more in them: counts, spend, recency, points, and the tier by the plain rule."""
    found = dict(features)
    for one in baskets:
        days = (at - one.at) / _DAY
        found["avg_basket_value"] = usual_basket(found, policy)
        for name in ("baskets_30d", "baskets_90d", "baskets_365d", "lifetime_baskets"):
            if name in found or name == "baskets_365d":
                found[name] = _of(found, name) + (1.0 if days < _window(name) else 0.0)
        for name in ("spend_30d", "spend_90d", "spend_365d", "lifetime_spend"):
            if name in found or name == "spend_365d":
                found[name] = _of(found, name) + (one.spend if days < _window(name) else 0.0)
        gap = found.get("median_gap_days", nan)
        old = found.get("recency_days", nan)
        if isnan(gap) and old > 0.0:
            gap = old / found.get("recency_over_gap", nan)
        found["recency_days"] = days
        found["recency_over_gap"] = days / gap if gap > 0.0 else nan
        if one.category is not None:
            found[f"bought_365d:{one.category}"] = 1.0
        _climbed(found, one.spend, programme)
    return found


def _window(name: str) -> float:
    tail = name.rsplit("_", 1)[1]
    return float(tail[:-1]) if tail[:-1].isdigit() else float("inf")


def _climbed(found: dict[str, float], spend: float, programme: Programme) -> None:
    """Points for the spend, and tiers; other rules of tiers than the plain one move nobody here."""
    tiers = programme.tiers
    rank = min(max(int(_of(found, "tier_rank")), 0), len(tiers) - 1)
    found["points_balance"] = _of(found, "points_balance") + spend * tiers[rank].earn_rate
    missing = found.get("spend_to_next_tier", nan)
    if programme.tier_rules != TierRules() or isnan(missing):
        return
    reached = tiers[rank + 1].min_spend - missing + spend if rank + 1 < len(tiers) else 0.0
    while rank + 1 < len(tiers) and reached >= tiers[rank + 1].min_spend - 1e-9:
        rank += 1
    found["tier_rank"] = float(rank)
    found["spend_to_next_tier"] = tiers[rank + 1].min_spend - reached if rank + 1 < len(tiers) else nan


def _of(features: Mapping[str, float], name: str) -> float:
    value = features.get(name, nan)
    return 0.0 if isnan(value) else value


@dataclass(frozen=True, slots=True)
class Standing:
    """What became of one candidate."""

    outcome: Outcome
    seen: Appraisal
    reason: Suppressed | None = None
    worth: Worth | None = None
    rival: str | None = None
    """What it has to beat: the least of what is given where nothing is left to chance; None where it is given then."""
    rival_worth: Worth = NOTHING
    chance: float = 0.0
    """That the first place open to it goes to it."""
    by_floor: bool = False
    """Whether the lot of doing nothing kept the place empty."""

    @property
    def gap(self) -> float:
        """How much more the rival counts, in money; 0 where nothing counts more."""
        return 0.0 if self.worth is None or self.rival is None else self.rival_worth.pull - self.worth.pull

    @property
    def net(self) -> float:
        """The candidate's value in money; NaN where it was not priced."""
        return nan if self.worth is None else self.worth.net / UNITS


def standing(one: Case, name: str) -> Standing:
    """What becomes of a candidate in the case, by running filter, prices and draw again."""
    seen = one.appraised()
    reason = next((drop for drop in seen.suppressed if drop.id == name), None)
    if reason is not None:
        return Standing("dropped", seen, reason)
    worth = next((found for candidate, found in seen.allowed if candidate.id == name), None)
    if worth is None:
        return Standing("unknown", seen)
    candidate = one.candidate(name)
    assert candidate is not None, "what was priced stands in the catalogue"
    drawn = arrange(seen.allowed, one.snapshot, one.ask, seen.policy, held_out=seen.held_out)
    chances = [step.probabilities.get(name, 0.0) for step in drawn.chances if name in step.probabilities]
    rival = beaten_by(one, seen, candidate)
    given = any(choice.candidate is not None and choice.candidate.id == name for choice in drawn.choices)
    outcome: Outcome = "given" if given else "undrawn" if rival is None else "outdone"
    against = None if rival is None else (rival.candidate or DO_NOTHING).id
    chance, by_floor = (chances[0] if chances else 0.0), any(choice.by_floor for choice in drawn.choices)
    return Standing(outcome, seen, None, worth, against, rival.worth if rival else NOTHING, chance, by_floor)


def beaten_by(one: Case, seen: Appraisal, candidate: Candidate) -> Choice | None:
    """What is given in the candidate's stead where nothing is left to chance; None where the candidate is given."""
    certain = sure(seen.policy)
    drawn = arrange(seen.allowed, one.snapshot, one.ask, certain, held_out=seen.held_out)
    open_to = [
        choice for choice in drawn.choices if not candidate.placements or choice.placement in candidate.placements
    ]
    if any(choice.candidate is not None and choice.candidate.id == candidate.id for choice in drawn.choices):
        return None
    return min(open_to, key=lambda choice: choice.worth.pull, default=None)


def sure(policy: Policy) -> Policy:
    """The policy with nothing left to chance. Only for `arrange`: it keeps the version of the other."""
    still: dict[FamilyName, FamilyRules] = {
        name: rules.model_copy(update={"do_nothing_floor": 0.0, "explore": False})
        for name, rules in policy.families.items()
    }
    return policy.model_copy(update={"families": still})


__all__ = ["Bought", "Case", "Later", "Outcome", "Standing", "beaten_by", "case", "standing", "sure"]
