"""The vectors of many members at once: those that are stored, and those that purchases speak for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import Factors, confidence
from features.learned.histories import Histories

_NUMBERS = 4_000_000
"""About as many float64 numbers are held at a time (32 MB)."""


def vectors_of(form: Factors, histories: Histories, at: float) -> NDArray[np.float32]:
    """What `Factors.vector` gives for each member, (n_members, k); NaN in the rows of members without one.

    Time grows with the purchases of members without a stored vector, times k², and with k³ for each of them.
    """
    n, k = len(histories), form.vectors.shape[1]
    found = np.full((n, k), np.nan, np.float32) if histories.vectors is None else histories.vectors.copy()
    if form.gram.size or form.bridge.size:
        sizes = np.diff(histories.starts)
        for rows in _alike(np.flatnonzero(np.isnan(found[:, 0]) & (sizes > 0)), sizes, k):
            found[rows] = _folded(form, histories, rows, int(sizes[rows].max()), at)
    return found


def _alike(rows: NDArray[np.intp], sizes: NDArray[np.int64], k: int) -> Iterator[NDArray[np.intp]]:
    """The rows in parts whose members bought about as many products, so that little is lost on filling up."""
    rows = rows[np.argsort(sizes[rows], kind="stable")]
    while rows.size:
        smallest = int(sizes[rows[0]])
        alike = int(np.searchsorted(sizes[rows], max(smallest * 3 // 2, smallest + 4), side="right"))
        together = max(_NUMBERS // (int(sizes[rows[alike - 1]]) * k + k * k), 1)
        yield rows[: min(alike, together)]
        rows = rows[min(alike, together) :]


def _folded(
    form: Factors, histories: Histories, rows: NDArray[np.intp], longest: int, at: float
) -> NDArray[np.float32]:
    """`Factors.fold_in` of these members, (len(rows), k); what they did not buy is filled up with weight 0."""
    steps = np.arange(longest)
    there = steps < np.diff(histories.starts)[rows][:, None]
    pairs = np.where(there, histories.starts[rows][:, None] + steps, 0)
    weight = confidence(histories.count[pairs], histories.last_at[pairs], at, form.alpha, form.half_life_days)
    weight *= there
    bought = form.vectors[histories.product_index[pairs]].astype(np.float64)
    if not form.gram.size:
        mean = np.matmul(weight[:, None, :], bought)[:, 0] / np.maximum(weight.sum(axis=1), 1e-300)[:, None]
        bridged: NDArray[np.float64] = mean @ form.bridge[:-1] + form.bridge[-1]
        return bridged.astype(np.float32)
    wanted = np.matmul((weight + there)[:, None, :], bought)[:, 0]
    normal = np.matmul(bought.transpose(0, 2, 1) * weight[:, None, :], bought)
    normal += form.gram
    normal[:, np.arange(len(form.gram)), np.arange(len(form.gram))] += form.ridge * weight.sum(axis=1)[:, None]
    solved: NDArray[np.float64] = np.linalg.solve(normal, wanted[:, :, None])[:, :, 0]
    return solved.astype(np.float32)
