"""The best products by vectors without looking at all of them.

By Cauchy and Schwarz no product scores more than its vector's length times the member's. A few hundred products have
vectors so long that nearly every member's best are among them, and where the bound on all others proves it, they need
not be read: ten thousand vectors do not stay in a core's cache between two requests, a few hundred do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import Factors
from features.learned.ranking import top_k

FEWEST = 2_000
"""With fewer products than this, looking at all of them is as quick."""
_SHARE = 16
_SAFETY = 1.0 + 1e-4
"""Beyond any error of rounding in a sum of 32-bit products."""


@dataclass(frozen=True, slots=True, eq=False)
class Longest:
    """The products with the longest vectors, in the order of their positions."""

    positions: NDArray[np.intp]
    """(n,)"""
    vectors: NDArray[np.float32]
    """(n, k)"""
    reach: float
    """The length of the longest vector among all others."""

    def best(self, vector: NDArray[np.float32], count: int) -> list[tuple[int, float]] | None:
        """Positions and scores of the best, just as `top_k` orders them; None where they may lie among the others."""
        scores = self.vectors @ vector
        top = top_k(scores, count)
        bound = self.reach * math.sqrt(float(vector @ vector)) * _SAFETY
        if len(top) < count or not scores[top[-1]] > bound:
            return None
        return list(zip(self.positions[top].tolist(), scores[top].tolist(), strict=True))


def longest(form: object) -> Longest | None:
    """What `Longest` needs of a form; None where the form is another, small, or has biases."""
    if not isinstance(form, Factors) or len(form.product_ids) < FEWEST or form.biases.any():
        return None
    lengths = np.linalg.norm(form.vectors.astype(np.float64), axis=1)
    order = np.argsort(-lengths, kind="stable")
    count = len(order) // _SHARE
    chosen = np.sort(order[:count])
    return Longest(chosen, np.ascontiguousarray(form.vectors[chosen]), float(lengths[order[count]]))
