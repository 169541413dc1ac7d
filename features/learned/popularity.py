"""The form of a popularity recommender: the same for every member, or for every member of a region."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    regions: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))
    """(n_regions,), sorted: those with scores of their own."""
    regional: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """(n_regions, n_products): their scores, or (0, 0)."""

    def __post_init__(self) -> None:
        n, regions = len(self.product_ids), len(self.regions)
        shaped("popularity", "scores", self.scores, (n,))
        shaped("popularity", "regional", self.regional, (regions, n) if regions else (0, 0))
        finite("popularity", "scores", self.scores)
        finite("popularity", "regional", self.regional)

    def score(self, member: MemberHistory, at: float) -> Scores:  # noqa: ARG002 - every form is asked the same way
        """The stored scores of the member's region, or of all, (n_products,); do not write into them."""
        if not (len(self.regions) and member.region):
            return self.scores
        place = int(np.searchsorted(self.regions, member.region))
        there = place < len(self.regions) and self.regions[place] == member.region
        return self.regional[place] if there else self.scores

    def score_many(self, histories: Histories, at: float) -> Scores:  # noqa: ARG002 - every form is asked the same way
        """The same for each member, (n_members, n_products), as a view; do not write into them."""
        if not len(self.regions) or histories.regions is None:
            return np.broadcast_to(self.scores, (len(histories), len(self.scores)))
        place = np.minimum(np.searchsorted(self.regions, histories.regions), len(self.regions) - 1)
        there = self.regions[place] == histories.regions
        return np.where(there[:, None], self.regional[place], self.scores)
