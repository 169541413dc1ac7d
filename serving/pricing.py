"""Prices for the coming days: what members would be worth to give to, against what is left of each budget.

Members are appraised by the same code that decides, with no prices; each such visit stands for many that are expected
until a budget is full again. What rights of members will take is set aside before anything is priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np

from features.entities import Budget
from serving import budget_use, value
from serving.claims import Claims
from serving.cuts import Floats
from serving.decide import Appraisal
from serving.eligibility import route
from serving.prices import Allocation, Marginal, marginal, solve
from serving.reservations.contract import Balance
from serving.snapshot import Ask

ONWARD_DAYS = 28.0
"""What never renews and never ends is priced as if it had to last so long."""
_LEAST_DAYS = 1 / 24
_BINDING = 1e-9


@dataclass(frozen=True, slots=True)
class Visit:
    """One appraised member; `ask` is what they were appraised for."""

    found: Appraisal
    ask: Ask


@dataclass(frozen=True, slots=True)
class Purse:
    """What is left of a budget, and how long it must last."""

    budget: Budget
    left: float
    days: float
    until: float | None
    """Epoch seconds at which it is full again or ends; None where that never happens."""


@dataclass(frozen=True, slots=True)
class Line:
    """One budget in the report; amounts in its unit, money in the programme's currency."""

    purse: Purse
    price: float
    forecast: float
    """What is expected to be taken until then, rights included."""
    rights: float
    """The part of it that rights take."""
    step: float
    edge: Marginal
    """Money for each of the next, and each of the last, `step` units."""

    @property
    def next_earns(self) -> float:
        """Money that the next `step` units would earn."""
        return self.step * self.edge.next

    @property
    def last_earned(self) -> float:
        """Money that the last `step` units earn."""
        return self.step * self.edge.last


@dataclass(frozen=True, slots=True)
class Priced:
    """Prices, and what they rest on."""

    lines: tuple[Line, ...]
    visits: int
    per_day: float
    gap: float
    """How far the allocation of these visits may be from the best one, as a share."""

    @property
    def bottleneck(self) -> Line | None:
        """The budget of which a tenth more would earn most; None where none is scarce."""
        scarce = [line for line in self.lines if line.price > _BINDING]
        return max(scarce, key=lambda line: line.price * max(line.purse.left, line.step), default=None)


def purses(budgets: Iterable[Budget], balances: Sequence[Balance], at: float) -> tuple[Purse, ...]:
    """What is left of the budgets that run at `at`; those outside their dates are left out.

    What is open counts with what is expected of it.
    """
    taken = {(one.budget_id, one.period): one.spent + one.safety * one.open_mean for one in balances}
    found = []
    for budget in budgets:
        period = budget_use.period(budget, at)
        if period is None:
            continue
        until = budget_use.full_again(budget, at) or (budget.ends.timestamp() if budget.ends else None)
        days = ONWARD_DAYS if until is None else max((until - at) / 86_400.0, _LEAST_DAYS)
        found.append(Purse(budget, max(budget.amount - taken.get((budget.id, period), 0.0), 0.0), days, until))
    return tuple(found)


def priced(visits: Sequence[Visit], filled: Sequence[Purse], per_day: float, warm: Sequence[float] | None) -> Priced:
    """Solve for the prices of what is left.

    Args:
        visits: A fair sample of those to come, appraised without prices; at least one.
        filled: What is left of each budget.
        per_day: Visits expected on a day.
        warm: Prices of an hour ago, in the order of `filled`.
    """
    values, costs, rights = table(visits, [one.budget for one in filled])
    # A visit of the sample may take from each budget what a visit to come may take on average.
    share = np.array([len(visits) / max(per_day * one.days, len(visits) * 1e-9) for one in filled])
    left = np.array([one.left for one in filled])
    amounts = np.maximum(left * share - rights, 0.0)
    steps = [_step(one) for one in filled]
    if not filled:
        return Priced((), len(visits), per_day, 0.0)
    found = solve(values, costs, amounts, warm=warm)
    edges = marginal(values, costs, amounts, found, (np.array(steps) * share).tolist())
    return Priced(_lines(filled, found, edges, rights, share, steps), len(visits), per_day, found.gap)


