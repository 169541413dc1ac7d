"""Shadow prices of budgets: what one more unit of each would earn, and who gets what under them.

The allocation is `max Σ z_ia V_ia` with at most one candidate for each member and `Σ k^b_ia z_ia ≤ B_b` for every
budget. Its dual, `min over λ ≥ 0 of λ·B + Σ_i max over a of (V_ia − λ·k_ia, 0)`, is convex in a handful of prices.
Planes bound it from below inside a box around the best prices so far; members whose choice is the same everywhere in
the box are counted once and left out, so that few of them are looked at again and again. The allocation mixes what the
looks chose, rounds the few members it leaves open, and is brought inside every budget.

Sources: Goldenberg et al. 2020 (arXiv:2008.06293), the multiple-choice knapsack of promotions; Kelley 1960.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving import allotment
from serving.claims import NOTHING, Claims, Field, Table, Whole, best, narrowed, sample
from serving.cuts import Box, Cuts, Floats

__all__ = ["NOTHING", "Allocation", "Marginal", "marginal", "solve"]

SAMPLE = 20_000
"""Members whose prices are found first."""
LOOKS = 2_000
"""After so many looks the prices are what they are; the gap says how good."""
_SEED = 17
_ROUGH = 1e-4
"""Tolerance where a sample only says where to look."""
_SIDE = 0.04
"""Side of the first box around the prices of a sample, relative to them."""


@dataclass(frozen=True, slots=True, eq=False)
class Allocation:
    """Prices, and who gets what under them."""

    prices: Floats
    """(n_budgets,): money per unit, at least 0."""
    choice: Whole
    """(n_members,): column of the candidate; NOTHING (−1) for none. Inside every budget, always."""
    value: float
    """Of the choices, in money."""
    bound: float
    """No allocation is worth more, not even one that splits candidates between members."""
    use: Floats
    """(n_budgets,): what the choices take."""
    looks: int
    """Passes over the members whose choice was open."""

    @property
    def gap(self) -> float:
        """How far the allocation may be from the best one, as a share of the bound; 0 where there is nothing to win."""
        return (self.bound - self.value) / self.bound if self.bound > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Marginal:
    """What a budget earns at its edge, in money per unit."""

    next: float
    """Each of the next units would earn so much."""
    last: float
    """Each of the last units earned so much; never less than `next`."""


def solve(
    values: Table,
    costs: Sequence[Table] | Table,
    amounts: Sequence[float] | Floats,
    *,
    warm: Sequence[float] | Floats | None = None,
    tolerance: float = 1e-6,
) -> Allocation:
    """Allocate under several budgets at once.

    Args:
        values: (n, m), what each candidate is worth for each member; −inf where it may not be given.
        costs: One (n, m) for each budget, or (1, m) where all members take the same; or (n, m, n_budgets).
        amounts: (n_budgets,), what there is of each budget; +inf where it is not limited.
        warm: Prices to start from, such as those of an hour ago.
        tolerance: How far the prices may leave the dual above its lowest value, as a share of it.

    Returns:
        Prices and an allocation. Equal inputs give equal results, on every machine up to rounding.

    Raises:
        ValueError: Shapes do not fit; a value or a cost cannot be used; an amount is negative or NaN.
    """
    read = _read(values, costs, amounts)
    claims, limits = read.claims, read.limits
    found = _priced(claims, limits, None if warm is None else np.asarray(warm, np.float64)[read.open], tolerance)
    choice = allotment.rounded(found.field.claims, found.points, found.weights)
    if found.rows is not None:
        found.choices[found.rows] = choice
        choice = found.choices
    choice = allotment.inside(claims, choice, limits, found.prices)
    prices, use = np.zeros(len(read.amounts)), np.zeros(len(read.amounts))
    prices[read.open] = found.prices
    value, first = 0.0, np.zeros(len(prices))
    for rows, some in read.every.chunks():
        use += some.taken(choice[rows]).sum(axis=0)
        value += float(some.worth(choice[rows]).sum())
        if read.empty.any():
            _, top = best(claims.some(rows).scores(found.prices))
            first = np.maximum(
                first, [some.first_unit(b, prices, top) if read.empty[b] else 0 for b in range(len(first))]
            )
    return Allocation(prices + first, choice, value, max(found.bound, value), use, found.looks)


def marginal(
    values: Table,
    costs: Sequence[Table] | Table,
    amounts: Sequence[float] | Floats,
    allocation: Allocation,
    steps: Sequence[float],
    *,
    tolerance: float = 1e-8,
) -> tuple[Marginal, ...]:
    """What a step more, and a step less, of each budget would change, per unit; the other budgets stay as they are.

    Args:
        values: As in `solve`, and so are `costs` and `amounts`.
        costs: See there.
        amounts: See there.
        allocation: What `solve` gave for them.
        steps: (n_budgets,), units; more than 0.
        tolerance: See `solve`.

    Returns:
        One for each budget; 0 both ways where it is not limited. `last` is 0 for a budget of nothing.
    """
    limits, found = np.asarray(amounts, np.float64), []

    def bound(budget: int, amount: float) -> float:
        changed = limits.copy()
        changed[budget] = amount
        read = _read(values, costs, changed)
        return _priced(read.claims, read.limits, allocation.prices[read.open], tolerance).bound

    here = bound(0, limits[0]) if len(limits) else 0.0
    for budget, (amount, step) in enumerate(zip(limits.tolist(), steps, strict=True)):
        if not np.isfinite(amount):
            found.append(Marginal(0.0, 0.0))
            continue
        less = min(float(step), amount)
        more = float(bound(budget, amount + step) - here) / step
        last = (here - bound(budget, amount - less)) / less if less > 0 else 0.0
        found.append(Marginal(max(more, 0.0), max(last, 0.0)))
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What was asked, checked."""

    every: Claims
    claims: Claims
    """On the budgets that are limited and not empty."""
    amounts: Floats
    limits: Floats
    """Of the budgets in `claims`."""
    open: NDArray[np.bool_]
    """(n_budgets,): which those are."""
    empty: NDArray[np.bool_]


