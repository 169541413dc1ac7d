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


def top_k_rows(scores: Scores, k: int) -> NDArray[np.int32]:
    """`top_k` of each row of (n, m) scores, (n, k); −1 where a row has fewer than `k`.

    >>> top_k_rows(np.array([[0.1, 0.5, 0.5], [np.nan, -np.inf, 0.2]]), 2).tolist()
    [[1, 2], [2, -1]]
    """
    best = np.full((len(scores), max(k, 0)), -1, np.int32)
    width = min(max(k, 0), scores.shape[1])
    if not (width and len(scores)):
        return best
    if np.isnan(scores).any():
        scores = np.where(np.isnan(scores), -np.inf, scores)
    least = np.partition(scores, scores.shape[1] - width, axis=1)[:, -width, None]
    row, place = np.nonzero((scores >= least) & (scores > -np.inf))
    value = scores[row, place]
    tied = value == least[row, 0]
    left = width - np.bincount(row[~tied], minlength=len(scores))
    firsts = ~tied
    firsts[tied] = _nth(row[tied], len(scores)) < left[row[tied]]
    row, place, value = row[firsts], place[firsts], value[firsts]
    order = np.lexsort((place, -value, row))
    best[row[order], _nth(row[order], len(scores))] = place[order]
    return best


def _nth(row: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """How many of the same row stand before each, where rows come in order."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))[:-1]])
    nth: NDArray[np.intp] = np.arange(len(row)) - starts[row]
    return nth
