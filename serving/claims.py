"""What members could be given: the value of every candidate for every member, and what it takes from each budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.cuts import Box, Floats

Whole = NDArray[np.int64]
Table = NDArray[np.floating[Any]]
NOTHING = -1
"""The choice of a member who gets nothing."""
CHUNK = 16_384
"""Members looked at together: what a processor keeps near."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Values and costs of `n` members × `m` candidates. Nothing (worth 0, taking nothing) is always a choice."""

    values: Table
    """(n, m): money; −inf where a candidate may not be given."""
    costs: tuple[Table, ...]
    """One (n, m) for each budget, at least 0; (1, m) where all members take the same."""

    @staticmethod
    def checked(values: Table, costs: Sequence[Table] | Table) -> Claims:
        """Claims from arrays: `costs` as a sequence of (n, m) or (1, m), or one array (n, m, n_budgets).

        Raises:
            ValueError: Shapes do not fit, a value is NaN or +inf, or a cost is negative or not finite.
        """
        tables = tuple(np.moveaxis(costs, 2, 0)) if isinstance(costs, np.ndarray) and costs.ndim == 3 else tuple(costs)
        if values.ndim != 2 or 0 in values.shape:
            raise ValueError(f"values of shape {values.shape}: members × candidates are needed, at least one of each")
        for budget, table in enumerate(tables):
            if table.shape not in (values.shape, (1, values.shape[1])):
                raise ValueError(f"costs of budget {budget}: shape {table.shape} does not fit values {values.shape}")
            if not (np.isfinite(table).all() and table.min() >= 0):
                raise ValueError(f"costs of budget {budget}: they must be finite and at least 0")
        if np.isnan(values.min()) or values.max() == np.inf:
            raise ValueError("values: they must be numbers below infinity; −inf is what may not be given")
        return Claims(values, tables)

    def __len__(self) -> int:
        return len(self.values)

    def some(self, rows: Whole | slice) -> Claims:
        """These members, in 64 bits."""
        tables = (table[rows] if len(table) > 1 else table for table in self.costs)
        return Claims(self.values[rows].astype(np.float64), tuple(table.astype(np.float64) for table in tables))

    def chunks(self) -> Iterator[tuple[slice, Claims]]:
        """All members, some at a time, in 64 bits."""
        for first in range(0, len(self), CHUNK):
            rows = slice(first, min(first + CHUNK, len(self)))
            yield rows, self.some(rows)

    def scores(self, prices: Floats) -> Floats:
        """(n, m): what is left of each value after prices."""
        scores: Floats = np.array(self.values, dtype=np.float64)
        for table, price in zip(self.costs, prices.tolist(), strict=True):
            if price:
                scores -= price * table
        return scores

    def without(self, budgets: NDArray[np.bool_]) -> Claims:
        """The same claims without these budgets; what takes from them may not be given."""
        kept = tuple(table for table, gone in zip(self.costs, budgets.tolist(), strict=True) if not gone)
        if not budgets.any():
            return self
        values = self.values.copy()
        for budget in np.flatnonzero(budgets).tolist():
            values[np.broadcast_to(self.costs[budget] > 0, values.shape)] = -np.inf
        return Claims(values, kept)

    def first_unit(self, budget: int, prices: Floats, top: Floats) -> float:
        """The most that a first unit of an empty budget would earn, given prices and what members have left."""
        gain = self.scores(prices) - top[:, None]
        table = np.broadcast_to(self.costs[budget], gain.shape)
        rate = np.divide(gain, table, out=np.zeros(gain.shape), where=(table > 0) & (gain > 0))
        return float(rate.max())

    def taken(self, choice: Whole) -> Floats:
        """(n, n_budgets): what each member's choice takes from each budget."""
        given = choice != NOTHING
        found = np.zeros((len(choice), len(self.costs)))
        for budget, table in enumerate(self.costs):
            rows = np.flatnonzero(given) if len(table) > 1 else 0
            found[given, budget] = table[rows, choice[given]]
        return found

    def worth(self, choice: Whole) -> Floats:
        """(n,): the value of each member's choice."""
        given = choice != NOTHING
        found = np.zeros(len(choice))
        found[given] = self.values[np.flatnonzero(given), choice[given]]
        return found


def best(scores: Floats) -> tuple[Whole, Floats]:
    """The candidate with the highest score of each member, the first of equals, and that score; nothing beats ≤ 0."""
    choice: Whole = scores.argmax(axis=1)
    top = np.take_along_axis(scores, choice[:, None], axis=1)[:, 0]
    return np.where(top > 0, choice, NOTHING), np.maximum(top, 0.0)


def settled(claims: Claims, scores: Floats, prices: Floats, box: Box) -> NDArray[np.bool_]:
    """(n,): whose best choice at `prices` is strictly the best at all prices of the box."""
    choice, top = best(scores)
    reach = np.maximum(box.high - prices, prices - box.low)
    mine = claims.taken(choice)
    ahead = top[:, None] - scores
    free = top - mine @ reach  # ahead of doing nothing
    for budget, table in enumerate(claims.costs):
        if reach[budget]:
            ahead -= reach[budget] * np.abs(mine[:, budget, None] - table)
    given = choice != NOTHING
    ahead[given, choice[given]] = np.inf
    safe: NDArray[np.bool_] = (ahead.min(axis=1) > 0) & ((free > 0) | ~given)
    return safe


@dataclass(slots=True, eq=False)
class Field:
    """Members whose choice is open inside a box of prices, and what all others get there."""

    claims: Claims
    weight: float
    """Members each row stands for."""
    settled_worth: float
    settled_use: Floats
    looks: int = 0

    def look(self, prices: Floats) -> tuple[float, Floats]:
        """`h(λ) = Σ max(V − λk, 0)` over all members, and what its choices take from each budget."""
        total, use = 0.0, np.zeros(len(prices))
        for _, some in self.claims.chunks():
            choice, top = best(some.scores(prices))
            total += float(top.sum())
            use += some.taken(choice).sum(axis=0)
        self.looks += 1
        settled = self.settled_worth - float(self.settled_use @ prices)
        return settled + self.weight * total, self.settled_use + self.weight * use


def sample(claims: Claims, size: int, seed: int) -> Field:
    """Members drawn by lot who stand for all; all of them where they are no more than `size`."""
    n, budgets = len(claims), len(claims.costs)
    rows = np.arange(n) if n <= size else np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
    return Field(claims.some(rows), n / len(rows), 0.0, np.zeros(budgets))


def narrowed(claims: Claims, prices: Floats, box: Box) -> tuple[Field, Whole, Whole]:
    """The members whose choice hangs on where in the box the prices are, in one pass over all.

    Returns:
        The field; its rows; and (n,) the choice of everybody at `prices`, which is the choice of all others anywhere.
    """
    choices = np.empty(len(claims), np.int64)
    worth, use, still = 0.0, np.zeros(len(claims.costs)), []
    for rows, some in claims.chunks():
        scores = some.scores(prices)
        choice, _ = best(scores)
        sure = settled(some, scores, prices, box)
        choices[rows] = choice
        worth += float(some.worth(choice)[sure].sum())
        use += some.taken(choice)[sure].sum(axis=0)
        still.append(rows.start + np.flatnonzero(~sure))
    found = np.concatenate(still)
    return Field(claims.some(found), 1.0, worth, use, looks=1), found, choices
