"""One change to a case: what it is, who could make it, and the case with it made.

Only what somebody can bring about is a change: nobody is asked to be a newer member, to stay away for churn, or to give
a bad score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from features.entities import Candidate
from serving.explain_case import Bought, Case, usual_basket
from serving.snapshot import Estimate, Placement, Reaction

By = Literal["member", "marketer", "caller", "service", "time", "nobody"]
"""Who can bring it about; `service` is whoever resolves a complaint, `nobody` is what only evidence can show."""
Kind = Literal[
    "wait", "baskets", "category", "spend", "points", "basket_value", "consent", "resolved",
    "cost", "discount", "given_points", "contact_cost", "lever", "condition", "open_to", "limit", "starts", "ends",
    "resume", "budget", "include", "exclude", "filter", "channel", "placement", "effect", "price",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """A change and its size. It takes a number from `now` to `needed`; what is yes or no has neither."""

    kind: Kind
    by: By
    what: str = ""
    """Which feature, field, channel, label or budget, where the kind leaves that open."""
    now: float | None = None
    needed: float | None = None
    step: float = 0.0
    """The next smaller change is this much less; its sign points away from `now`. 0 where there is none."""
    until: float | None = None
    """Up to when it would still do, epoch seconds; None where that is further away than was looked."""


def applied(case: Case, name: str, change: Change) -> Case:
    """The case with a change made for candidate `name`; changes are made one after the other."""
    return _APPLY[change.kind](case, name, change)


def weaker(change: Change) -> Change | None:
    """The change one step smaller; None where it has no size."""
    if not change.step or change.needed is None:
        return None
    return replace(change, needed=round(change.needed - change.step, 9))


def _needed(change: Change) -> float:
    assert change.needed is not None, f"{change.kind} is a number"
    return change.needed


def _wait(case: Case, _: str, change: Change) -> Case:
    return case.moved(at=_needed(change))


def _baskets(case: Case, _: str, change: Change) -> Case:
    usual = usual_basket(case.snapshot.features, case.policy)
    return case.moved(bought=case.bought + (Bought(case.snapshot.at, usual),) * int(_needed(change)))


def _category(case: Case, _: str, change: Change) -> Case:
    usual = usual_basket(case.snapshot.features, case.policy)
    return case.moved(bought=(*case.bought, Bought(case.snapshot.at, usual, change.what)))


def _spend(case: Case, _: str, change: Change) -> Case:
    return case.moved(bought=(*case.bought, Bought(case.snapshot.at, _needed(change))))


def _points(case: Case, _: str, change: Change) -> Case:
    return case.moved(more_points=case.more_points + _needed(change) - (change.now or 0.0))


def _basket_value(case: Case, _: str, change: Change) -> Case:
    context = {**case.ask.context, "basket_value": _needed(change)}
    return replace(case, ask=replace(case.ask, context=context))


def _consent(case: Case, _: str, change: Change) -> Case:
    consents = {**case.snapshot.consents, change.what: True}
    return replace(case, snapshot=replace(case.snapshot, consents=consents))


def _resolved(case: Case, _: str, _change: Change) -> Case:
    reactions = (*case.snapshot.reactions, Reaction(case.snapshot.at, "resolved"))
    return replace(case, snapshot=replace(case.snapshot, reactions=reactions))


def _edited(part: str, field: str | None = None) -> Callable[[Case, str, Change], Case]:
    """Put `needed` into a field of the candidate: of one of its parts, or its own where `part` is empty."""

    def edit(case: Case, name: str, change: Change) -> Case:
        one = _known(case, name)
        over: dict[str, Any] = {field or change.what: _needed(change)}
        return case.put(replace(one, **({part: replace(getattr(one, part), **over)} if part else over)))

    return edit


def _known(case: Case, name: str) -> Candidate:
    one = case.candidate(name)
    assert one is not None, f"{name} stands in the catalogue"
    return one


def _limit(case: Case, name: str, change: Change) -> Case:
    one = _known(case, name)
    value = int(_needed(change)) if change.what == "per_member" else _needed(change)
    over: dict[str, Any] = {change.what: value}
    return case.put(replace(one, limits=replace(one.limits, **over)))


def _open_to(case: Case, name: str, change: Change) -> Case:
    one = _known(case, name)
    field, label = change.what.split(":", 1)
    labels = (*getattr(one.conditions, field), label) if label else ()
    over: dict[str, Any] = {field: labels}
    return case.put(replace(one, conditions=replace(one.conditions, **over)))


def _starts(case: Case, name: str, _: Change) -> Case:
    return case.put(replace(_known(case, name), starts=datetime.fromtimestamp(case.snapshot.at, UTC)))


def _ends(case: Case, name: str, _: Change) -> Case:
    return case.put(replace(_known(case, name), ends=None))


def _resume(case: Case, name: str, _: Change) -> Case:
    return replace(case, snapshot=replace(case.snapshot, paused=case.snapshot.paused - {name}))


def _budget(case: Case, _: str, change: Change) -> Case:
    return replace(case, snapshot=replace(case.snapshot, spent_out=case.snapshot.spent_out - {change.what}))


def _include(case: Case, name: str, _: Change) -> Case:
    return replace(case, ask=replace(case.ask, include=(*case.ask.include, name)))


def _exclude(case: Case, name: str, _: Change) -> Case:
    left = tuple(one for one in case.ask.exclude if one != name)
    return replace(case, ask=replace(case.ask, exclude=left))


def _filter(case: Case, _: str, _change: Change) -> Case:
    return replace(case, ask=replace(case.ask, filter=None))


def _channel(case: Case, _: str, change: Change) -> Case:
    return replace(case, ask=replace(case.ask, channel=change.what))


def _placement(case: Case, _: str, change: Change) -> Case:
    return replace(case, ask=replace(case.ask, placements=(*case.ask.placements, Placement(change.what))))


def _effect(case: Case, name: str, change: Change) -> Case:
    effect, own = _needed(change), case.learned.effects.get(name)
    held = Estimate(own.response if own else None, effect, effect, effect, "experiment")
    if own is None and (group := case.learned.responses.get(_known(case, name).type)) is not None:
        held = replace(held, response=group.response)
    return replace(case, learned=replace(case.learned, effects={**case.learned.effects, name: held}))


def _price(case: Case, _: str, change: Change) -> Case:
    prices = {**case.snapshot.prices, change.what: _needed(change)}
    return replace(case, snapshot=replace(case.snapshot, prices=prices))


_APPLY: Mapping[Kind, Callable[[Case, str, Change], Case]] = {
    "wait": _wait,
    "baskets": _baskets,
    "category": _category,
    "spend": _spend,
    "points": _points,
    "basket_value": _basket_value,
    "consent": _consent,
    "resolved": _resolved,
    "cost": _edited("economics", "cost"),
    "discount": _edited("economics", "discount"),
    "given_points": _edited("economics", "points"),
    "contact_cost": _edited("economics", "contact_cost"),
    "lever": _edited("", "lever"),
    "condition": _edited("conditions"),
    "open_to": _open_to,
    "limit": _limit,
    "starts": _starts,
    "ends": _ends,
    "resume": _resume,
    "budget": _budget,
    "include": _include,
    "exclude": _exclude,
    "filter": _filter,
    "channel": _channel,
    "placement": _placement,
    "effect": _effect,
    "price": _price,
}

__all__ = ["By", "Change", "Kind", "applied", "weaker"]
