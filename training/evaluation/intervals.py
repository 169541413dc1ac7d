"""Means with intervals for many figures and groups at once, all on the same resamples of members.

Because every recipe meets the same resampled members, the difference of two of them is paired: what makes a member
easy or hard for both cancels out (Efron & Tibshirani 1993, ch. 13).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.metrics import Interval, Values

_AT_ONCE = 64


def resampled(values: Values, groups: NDArray[np.bool_], seed: int, draws: int = 1000) -> Values:
    """Means of each figure over each group in resamples of all members, (n_groups, draws, n_figures).

    Args:
        values: (n_members, n_figures), finite.
        groups: (n_groups, n_members): who belongs to each. NaN where a resample holds nobody of a group.
        seed: Of the resamples: each draws n_members of the n_members, with replacement.
        draws: How many.
    """
    rng, n = np.random.default_rng(seed), len(values)
    found = np.full((len(groups), draws, values.shape[1]), np.nan)
    inside = [np.ascontiguousarray(values[group]) for group in groups]
    for begin in range(0, draws, _AT_ONCE):
        count = min(_AT_ONCE, draws - begin)
        weights = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(count)]).astype(np.float64)
        for place, group in enumerate(groups):
            own = weights[:, group]
            total = own.sum(axis=1, keepdims=True)
            sums = own @ inside[place]
            np.divide(sums, total, out=found[place, begin : begin + count], where=total > 0)
    return found


def interval(mean: float, drawn: Values, level: float = 0.95) -> Interval:
    """A mean with the percentiles of its resampled means (draws,); draws that held nobody are left out."""
    drawn = drawn[np.isfinite(drawn)]
    if not drawn.size:
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))
