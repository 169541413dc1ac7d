"""The form of linear item models: what was bought speaks for other products, by weights and through few factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import confidence
from features.learned.faults import LearnedError, finite, shaped, within
from features.learned.histories import Histories
from features.learned.member import MemberHistory, Scores

_TAIL = np.float32(1e-9)
"""Popularity only orders products that nothing speaks for."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Scores are x·W + ((x∘inward)·F·Fᵀ)∘outward, where x says how much the member bought of each product.

    x is ln(1+count)·2^(−age/half-life), divided by the member's highest, so that a member's scores do not fade with
    time. W is the sum of a dense square among `head` and of a sparse rest; either may be empty, as may F. A member
    without purchases is scored by popularity, and popularity orders the products that nothing speaks for.

    One answer costs (purchases in `head`) × m + (entries of the sparse rows) + n × k; memory is 4m² + 8·entries + 4nk
    bytes for n products, of which m are in `head`, and k factors.
    """

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    popularity: NDArray[np.float32]
    """(n_products,), in 0..1"""
    head: NDArray[np.int32]
    """(m,), rising: positions of the products that `dense` joins."""
    dense: NDArray[np.float32]
    """(m, m): from the product bought (row) to the product scored (column)."""
    starts: NDArray[np.int64]
    """(n_products + 1,): the sparse row of product `i` stands at `starts[i]:starts[i + 1]`."""
    neighbours: NDArray[np.int32]
    """(n_entries,): positions of the products scored."""
    weights: NDArray[np.float32]
    """(n_entries,)"""
    factors: NDArray[np.float32]
    """(n_products, k)"""
    inward: NDArray[np.float32]
    """(n_products,): multiplies what was bought before it meets the factors."""
    outward: NDArray[np.float32]
    """(n_products,): multiplies what comes out of the factors."""
    half_life_days: float = np.inf

    def __post_init__(self) -> None:
        n, m = len(self.product_ids), len(self.head)
        shaped("linear", "dense", self.dense, (m, m))
        shaped("linear", "starts", self.starts, (n + 1,))
        shaped("linear", "factors", self.factors, (n, None))
        shaped("linear", "weights", self.weights, self.neighbours.shape)
        for name in ("popularity", "inward", "outward"):
            shaped("linear", name, getattr(self, name), (n,))
        for name in ("popularity", "dense", "weights", "factors", "inward", "outward"):
            finite("linear", name, getattr(self, name))
        within("linear", "neighbours", self.neighbours, n)
        within("linear", "head", self.head, n)
        rising = (np.diff(self.head) > 0).all() and (np.diff(self.starts) >= 0).all()
        if not (rising and self.starts[0] == 0 and self.starts[-1] == len(self.neighbours)):
            raise LearnedError("linear: head or starts are not in order; export the model again")
        if not self.half_life_days > 0:
            raise LearnedError("linear: half_life_days must be above 0; train the model again")

    def score(self, member: MemberHistory, at: float) -> Scores:
        """What the member's purchases say for every product, and a trace of popularity, (n_products,) float32."""
        index = member.product_index
        if not index.size:
            return self.popularity
        x = self._weights(member.count, member.last_at, at)
        x /= x.max()
        scores = self.popularity * _TAIL
        if len(self.head):
            scores[self.head] += self._from_dense(index, x)
        if len(self.weights):
            scores += self._from_sparse(index, x)
        if self.factors.shape[1]:
            scores += (self.factors @ ((x * self.inward[index]) @ self.factors[index])) * self.outward
        return scores

    def score_many(self, histories: Histories, at: float) -> Scores:
        """The same for many members, (n_members, n_products) float32."""
        from scipy.sparse import csr_matrix  # heavy: only where many are scored

        n = len(self.product_ids)
        x = self._weights(histories.count, histories.last_at, at)
        full = np.flatnonzero(np.diff(histories.starts))
        if len(full):
            x /= np.repeat(np.maximum.reduceat(x, histories.starts[full]), np.diff(histories.starts)[full])
        bought = csr_matrix((x, histories.product_index, histories.starts), shape=(len(histories), n))
        scores = np.tile(self.popularity * _TAIL, (len(histories), 1))
        if len(self.weights):
            sparse = csr_matrix((self.weights, self.neighbours, self.starts), shape=(n, n))
            scores += (bought @ sparse).toarray()
        if len(self.head):
            said = bought[:, self.head] @ self.dense
            if len(self.head) == n:
                scores += said
            else:
                scores[:, self.head] += said
        if self.factors.shape[1]:
            within_factors = bought @ (self.factors * self.inward[:, None])
            scores += within_factors @ (self.factors * self.outward[:, None]).T
        scores[np.diff(histories.starts) == 0] = self.popularity
        return scores

    def _weights(self, count: NDArray[np.float32], last_at: NDArray[np.float64], at: float) -> NDArray[np.float32]:
        found = confidence(count, last_at, at, 1.0, self.half_life_days)
        return np.maximum(found, 1e-30).astype(np.float32)

    def _from_dense(self, index: NDArray[np.int32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        place = np.searchsorted(self.head, index)
        place[place == len(self.head)] = 0
        inside = self.head[place] == index
        said: NDArray[np.float32] = x[inside] @ self.dense[place[inside]]
        return said

    def _from_sparse(self, index: NDArray[np.int32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        starts, lengths = self.starts[index], self.starts[index + 1] - self.starts[index]
        ends = np.cumsum(lengths)
        entries = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        pull = self.weights[entries] * np.repeat(x, lengths)
        summed = np.bincount(self.neighbours[entries], weights=pull, minlength=len(self.product_ids))
        return summed.astype(np.float32)
