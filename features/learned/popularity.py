"""The form of a popularity recommender: the same for every member."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import finite, shaped
from features.learned.histories import Histories
from features.learned.member import MemberHistory, Scores


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """How much bought each product is."""

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    scores: NDArray[np.float32]
    """(n_products,): share of the members that bought it inside the recipe's window."""

    def __post_init__(self) -> None:
        shaped("popularity", "scores", self.scores, (len(self.product_ids),))
        finite("popularity", "scores", self.scores)

    def score(self, member: MemberHistory, at: float) -> Scores:  # noqa: ARG002 - every form is asked the same way
        """The stored scores, (n_products,); do not write into them."""
        return self.scores

    def score_many(self, histories: Histories, at: float) -> Scores:  # noqa: ARG002 - every form is asked the same way
        """The stored scores for each member, (n_members, n_products), as a view; do not write into them."""
        return np.broadcast_to(self.scores, (len(histories), len(self.scores)))
