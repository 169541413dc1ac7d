"""Is one model better than another on the same members? Differences with bootstrap intervals over members.

Both models are read on the same resamples (Efron & Tibshirani 1993, ch. 13, percentile interval), so what makes a
member easy or hard for both cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
_CHUNK = 2_000_000
"""Resampled members held in memory at once."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher the first model's metric is than the second's, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def paired_auc(churned: npt.ArrayLike, first: Vector, second: Vector, seed: int, resamples: int = 200) -> Difference:
    """AUC of `first` minus AUC of `second`; members are resampled with multinomial weights.

    Raises:
        ValueError: all members have the same label, so that neither model can be wrong.
    """
    label = np.asarray(churned, dtype=np.float64)
    if label.min() == label.max():
        raise ValueError(f"all {len(label)} members have the label {label[0]:g}: an AUC needs both")
    one, two = (np.unique(score, return_inverse=True)[1] for score in (first, second))
    rng = np.random.default_rng(seed)
    n = len(label)
    found = []
    for _ in range(resamples):
        weight = rng.multinomial(n, np.full(n, 1.0 / n)).astype(np.float64)
        found.append(_weighted_auc(label, one, weight) - _weighted_auc(label, two, weight))
    even = np.ones(n)
    return _difference(_weighted_auc(label, one, even) - _weighted_auc(label, two, even), np.array(found))


def paired_mean(first: Vector, second: Vector, seed: int, resamples: int = 1000) -> Difference:
    """Mean of `first` minus mean of `second`, both (n_members,) in the same order.

    >>> paired_mean(np.array([1.0, 1.0]), np.array([0.5, 0.5]), seed=1).low
    0.5
    """
    gap = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(gap))
    rounds = [min(step, resamples - done) for done in range(0, resamples, step)]
    found = [gap[rng.integers(0, len(gap), (size, len(gap)))].mean(axis=1) for size in rounds]
    return _difference(float(gap.mean()), np.concatenate(found))


def _difference(value: float, resampled: Vector) -> Difference:
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return Difference(float(value), float(low), float(high))


def _weighted_auc(label: Vector, rank: npt.NDArray[np.intp], weight: Vector) -> float:
    """P(score of a churner > score of another) + half of ties; `rank` numbers the distinct scores upwards."""
    churners = np.bincount(rank, weight * label)
    others = np.bincount(rank, weight * (1.0 - label))
    pairs = churners.sum() * others.sum()
    return float(churners @ (np.cumsum(others) - others / 2) / pairs) if pairs else float("nan")