def _read(values: Table, costs: Sequence[Table] | Table, amounts: Sequence[float] | Floats) -> _Read:
    every, have = Claims.checked(values, costs), np.asarray(amounts, np.float64)
    if have.shape != (len(every.costs),):
        raise ValueError(f"amounts of shape {have.shape}: there are {len(every.costs)} budgets")
    if not (have >= 0).all():
        raise ValueError(f"amounts {have.tolist()}: each must be at least 0; +inf where a budget is not limited")
    empty, limited = have == 0, np.isfinite(have)
    left = every.without(empty)
    kept = tuple(table for table, limit in zip(left.costs, have[~empty].tolist(), strict=True) if np.isfinite(limit))
    some = limited & ~empty
    return _Read(every, Claims(left.values, kept), have, have[some], some, empty)


@dataclass(frozen=True, slots=True, eq=False)
class _Priced:
    """The lowest point of the dual, and the looks that hold it."""

    prices: Floats
    bound: float
    points: list[Floats]
    weights: Floats
    field: Field
    rows: Whole | None
    """Of the field; None where it holds everybody."""
    choices: Whole
    looks: int


def _priced(claims: Claims, limits: Floats, warm: Floats | None, tolerance: float) -> _Priced:
    whole = sample(claims, SAMPLE, _SEED)
    scale, worth, ceiling = _measures(whole, limits)
    looks, start = 0, warm
    if warm is None or len(whole.claims) == len(claims):
        box = Box(np.zeros(len(limits)), np.minimum(4.0 * scale, ceiling))
        everybody = len(whole.claims) == len(claims)
        while True:
            found = _lowest(whole, limits, Cuts(scale, worth), box, start, tolerance if everybody else _ROUGH)
            looks += whole.looks
            if not box.presses(found.prices) or (box.high >= ceiling).all():
                break
            box = Box(box.low, np.minimum(8.0 * box.high, ceiling))
        if everybody:
            return found
        start = found.prices
    assert start is not None
    box = Box(np.zeros(len(limits)), _SIDE * np.maximum(start, 0.1 * scale)).grown(start, 1.0)
    while True:
        field, rows, choices = narrowed(claims, start, box)
        found = _lowest(field, limits, Cuts(scale, worth), box, start, tolerance)
        looks += field.looks
        if not box.presses(found.prices):
            return replace(found, rows=rows, choices=choices, looks=looks)
        start, box = found.prices, box.grown(found.prices, 4.0)


def _measures(field: Field, limits: Floats) -> tuple[Floats, float, Floats]:
    """What prices and values are measured in, and prices at which nobody takes anything."""
    total, use = field.look(np.zeros(len(limits)))
    use, worth = np.maximum(use, 1e-12), max(total, 1e-12)
    highest = np.zeros(len(limits))
    for _, some in field.claims.chunks():
        for budget, table in enumerate(some.costs):
            each = np.divide(np.maximum(some.values, 0.0), table, out=np.zeros(some.values.shape), where=table > 0)
            highest[budget] = max(highest[budget], float(each.max()))
    return np.minimum(worth / use, np.maximum(highest, 1e-12)), worth, 1.01 * np.maximum(highest, 1e-12)


def _lowest(field: Field, limits: Floats, cuts: Cuts, box: Box, start: Floats | None, tolerance: float) -> _Priced:
    """Look until the planes and the best look agree; half-way between the two as long as that helps."""
    best, at = np.inf, np.clip(np.zeros(len(limits)) if start is None else start, box.low, box.high)
    where, point, weights = at, at, np.ones(1)
    for _ in range(LOOKS):
        total, use = field.look(at)
        cuts.add(at, total, use)
        value = total + float(limits @ at)
        better = value < best
        if better:
            best, where = value, at
        point, below, weights = cuts.lowest(limits, box)
        if best - below <= tolerance * max(abs(best), 1e-9 * cuts.worth):
            break
        at = (where + point) / 2 if better else point
    held = np.flatnonzero(weights > 1e-9)
    return _Priced(
        where, best, [cuts.at[one] for one in held], weights[held], field, None, np.empty(0, np.int64), field.looks
    )
