"""The form of personal repeat purchase: what this member buys again, and whether it is due."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import DAY
from features.learned.faults import LearnedError, finite, shaped
from features.learned.member import MemberHistory, Scores

TERMS = ("one", "log_count", "log_age", "due", "due_squared", "habit", "wanted")


def repeat_terms(
    counts: NDArray[np.float32],
    age_days: NDArray[np.float64],
    rhythm_days: NDArray[np.float32],
    repeat_rate: NDArray[np.float32],
    popularity: NDArray[np.float32],
) -> NDArray[np.float64]:
    """What the chance of buying again depends on, (n, len(TERMS)).

    `due` is ln((age+1)/(rhythm+1)): 0 when as much time has passed as is usual between two purchases of the product.
    """
    terms = np.empty((counts.size, len(TERMS)))
    terms[:, 0] = 1.0
    terms[:, 1] = np.log(counts)
    terms[:, 2] = np.log1p(age_days)
    terms[:, 3] = terms[:, 2] - np.log1p(rhythm_days)
    terms[:, 4] = terms[:, 3] ** 2
    terms[:, 5] = np.log(repeat_rate / (1.0 - repeat_rate))
    terms[:, 6] = np.log(popularity)
    return terms


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """A logistic chance that a product bought before is bought again within the horizon; popularity for all others.

    Both are chances of one purchase within the same horizon, so that one list holds both.
    """

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    popularity: NDArray[np.float32]
    """(n_products,), inside (0, 1): the chance that a member who never bought it does so within the horizon."""
    rhythm_days: NDArray[np.float32]
    """(n_products,): the usual time between two purchases by one member."""
    repeat_rate: NDArray[np.float32]
    """(n_products,), inside (0, 1): share of its buyers that bought it again."""
    weights: NDArray[np.float64]
    """(len(TERMS),): of the logistic."""

    def __post_init__(self) -> None:
        n = len(self.product_ids)
        for name in ("popularity", "rhythm_days", "repeat_rate"):
            shaped("counts", name, getattr(self, name), (n,))
            finite("counts", name, getattr(self, name))
        shaped("counts", "weights", self.weights, (len(TERMS),))
        finite("counts", "weights", self.weights)
        for name in ("popularity", "repeat_rate"):
            values = getattr(self, name)
            if n and not (values.min() > 0 and values.max() < 1):
                raise LearnedError(f"counts: {name} must lie between 0 and 1; train the model again")

    def score(self, member: MemberHistory, at: float) -> Scores:
        """The chance of a purchase within the horizon, (n_products,)."""
        scores = self.popularity.copy()
        index = member.product_index
        if index.size:
            ages = np.maximum(at - member.last_at, 0.0) / DAY
            terms = repeat_terms(
                member.count, ages, self.rhythm_days[index], self.repeat_rate[index], self.popularity[index]
            )
            scores[index] = 1.0 / (1.0 + np.exp(-(terms @ self.weights)))
        return scores