def _lines(
    filled: Sequence[Purse],
    found: Allocation,
    edges: Sequence[Marginal],
    rights: Floats,
    share: Floats,
    steps: Sequence[float],
) -> tuple[Line, ...]:
    forecast, sure = (found.use + rights) / share, rights / share
    return tuple(
        Line(purse, float(found.prices[i]), float(forecast[i]), float(sure[i]), steps[i], edges[i])
        for i, purse in enumerate(filled)
    )


def table(visits: Sequence[Visit], budgets: Sequence[Budget]) -> tuple[Floats, list[Floats], Floats]:
    """Values (n, m) and costs, one (n, m) for each budget, of what may be given; and what rights take together.

    Values are what candidates compete with, after levers. Candidates that may not be given are −inf.
    """
    ids = sorted({candidate.id for visit in visits for candidate, _ in visit.found.allowed})
    column = {name: place for place, name in enumerate(ids)}
    shape = (len(visits), max(len(ids), 1))
    values, costs = np.full(shape, -np.inf), [np.zeros(shape) for _ in budgets]
    rights = np.zeros(len(budgets))
    terms: dict[tuple[str, str], value.Terms] = {}
    payers = {
        name: [(place, one) for place, one in enumerate(budgets) if one in many]
        for name, many in budget_use.payers(
            budgets, {one.id: one for visit in visits for one, _ in visit.found.allowed}.values()
        ).items()
    }
    for row, visit in enumerate(visits):
        policy, who = visit.found.policy, visit.found.portrait
        for candidate, worth in visit.found.allowed:
            key = (candidate.id, policy.version)
            if key not in terms:
                terms[key] = value.terms(candidate, policy)
            if not candidate.entitlement:
                values[row, column[candidate.id]] = worth.pull
            for place, budget in payers.get(candidate.id, ()):
                takes = budget_use.use(budget, candidate, terms[key], worth, who, route(candidate, visit.ask)).expected
                if candidate.entitlement:
                    rights[place] += takes
                else:
                    costs[place][row, column[candidate.id]] = takes
    Claims.checked(values, costs)
    return values, costs, rights


def _step(purse: Purse) -> float:
    """A round number of units, about a tenth of the budget: what somebody would ask for."""
    tenth = max(purse.budget.amount / 10.0, 1e-9)
    size: float = 10.0 ** floor(log10(tenth))
    step = max(one * size for one in (1.0, 2.0, 5.0) if one * size <= tenth * (1 + 1e-9))
    return step if purse.budget.unit == "money" else max(step, 1.0)


def sentences(found: Priced, currency: str) -> list[str]:
    """The report in words: what more of each budget would earn, and which of them is the bottleneck."""
    said = [_sentence(line, currency) for line in found.lines]
    tight = found.bottleneck
    if tight is None:
        return [*said, "No budget is a bottleneck: whatever is worth giving can be paid for."]
    spare = [line for line in found.lines if line is not tight and line.price <= _BINDING]
    money = next((line for line in spare if line.purse.budget.unit == "money"), spare[0] if spare else None)
    rest = f", not {money.purse.budget.name}" if money else ""
    return [*said, f"The bottleneck is {tight.purse.budget.name}{rest}."]


_UNIT = {"points": "points", "messages": "messages", "units": "pieces"}


def _sentence(line: Line, currency: str) -> str:
    budget, unit = line.purse.budget, _UNIT.get(line.purse.budget.unit, currency)
    days = f"{line.purse.days:,.1f} days"
    head = f"{budget.name}: {line.purse.left:,.0f} {unit} are left for {days}, {line.forecast:,.0f} are forecast"
    if line.price <= _BINDING:
        return f"{head}; more of it would earn nothing."
    return (
        f"{head}; the next {line.step:,.0f} {unit} would earn {line.next_earns:,.2f} {currency}, "
        f"the last {line.step:,.0f} earn {line.last_earned:,.2f}."
    )
