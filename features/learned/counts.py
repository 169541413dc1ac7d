"""The form of personal repeat purchase: what this member buys again, whether it is due, and what is likely to be new.

Two logistic chances share one list. A product bought before is bought again by how often and when it was bought, by
its rhythm and by what the member's other purchases say for it; any other is bought first by how wanted it is and by
what the member's purchases say for it. What one product says for another is an item-item part (`Linear`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import DAY
from features.learned.faults import LearnedError, finite, shaped
from features.learned.histories import Histories
from features.learned.linear import Linear
from features.learned.member import MemberHistory, Scores

TERMS = (
    "one",
    "log_count",
    "log_age",
    "due",
    "due_squared",
    "habit",
    "wanted",
    "ever",
    "near",
    "visits_since",
    "visits",
    "member_age",
    "member_habit",
)
NEW_TERMS = ("one", "wanted", "ever", "near", "visits", "member_age", "member_habit")
VISIT = 6 * 3600.0
"""Purchases of a member less than this apart, in seconds, are one visit."""
_FAINT = 0.005
"""Added to what purchases say for a product before its logarithm is taken; the strongest say about 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Rhythm:
    """What a member's purchases look like at a moment; pairs of several members stand one member after the other."""

    log_count: NDArray[np.float64]
    """(n_pairs,)"""
    log_age: NDArray[np.float64]
    """(n_pairs,): ln(1 + days since it was last bought)."""
    visits_since: NDArray[np.float64]
    """(n_pairs,): ln(1 + visits after the last purchase of the product), of those that the last purchases show."""
    member: NDArray[np.float64]
    """(n_members, 3): ln of the visits that are known, ln(1 + days since the last one), ln of purchases ÷ products;
    zeros for a member without purchases."""


def rhythm(starts: NDArray[np.int64], count: NDArray[np.float32], last_at: NDArray[np.float64], at: float) -> Rhythm:
    """Member `i` has the pairs `starts[i]:starts[i + 1]`; `at` in epoch seconds."""
    sizes = np.diff(starts)
    row = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((-last_at, row))
    latest, same = last_at[order], np.diff(row[order], prepend=-1) == 0
    apart = same & (np.diff(latest, prepend=np.inf) < -VISIT)
    passed = np.cumsum(apart)
    full = np.flatnonzero(sizes)
    begin, end = starts[:-1][full], starts[1:][full] - 1
    since = np.empty(len(row))
    since[order] = passed - np.repeat(passed[begin], sizes[full])
    log_age = np.log1p(np.maximum(at - last_at, 0.0) / DAY)
    member = np.zeros((len(sizes), 3))
    if full.size:
        member[full, 0] = np.log(passed[end] - passed[begin] + 1.0)
        member[full, 1] = np.minimum.reduceat(log_age, begin)
        member[full, 2] = np.log(np.add.reduceat(count, begin) / sizes[full])
    return Rhythm(np.log(count.astype(np.float64)), log_age, np.log1p(since), member)


def near(said: Scores) -> NDArray[np.float32]:
    """The logarithm of what purchases say for products, nothing and less counting alike."""
    found = np.maximum(said, np.float32(0.0), dtype=np.float32)
    found += np.float32(_FAINT)
    return np.log(found, out=found)


