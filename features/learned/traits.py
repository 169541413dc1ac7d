"""What is known of the products themselves, and what that says of a product nobody has bought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.histories import Histories
from features.learned.member import Scores

PRODUCT_FEATURES = (
    "popularity",
    "popularity_lately",
    "trend",
    "repeat_rate",
    "rhythm",
    "idle",
    "launched",
)
"""Columns of `Traits.numbers`; `training.ranker.traits` says what each is."""


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What is known of the products themselves."""

    numbers: NDArray[np.float32]
    """(n_products, len(PRODUCT_FEATURES))"""
    kind: NDArray[np.int32]
    """(n_products,): number of the category, −1 where none is known."""
    brand: NDArray[np.int32]
    """(n_products,): the same of the brand."""
    kind_weight: NDArray[np.float32]
    """(n_kinds,): share of all purchases that fall into the category."""
    sold: NDArray[np.bool_]
    """(n_products,): whether anybody has bought it."""

    def __post_init__(self) -> None:
        n = len(self.numbers)
        shaped("traits", "numbers", self.numbers, (n, len(PRODUCT_FEATURES)))
        for name in ("kind", "brand"):
            shaped("traits", name, getattr(self, name), (n,))
        shaped("traits", "sold", self.sold, (n,))
        finite("traits", "kind_weight", self.kind_weight)
        if self.kind.max(initial=-1) >= len(self.kind_weight):
            raise LearnedError("traits: a category has no weight; train the model again")


@dataclass(frozen=True, slots=True, eq=False)
class Kindred:
    """Gives products that nobody has bought a score: the mean of what else their category has for the member.

    Such a product has no score of its own; so it has a place among the others. What the member has bought is left out
    of the mean: it says how liked a product is, not how liked its category. One product's worth of the member's least
    score is mixed in, so that a category of few says little.
    """

    unsold: NDArray[np.intp]
    """Positions of the products nobody has bought, in categories of which something was."""
    place: NDArray[np.intp]
    """(len(unsold),): number of their category among `begins`."""
    sold: NDArray[np.intp]
    """Positions of the other products of those categories, those of one category together."""
    begins: NDArray[np.intp]
    """(n_kinds,): where each of those categories begins in `sold`."""
    number: NDArray[np.intp]
    """(n_products,): number of a product's category, −1 for what is not in `sold`."""

    @staticmethod
    def of(traits: Traits) -> Kindred:
        """Worked out once for each loaded form."""
        kinds = np.intersect1d(traits.kind[~traits.sold], traits.kind[traits.sold])
        kinds = kinds[kinds >= 0]
        number = np.where(np.isin(traits.kind, kinds), np.searchsorted(kinds, traits.kind), -1)
        unsold = np.flatnonzero(~traits.sold & (number >= 0))
        place = number[unsold]
        number[~traits.sold] = -1
        sold = np.argsort(number, kind="stable")
        sold = sold[np.searchsorted(number[sold], 0) :]
        return Kindred(unsold, place, sold, np.searchsorted(number[sold], np.arange(len(kinds))), number)

    def placed(self, bases: Sequence[Scores], histories: Histories) -> list[Scores]:
        """Scores of all products by each base, (n_members, n_products), with those of the unsold ones put in.

        Args:
            bases: As the base models gave them; not written to.
            histories: What the same members bought.
        """
        if not len(self.unsold):
            return list(bases)
        members, kinds = len(histories), len(self.begins)
        row, product = histories.row, histories.product_index
        met = self.number[product] >= 0
        row, product = row[met], product[met]
        at = row * kinds + self.number[product]
        sizes = np.diff(self.begins, append=len(self.sold))
        others = sizes - np.bincount(at, minlength=members * kinds).reshape(members, kinds)
        out = []
        for scores in bases:
            own = np.bincount(at, weights=scores[row, product], minlength=members * kinds).reshape(members, kinds)
            total = np.add.reduceat(scores.take(self.sold, axis=1), self.begins, axis=1) - own
            mean = (total + scores.min(axis=1, keepdims=True)) / (others + 1)
            placed = scores.copy()
            placed[:, self.unsold] = mean.take(self.place, axis=1)
            out.append(placed)
        return out
