"""The form of every model whose score is a product of a member's and a product's vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.histories import Histories
from features.learned.member import MemberHistory, Scores

DAY = 86_400.0


def confidence(
    counts: NDArray[np.float32], last_at: NDArray[np.float64], at: float, alpha: float, half_life_days: float
) -> NDArray[np.float64]:
    """How much surer than of an unseen product we are of one bought `counts` times: α·ln(1+count)·2^(−age/half-life).

    It is `c − 1` of Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
    """
    ages = np.maximum(at - last_at, 0.0) / DAY
    return alpha * np.log1p(counts.astype(np.float64)) * np.exp2(-ages / half_life_days)


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Product vectors and biases. The member's vector is a feature like any other: it is read from the online store.

    A member with neither a vector nor purchases is scored by popularity. Whoever asks holds BLAS to one thread
    (`OPENBLAS_NUM_THREADS=1`): with two and the other core busy, 10,000 products took 16 ms instead of 0.07.
    """

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    vectors: NDArray[np.float32]
    """(n_products, k)"""
    biases: NDArray[np.float32]
    """(n_products,)"""
    popularity: NDArray[np.float32]
    """(n_products,)"""
    gram: NDArray[np.float64]
    """(k, k): VᵀV + λI of least squares, or (0, 0) where a member's vector has no closed form."""
    bridge: NDArray[np.float64]
    """(k + 1, k): from the mean vector of what was bought, and 1, to the member's vector, where `gram` is not given and
    no vector is stored; or (0, 0)."""
    alpha: float = 1.0
    half_life_days: float = np.inf
    ridge: float = 0.0
    """What each unit of a member's confidence adds to λ in `gram`."""

    def __post_init__(self) -> None:
        n, k = len(self.product_ids), self.vectors.shape[-1]
        shaped("factors", "vectors", self.vectors, (n, k))
        shaped("factors", "biases", self.biases, (n,))
        shaped("factors", "popularity", self.popularity, (n,))
        shaped("factors", "gram", self.gram, (k, k) if self.gram.size else (0, 0))
        shaped("factors", "bridge", self.bridge, (k + 1, k) if self.bridge.size else (0, 0))
        for name in ("vectors", "biases", "popularity", "gram", "bridge"):
            finite("factors", name, getattr(self, name))
        if not (self.half_life_days > 0 and self.alpha > 0):
            raise LearnedError("factors: alpha and half_life_days must be above 0; train the model again")
        if not 0 <= self.ridge < np.inf:
            raise LearnedError(f"factors: ridge is {self.ridge}, not 0 or above; train the model again")

    def fold_in(self, member: MemberHistory, at: float) -> NDArray[np.float32] | None:
        """The vector that these purchases alone speak for, (k,): by least squares, else over the bridge.

        None without purchases, or where the form has neither.
        """
        if not (member.product_index.size and (self.gram.size or self.bridge.size)):
            return None
        bought = self.vectors[member.product_index].astype(np.float64)
        weight = confidence(member.count, member.last_at, at, self.alpha, self.half_life_days)
        if not self.gram.size:
            mean = weight @ bought / max(weight.sum(), 1e-300)
            bridged: NDArray[np.float64] = mean @ self.bridge[:-1] + self.bridge[-1]
            return bridged.astype(np.float32)
        normal = self.gram + (bought.T * weight) @ bought
        normal[np.diag_indices_from(normal)] += self.ridge * weight.sum()
        return np.linalg.solve(normal, bought.T @ (weight + 1.0)).astype(np.float32)

    def vector(self, member: MemberHistory, at: float) -> NDArray[np.float32] | None:
        """The stored vector, unless something was bought since and least squares can say anew; else one folded in."""
        if member.vector is not None and not (self.gram.size and member.outlived()):
            return member.vector
        folded = self.fold_in(member, at)
        return member.vector if folded is None else folded

    def score(self, member: MemberHistory, at: float) -> Scores:
        """Vector times vector plus bias, (n_products,)."""
        vector = self.vector(member, at)
        if vector is None:
            return self.popularity
        return self.vectors @ self.checked(vector) + self.biases

    def score_many(self, histories: Histories, at: float) -> Scores:
        """The same for many members, (n_members, n_products)."""
        from features.learned.folding import vectors_of

        vectors = self.checked(vectors_of(self, histories, at))
        scores: Scores = vectors @ self.vectors.T
        scores += self.biases
        scores[np.isnan(vectors[:, 0])] = self.popularity
        return scores

    def checked(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Members' vectors, (n, k), as they are.

        Raises:
            LearnedError: they belong to another model version.
        """
        if vectors.shape[-1] != self.vectors.shape[1]:
            raise LearnedError(
                f"factors: the member's vector has {vectors.shape[-1]} numbers, the products' have "
                f"{self.vectors.shape[1]}; the stored vector belongs to another model version"
            )
        return vectors
