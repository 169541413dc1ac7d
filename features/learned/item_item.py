"""The form of neighbourhood models: products that are bought by the same members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import DAY
from features.learned.faults import LearnedError, finite, shaped, within
from features.learned.histories import Histories
from features.learned.member import MemberHistory, Scores

_TAIL = 1e-9
"""Popularity only orders products that no neighbour speaks for."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemItem:
    """For each product its nearest products; a member's scores are the sum over what the member bought."""

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    neighbours: NDArray[np.int32]
    """(n_products, n): positions; rows with fewer are filled up with position 0 and similarity 0."""
    similarity: NDArray[np.float32]
    """(n_products, n)"""
    popularity: NDArray[np.float32]
    """(n_products,), in 0..1: orders what is left."""
    half_life_days: float = np.inf

    def __post_init__(self) -> None:
        n, width = len(self.product_ids), self.neighbours.shape[-1]
        shaped("item_item", "neighbours", self.neighbours, (n, width))
        shaped("item_item", "similarity", self.similarity, (n, width))
        shaped("item_item", "popularity", self.popularity, (n,))
        finite("item_item", "similarity", self.similarity)
        finite("item_item", "popularity", self.popularity)
        within("item_item", "neighbours", self.neighbours, n)
        if not self.half_life_days > 0:
            raise LearnedError("item_item: half_life_days must be above 0; train the model again")

    def score(self, member: MemberHistory, at: float) -> Scores:
        """Σ over products bought of ln(1+count)·2^(−age/half-life)·similarity, and a trace of popularity."""
        if not member.product_index.size:
            return self.popularity
        weight = self._weight(member.count, member.last_at, at)
        near = self.neighbours[member.product_index]
        pull = self.similarity[member.product_index] * weight[:, None]
        summed = np.bincount(near.ravel(), weights=pull.ravel(), minlength=len(self.product_ids))
        scores: Scores = summed + self.popularity * _TAIL
        return scores

    def score_many(self, histories: Histories, at: float) -> Scores:
        """The same for many members, (n_members, n_products), as a product of sparse matrices."""
        import scipy.sparse as sp  # heavy: serving scores one member at a time

        n, width = self.neighbours.shape
        near = sp.csr_matrix(
            (self.similarity.ravel(), self.neighbours.ravel(), np.arange(n + 1, dtype=np.int64) * width), shape=(n, n)
        )
        weight = self._weight(histories.count, histories.last_at, at)
        bought = sp.csr_matrix((weight, histories.product_index, histories.starts), shape=(len(histories), n))
        scores: Scores = (bought @ near).toarray()
        scores += self.popularity * _TAIL
        scores[np.diff(histories.starts) == 0] = self.popularity
        return scores

    def _weight(self, count: NDArray[np.float32], last_at: NDArray[np.float64], at: float) -> NDArray[np.float64]:
        ages = np.maximum(at - last_at, 0.0) / DAY
        weight: NDArray[np.float64] = np.log1p(count) * np.exp2(-ages / self.half_life_days)
        return weight
