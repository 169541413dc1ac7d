"""The best few of many scores, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.learned.member import Scores


def top_k(scores: Scores, k: int, allowed: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
    """Positions of the `k` highest scores, best first; of equal scores the lower position comes first.

    Products outside `allowed` and scores that are NaN or −∞ never appear, so the answer may be shorter than `k`.

    >>> top_k(np.array([0.1, 0.5, 0.5, np.nan, 0.2]), 3).tolist()
    [1, 2, 4]
    """
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
