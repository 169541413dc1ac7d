"""From prices to who gets what: the few members that prices leave open are settled inside every budget."""

from __future__ import annotations

import numpy as np

from serving.claims import NOTHING, Claims, Whole, best
from serving.cuts import Floats

_GOLDEN = (5**0.5 - 1) / 2
MOST_SWITCHES = 50_000
"""Switches to something dearer that are tried, the most promising first."""
ROUNDS = 3


def rounded(claims: Claims, points: list[Floats], weights: Floats) -> Whole:
    """(n,): each member's choice at one of the points; each point speaks for its share of those they differ on."""
    choice, _ = best(claims.scores(points[0]))
    if len(points) == 1:
        return choice
    choices = np.stack([choice, *(best(claims.scores(point))[0] for point in points[1:])])
    open_rows = np.flatnonzero((choices != choice).any(axis=0))
    open_rows = open_rows[np.lexsort(choices[:, open_rows])]
    # Fractions of multiples of the golden section lie evenly in every stretch, so also among those who differ alike.
    even = np.modf((np.arange(len(open_rows)) + 0.5) * _GOLDEN)[0]
    speaker = np.minimum(np.searchsorted(np.cumsum(weights), even, side="right"), len(points) - 1)
    choice[open_rows] = choices[speaker, open_rows]
    return choice


def inside(claims: Claims, choice: Whole, limits: Floats, prices: Floats) -> Whole:
    """The same choices, first brought inside every budget where it costs least, then filled up where something is left.

    Args:
        claims: Of all members.
        choice: (n_members,).
        limits: (n_budgets,).
        prices: What a unit of each budget is worth where members compete for it.
    """
    if not len(limits):
        return choice
    choice = choice.copy()
    use = _held(claims, choice, limits, prices)
    for _ in range(ROUNDS):
        if not _filled(claims, choice, use, limits, prices):
            break
    _held(claims, choice, limits, prices)  # sums in another order may differ in the last digit
    return choice


def _held(claims: Claims, choice: Whole, limits: Floats, prices: Floats) -> Floats:
    """Bring the choices inside every budget, in place; what they take then."""
    use = _used(claims, choice)
    while (over := use > limits).any():
        use = _relieved(claims, choice, use, limits, prices, int(np.argmax(np.where(over, use - limits, -np.inf))))
    return use


def _used(claims: Claims, choice: Whole) -> Floats:
    total: Floats = np.zeros(len(claims.costs))
    for rows, some in claims.chunks():
        total += some.taken(choice[rows]).sum(axis=0)
    return total


def _relieved(claims: Claims, choice: Whole, use: Floats, limits: Floats, prices: Floats, budget: int) -> Floats:
    """Switch members to what takes less of one budget and no more of any other, the least lost for each unit first.

    Returns:
        The new use. Either the budget holds, or all who took from it take less than before.
    """
    found: list[tuple[Whole, Whole, Floats, Floats]] = []
    for rows, every in claims.chunks():
        takers = np.flatnonzero(every.taken(choice[rows])[:, budget] > 0)
        if not len(takers):
            continue
        some, had = every.some(takers), choice[rows][takers]
        found.append((rows.start + takers, *_cheaper(some, had, prices, budget)))
    who, to, loss, relief = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(loss / relief, kind="stable")
    needed = int(np.searchsorted(np.cumsum(relief[order]), use[budget] - limits[budget])) + 1
    switched = order[:needed]
    choice[who[switched]] = to[switched]
    return _used(claims, choice)


def _cheaper(some: Claims, had: Whole, prices: Floats, budget: int) -> tuple[Whole, Floats, Floats]:
    """For each member what to switch to, what that loses at these prices, and what it relieves the budget of."""
    taken, scores = some.taken(had), some.scores(prices)
    own = scores[np.arange(len(had)), had]
    fits = np.isfinite(scores)
    for other, table in enumerate(some.costs):
        fits &= (table < taken[:, other, None]) if other == budget else (table <= taken[:, other, None])
    relief = np.where(fits, taken[:, budget, None] - some.costs[budget], 1.0)
    rate = np.where(fits, (own[:, None] - scores) / relief, np.inf)
    to: Whole = rate.argmin(axis=1)
    row = np.arange(len(had))
    to = np.where(rate[row, to] < own / taken[:, budget], to, NOTHING)
    nothing = to == NOTHING
    loss = np.where(nothing, own, own - scores[row, to])
    return to, loss, np.where(nothing, taken[:, budget], relief[row, to])


def _filled(claims: Claims, choice: Whole, use: Floats, limits: Floats, prices: Floats) -> int:
    """Switch members to something worth more for which there is room, most money for what it takes first.

    Returns:
        How many were switched; `choice` and `use` are changed in place.
    """
    spare = float(prices @ np.maximum(limits - use, 0.0))
    found = [_dearer(some, rows.start, choice[rows], limits - use, prices, spare) for rows, some in claims.chunks()]
    who, to, gain, takes = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-gain / np.maximum(takes @ prices, 1e-300), kind="stable")[:MOST_SWITCHES]
    left, switched = (limits - use).tolist(), set[int]()
    for member, column, more in zip(who[order].tolist(), to[order].tolist(), takes[order].tolist(), strict=True):
        if member not in switched and all(m <= have for m, have in zip(more, left, strict=True)):
            left = [have - m for m, have in zip(more, left, strict=True)]
            choice[member] = column
            switched.add(member)
    use[:] = _used(claims, choice) if switched else use
    return len(switched)


def _dearer(
    some: Claims, first: int, had: Whole, room: Floats, prices: Floats, spare: float
) -> tuple[Whole, Whole, Floats, Floats]:
    """Switches to something worth more that fit into the room alone: member, column, gain and what it takes more.

    What is lost at these prices cannot be more than the spare room is worth at them.
    """
    scores, worth, taken = some.scores(prices), some.worth(had), some.taken(had)
    own = worth - taken @ prices
    row, column = np.nonzero((own[:, None] - scores < spare) & (some.values > worth[:, None]))
    costs = np.stack([table[row if len(table) > 1 else 0, column] for table in some.costs], axis=1)
    takes = costs.reshape(len(row), len(room)) - taken[row]
    fits = (takes <= room).all(axis=1)
    gain = some.values[row, column] - worth[row]
    return first + row[fits], column[fits], gain[fits], takes[fits]