def chance(worth: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic of it."""
    found = np.clip(-worth, np.float32(-40.0), np.float32(40.0))
    np.exp(found, out=found)
    found += np.float32(1.0)
    return np.reciprocal(found, out=found)


def first_worth(
    popularity: NDArray[np.float32], ever: NDArray[np.float32], new_weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The log-odds of a first purchase, but for what concerns the member, (n_products,)."""
    one, wanted, long = new_weights[:3].astype(np.float32)
    found: NDArray[np.float32] = wanted * np.log(popularity) + long * np.log(ever) + one
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """A logistic chance for what was bought before, another for all else, both of a purchase by somebody who comes.

    A member without purchases is scored by popularity alone.
    """

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    popularity: NDArray[np.float32]
    """(n_products,), inside (0, 1): the chance that a member who never bought it does so within the horizon."""
    ever: NDArray[np.float32]
    """(n_products,), inside (0, 1): share of all members that bought it at any time."""
    rhythm_days: NDArray[np.float32]
    """(n_products,): the usual time between two purchases by one member."""
    repeat_rate: NDArray[np.float32]
    """(n_products,), inside (0, 1): share of its buyers that bought it again."""
    weights: NDArray[np.float64]
    """(len(TERMS),): of the logistic of products bought before."""
    new_weights: NDArray[np.float64]
    """(len(NEW_TERMS),): of the logistic of all others."""
    first_worth: NDArray[np.float32]
    """(n_products,): what of that logistic is the same for every member (`first_worth`), worked out once."""
    neighbours: Linear
    """What the products that were bought say for each product."""

    def __post_init__(self) -> None:
        n = len(self.product_ids)
        for name in ("popularity", "ever", "rhythm_days", "repeat_rate", "first_worth"):
            shaped("counts", name, getattr(self, name), (n,))
            finite("counts", name, getattr(self, name))
        for name, size in (("weights", len(TERMS)), ("new_weights", len(NEW_TERMS))):
            shaped("counts", name, getattr(self, name), (size,))
            finite("counts", name, getattr(self, name))
        shaped("counts", "neighbours", self.neighbours.product_ids, (n,))
        for name in ("popularity", "ever", "repeat_rate"):
            values = getattr(self, name)
            if n and not (values.min() > 0 and values.max() < 1):
                raise LearnedError(f"counts: {name} must lie between 0 and 1; train the model again")

    def score(self, member: MemberHistory, at: float) -> Scores:
        """The chance of a purchase within the horizon, (n_products,)."""
        index = member.product_index
        if not index.size:
            return self.popularity
        starts = np.array([0, index.size])
        said = near(self.neighbours.score(member, at))
        found = rhythm(starts, member.count, member.last_at, at)
        worth = self._new(said[None, :], found.member)[0]
        worth[index] = self.terms(index, said[index], found, np.zeros(index.size, np.intp)) @ self.weights
        return chance(worth)

    def score_many(self, histories: Histories, at: float) -> Scores:
        """The same for many members, (n_members, n_products)."""
        row, index = histories.row, histories.product_index
        said = near(self.neighbours.score_many(histories, at))
        found = rhythm(histories.starts, histories.count, histories.last_at, at)
        again = self.terms(index, said[row, index], found, row) @ self.weights
        worth = self._new(said, found.member)
        worth[row, index] = again
        scores = chance(worth)
        scores[np.diff(histories.starts) == 0] = self.popularity
        return scores

    def terms(
        self, index: NDArray[np.int32], said: NDArray[np.float32], found: Rhythm, row: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """What the chance of buying again depends on, (n_pairs, len(TERMS)).

        `due` is ln((age+1)/(rhythm+1)): 0 when as much time has passed as is usual between two purchases of the
        product.

        Args:
            index: (n_pairs,): the products.
            said: (n_pairs,): what the member's purchases say for them, from `near`.
            found: The members' rhythm.
            row: (n_pairs,): whose pair it is.
        """
        due = found.log_age - np.log1p(self.rhythm_days[index])
        rate, member = self.repeat_rate[index], found.member[row]
        return np.stack(
            [
                np.ones(len(index)),
                found.log_count,
                found.log_age,
                due,
                due**2,
                np.log(rate / (1.0 - rate)),
                np.log(self.popularity[index]),
                np.log(self.ever[index]),
                said,
                found.visits_since,
                *member.T,
            ],
            axis=1,
        )

    def new_terms(
        self, index: NDArray[np.intp], said: NDArray[np.float32], member: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What the chance of a first purchase depends on, (n_pairs, len(NEW_TERMS)); `member` is (n_pairs, 3)."""
        product = [np.log(self.popularity[index]), np.log(self.ever[index])]
        return np.stack([np.ones(len(index)), *product, said, *member.T], axis=1)

    def _new(self, said: NDArray[np.float32], member: NDArray[np.float64]) -> NDArray[np.float32]:
        """The worth of a first purchase of each product, (n_members, n_products)."""
        _, _, _, pull, *own = self.new_weights.astype(np.float32)
        worth: NDArray[np.float32] = said * pull
        worth += self.first_worth
        worth += (member.astype(np.float32) @ np.array(own))[:, None]
        return worth
