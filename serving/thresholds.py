"""At which price an outdone candidate wins: one edge for each of its terms, found by bisection over the real value.

Each edge is on a grid (a cent, a tenth of a percent, a point) and holds on both sides: there the candidate is given
where nothing is left to chance, one step less and it is not. What members answer is held as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor, log10

from features.entities import Candidate
from serving import budget_use
from serving.counterfactuals import Found, tightened
from serving.eligibility import route
from serving.explain_case import Case, Standing, beaten_by, standing
from serving.explain_steps import Change, applied, weaker

_TERMS = ("cost", "discount", "given_points", "contact_cost", "lever")
"""Kinds of changes that touch the candidate alone, so that nobody else's worth has to be worked out again."""
_HIGHEST_LEVER = 10.0
_MORE_EFFECT = 1.0
"""Baskets; above what any one candidate causes."""


def winning(case: Case, name: str, now: Standing | None = None) -> list[Found]:
    """The single changes of its terms, of what it causes, or of a budget's price with which the candidate wins.

    Args:
        case: The decision, or one in which something was changed.
        name: A candidate that is allowed and outdone in it.
        now: Its standing, where that is known.
    """
    now = standing(case, name) if now is None else now
    candidate = case.candidate(name)
    if candidate is None or now.outcome not in ("outdone", "undrawn", "given") or now.rival is None:
        return []
    found = []
    for option in _options(case, candidate, now):
        change = tightened(option, lambda change: _wins(case, candidate, now, change))
        if change is not None and (checked := _checked(case, candidate, change)) is not None:
            found.append(checked)
    return found


def _options(case: Case, one: Candidate, now: Standing) -> Iterator[Change]:
    """The furthest that each of them may go."""
    money, share = one.economics, one.type == "discount_percent"
    if money.cost > 0.0:
        yield Change("cost", "marketer", now=_up(money.cost, 0.01), needed=0.0, step=-0.01)
    if money.discount > 0.0:
        step = 0.001 if share else 0.01
        yield Change("discount", "marketer", now=_up(money.discount, step), needed=step, step=-step)
    if money.points > 0.0:
        step, least = (0.1, 1.1) if one.type == "points_multiplier" else (1.0, 1.0)
        yield Change("given_points", "marketer", now=_up(money.points, step), needed=least, step=-step)
    if money.contact_cost > 0.0:
        yield Change("contact_cost", "marketer", now=_up(money.contact_cost, 0.01), needed=0.0, step=-0.01)
    yield Change("lever", "marketer", now=floor(one.lever * 100) / 100, needed=_HIGHEST_LEVER, step=0.01)
    if now.worth is not None:
        effect = floor(now.worth.effect * 1e4) / 1e4
        yield Change("effect", "nobody", now=effect, needed=round(effect + _MORE_EFFECT, 4), step=0.0001)
    yield from _prices(case, one)


def _prices(case: Case, one: Candidate) -> Iterator[Change]:
    through = route(one, case.ask)
    for budget in budget_use.payers(case.catalog.budgets, [one]).get(one.id, ()):
        price = case.snapshot.prices.get(budget.id, 0.0)
        if price > 0.0 and (not budget.channels or through in budget.channels):
            step = 10.0 ** (floor(log10(price)) - 2)
            yield Change("price", "marketer", budget.id, now=_up(price, step), needed=0.0, step=-step)


def _up(value: float, step: float) -> float:
    return round(ceil(value / step - 1e-9) * step, 9)


def _wins(case: Case, candidate: Candidate, now: Standing, change: Change) -> bool:
    """Whether the candidate is given for certain with the change; only its own worth is worked out anew."""
    then = applied(case, candidate.id, change)
    if change.kind not in _TERMS and change.kind != "effect":
        seen = then.appraised()
        return any(one.id == candidate.id for one, _ in seen.allowed) and beaten_by(then, seen, candidate) is None
    own = then.alone(candidate.id).appraised().allowed
    if not own:
        return False
    others = tuple(pair for pair in now.seen.allowed if pair[0].id != candidate.id)
    seen = replace(now.seen, allowed=(*others, *own))
    return beaten_by(then, seen, candidate) is None


def _checked(case: Case, candidate: Candidate, change: Change) -> Found | None:
    """The change with the whole decision run on both sides of the edge."""
    there = applied(case, candidate.id, change)
    then, less = standing(there, candidate.id), weaker(change)
    if then.outcome == "dropped" or then.rival is not None or less is None:
        return None
    before = standing(applied(case, candidate.id, less), candidate.id)
    return None if before.rival is None and before.outcome != "dropped" else Found((change,), there, then)
