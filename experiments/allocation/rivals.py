"""Ways to share budgets out, all from the same estimates, and what they come to under the truth.

What is estimated to fit may not fit in truth: each way serves those first for whom it holds a budget to be used best,
and whoever comes after a budget is spent gets nothing, as a hard stop would have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from experiments.allocation.ground import Whole
from experiments.allocation.truth import POINT, Economy, Floats
from serving.prices import NOTHING, solve


class Shared(NamedTuple):
    """Who gets what, and who is served first."""

    choice: Whole
    """(n_members,): column of the candidate, or NOTHING."""
    first: Floats
    """(n_members,): the higher, the earlier; what the way itself holds to be the best use of a budget."""


def by_prices(seen: Economy, amounts: Floats) -> Shared:
    """Ours: net value less prices."""
    found = solve(seen.value, seen.costs, amounts)
    scores = seen.value - sum(price * table for price, table in zip(found.prices.tolist(), seen.costs, strict=True))
    return Shared(found.choice, _at(scores, found.choice))


def by_response(seen: Economy, amounts: Floats) -> Shared:
    """Hard caps and response × value: the likeliest margin less what is paid for it, best first, until caps are hit."""
    paid = seen.response * seen.margin[:, None] - seen.costs[0] - POINT * seen.costs[1]
    return _first_come(paid, seen.costs, amounts, paid)


def by_greed(seen: Economy, amounts: Floats) -> Shared:
    """Net value by the share of the budgets that it takes, most first, with the same effects as ours."""
    share = sum(table / amount for table, amount in zip(seen.costs, amounts.tolist(), strict=True))
    return _first_come(seen.value, seen.costs, amounts, seen.value / np.maximum(share, 1e-300))


def by_caps(seen: Economy, amounts: Floats) -> Shared:
    """Net value with hard caps: the most valuable first, until caps are hit; a budget has no price."""
    return _first_come(seen.value, seen.costs, amounts, seen.value)


WAYS: Mapping[str, Callable[[Economy, Floats], Shared]] = {
    "prices": by_prices,
    "greedy on the same effects": by_greed,
    "effects with hard caps": by_caps,
    "response × value with hard caps": by_response,
}


def _at(table: Floats, choice: Whole) -> Floats:
    return np.where(choice == NOTHING, -np.inf, table[np.arange(len(choice)), choice])


def _first_come(value: Floats, costs: tuple[Floats, ...], amounts: Floats, order_by: Floats) -> Shared:
    """Pairs in falling order; a member gets the first that pays and for which all budgets have room."""
    choice = np.full(len(value), NOTHING)
    row, column = np.nonzero(value > 0)
    order = np.argsort(-order_by[row, column], kind="stable")
    row, column = row[order], column[order]
    takes = np.stack([table[row, column] for table in costs], axis=1).tolist()
    left, served = amounts.tolist(), set[int]()
    for member, candidate, cost in zip(row.tolist(), column.tolist(), takes, strict=True):
        if member not in served and all(c <= have for c, have in zip(cost, left, strict=True)):
            left = [have - c for c, have in zip(cost, left, strict=True)]
            served.add(member)
            choice[member] = candidate
    return Shared(choice, _at(order_by, choice))


def kept(shared: Shared, truth: Economy, amounts: Floats) -> Whole:
    """The choices that can be kept if no budget may be overspent in truth: each way serves its own best first."""
    choice, found = shared.choice, np.full(len(shared.choice), NOTHING)
    left = amounts.tolist()
    asked = np.argsort(-shared.first, kind="stable")[: int((choice != NOTHING).sum())]
    takes = np.stack([table[asked, choice[asked]] for table in truth.costs], axis=1).tolist()
    for member, cost in zip(asked.tolist(), takes, strict=True):
        if all(c <= have for c, have in zip(cost, left, strict=True)):
            left = [have - c for c, have in zip(cost, left, strict=True)]
            found[member] = choice[member]
    return found


def worth(choice: Whole, truth: Economy) -> float:
    """What the choices truly earn."""
    given = np.flatnonzero(choice != NOTHING)
    return float(truth.value[given, choice[given]].sum())
