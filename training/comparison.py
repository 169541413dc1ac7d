"""Is one model better than another on the same members? The AUC of both on the same resamples of members.

What makes a member easy or hard for both cancels out (paired bootstrap, Efron & Tibshirani 1993, ch. 13). Scores are
sorted once and members resampled by weight, so that a resample costs no sorting.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from training.metrics import Interval

Vector = npt.NDArray[np.float64]


def paired_auc(
    churned: npt.ArrayLike,
    first: Vector,
    second: Vector,
    seed: int,
    resamples: int = 200,
    member: npt.NDArray[np.intp] | None = None,
) -> Interval:
    """AUC of `first` minus AUC of `second`, all (n_rows,), with a 95 % interval.

    Args:
        churned: what happened.
        first: scores of the one model.
        second: scores of the other.
        seed: of the resamples.
        resamples: how many.
        member: whose row it is, numbered from 0; rows of one member are drawn together. None: each row is its own.

    Raises:
        ValueError: all members have the same label, so that neither model can be wrong.
    """
    label = np.asarray(churned, dtype=np.float64)
    if label.min() == label.max():
        raise ValueError(f"all {len(label)} members have the label {label[0]:g}: an AUC needs both")
    one, two = (np.unique(score, return_inverse=True)[1] for score in (first, second))
    found = [
        _weighted_auc(label, one, weight) - _weighted_auc(label, two, weight)
        for weight in weights(np.arange(len(label)) if member is None else member, seed, resamples)
    ]
    even = np.ones(len(label))
    low, high = np.nanquantile(found, (0.025, 0.975))
    return Interval(_weighted_auc(label, one, even) - _weighted_auc(label, two, even), float(low), float(high))


def paired_mean(difference: Vector, seed: int, resamples: int, member: npt.NDArray[np.intp]) -> Interval:
    """Mean of (n_rows,) differences with a 95 % interval; rows of one member are drawn together."""
    found = [float(np.average(difference, weights=weight)) for weight in weights(member, seed, resamples)]
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(float(difference.mean()), float(low), float(high))


def weights(member: npt.NDArray[np.intp], seed: int, resamples: int) -> Iterator[Vector]:
    """How often each row is drawn in each resample of members, (n_rows,), `resamples` times."""
    rng = np.random.default_rng(seed)
    n = int(member.max()) + 1
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)[member]


def _weighted_auc(label: Vector, rank: npt.NDArray[np.intp], weight: Vector) -> float:
    """P(score of a churner > score of another) + half of ties; `rank` numbers the distinct scores upwards."""
    churners = np.bincount(rank, weight * label)
    others = np.bincount(rank, weight * (1.0 - label))
    pairs = churners.sum() * others.sum()
    return float(churners @ (np.cumsum(others) - others / 2) / pairs) if pairs else float("nan")
