"""The best few of many scores, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.learned.member import Scores

_FEW = 8


def _few(scores: Scores, k: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.intp] | None:
    """The same for a few, one after the other, which is quicker; None where that does not find them all."""
    left = scores.copy() if allowed is None else np.where(allowed, scores, -np.inf)
    best = np.empty(k, np.intp)
    for rank in range(k):
        best[rank] = at = left.argmax()  # of equals the first; the first NaN where there is one
        if not left[at] > -np.inf:
            return None
        left[at] = -np.inf
    return best


def top_k(scores: Scores, k: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
    """Positions of the `k` highest scores, best first; of equal scores the lower position comes first.

    Products outside `allowed` and scores that are NaN or −∞ never appear, so the answer may be shorter than `k`.

    >>> top_k(np.array([0.1, 0.5, 0.5, np.nan, 0.2]), 3).tolist()
    [1, 2, 4]
    """
    if 0 < k <= _FEW and scores.size:
        few = _few(scores, k, allowed)
        if few is not None:
            return few
    pool = np.flatnonzero(scores > -np.inf if allowed is None else (scores > -np.inf) & allowed)
    k = min(max(k, 0), pool.size)
    if k == 0:
        return pool[:0]
    values = scores[pool]
    if k < pool.size:
        least = np.partition(values, pool.size - k)[pool.size - k]
        near = np.flatnonzero(values >= least)
        pool, values = pool[near], values[near]
    return pool[np.argsort(-values, kind="stable")[:k]]
