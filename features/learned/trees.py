"""Boosted trees as arrays, evaluated without the library that grew them.

All splits of all trees are compared at once; each split that says "right" strikes out the leaves on its left, and the
leftmost leaf left over is the answer of its tree (QuickScorer: Lucchese et al. 2015, SIGIR). A tree may have 64 leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped, within
from features.learned.tree_layout import FULL, Layout, lay_out

MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
"""How a split takes missing values, as LightGBM numbers it: as zero; zero is missing; NaN is missing."""
_ZERO = float(np.float32(1e-35))
"""LightGBM takes anything this near to zero for zero; its constant is a 32-bit float."""
_BLOCK = 128
"""Rows evaluated at once."""


@dataclass(frozen=True, eq=False)
class Trees:
    """Splits in the order of their trees, and inside a tree as LightGBM numbers them; leaves likewise.

    A child ≥ 0 is a split of the same tree, a child < 0 is leaf `−child − 1` of it. A tree of one leaf has one split
    with threshold +∞ whose children are both leaf 0.
    """

    feature_names: NDArray[np.str_]
    """(n_features,)"""
    split_starts: NDArray[np.int32]
    """(n_trees + 1,)"""
    leaf_starts: NDArray[np.int32]
    """(n_trees + 1,)"""
    feature: NDArray[np.int32]
    """(n_splits,): position in `feature_names`."""
    threshold: NDArray[np.float64]
    """(n_splits,): a value at most this goes left."""
    missing: NDArray[np.int8]
    """(n_splits,): MISSING_NONE, MISSING_ZERO or MISSING_NAN."""
    default_left: NDArray[np.bool_]
    """(n_splits,): where a missing value goes."""
    left: NDArray[np.int32]
    """(n_splits,)"""
    right: NDArray[np.int32]
    """(n_splits,)"""
    split_value: NDArray[np.float64]
    """(n_splits,): the mean answer of the rows that came by in training."""
    leaf_value: NDArray[np.float64]
    """(n_leaves,)"""
    leaf_count: NDArray[np.float64]
    """(n_leaves,): training rows in it."""
    sigmoid: float = 0.0
    """Steepness σ of the chance 1/(1+e^(−σ·raw)); 0 means that the raw sum is the answer."""

    def __post_init__(self) -> None:
        splits, leaves, trees = len(self.feature), len(self.leaf_value), len(self.split_starts) - 1
        for name in ("threshold", "missing", "default_left", "left", "right", "split_value"):
            shaped("trees", name, getattr(self, name), (splits,))
        shaped("trees", "leaf_starts", self.leaf_starts, (trees + 1,))
        shaped("trees", "leaf_count", self.leaf_count, (leaves,))
        for name in ("leaf_value", "split_value", "leaf_count"):
            finite("trees", name, getattr(self, name))
        within("trees", "feature", self.feature, len(self.feature_names))
        if np.isnan(self.threshold).any() or not 0.0 <= self.sigmoid < np.inf:
            raise LearnedError("trees: a threshold or the sigmoid is not a number; train the model again")
        self.layout  # noqa: B018 - checks the structure once, at load rather than at the first member

    @cached_property
    def layout(self) -> Layout:
        """Leaf masks and paths, worked out from the children."""
        return lay_out(self.split_starts, self.leaf_starts, self.feature, self.left, self.right,
                       self.split_value, self.leaf_value)  # fmt: skip

    @cached_property
    def _nan_left(self) -> NDArray[np.bool_]:
        return np.where(self.missing == MISSING_NONE, self.threshold >= 0.0, self.default_left)

    @cached_property
    def _zero_splits(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.missing == MISSING_ZERO)

    def _goes_left(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which way each row goes at each split, (n, n_splits)."""
        values = rows[:, self.feature]
        left: NDArray[np.bool_] = values <= self.threshold
        if np.isnan(rows).any():
            np.copyto(left, self._nan_left, where=np.isnan(values))
        if self._zero_splits.size:
            at_zero = np.abs(values[:, self._zero_splits]) <= _ZERO
            left[:, self._zero_splits] = np.where(
                at_zero, self.default_left[self._zero_splits], left[:, self._zero_splits]
            )
        return left

    def _leaves(self, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        """The leaf each row ends in, for each tree, (n, n_trees); positions in `leaf_value`."""
        alive = np.where(self._goes_left(rows), FULL, self.layout.keeps)
        alive = np.bitwise_and.reduceat(alive, self.split_starts[:-1], axis=1)
        lowest = alive & (~alive + np.uint64(1))
        order = np.bitwise_count(lowest - np.uint64(1))
        found: NDArray[np.intp] = self.layout.leaf_at[self.layout.first_leaf + order]
        return found

    def leaves(self, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        """The leaf each row ends in, for each tree.

        Args:
            rows: (n, n_features); NaN where a feature is missing.

        Returns:
            (n, n_trees): positions in `leaf_value`.
        """
        rows = np.ascontiguousarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise LearnedError(f"trees: rows of shape {rows.shape} given, {len(self.feature_names)} features learned")
        rows = np.where(np.abs(rows) <= _ZERO, 0.0, rows)
        if len(rows) <= _BLOCK:
            return self._leaves(rows)
        return np.concatenate([self._leaves(rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK)])

    def raw(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the trees' answers, (n,), added up in LightGBM's order so that it is equal to the last bit."""
        values = self.leaf_value[self.leaves(rows)]
        return np.add.accumulate(values, axis=1)[:, -1] if values.shape[1] else np.zeros(len(values))

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The model's answer, (n,): a chance in 0..1 where `sigmoid` is set, else the raw sum."""
        raw = self.raw(rows)
        return 1.0 / (1.0 + np.exp(-self.sigmoid * raw)) if self.sigmoid else raw

    def predict_one(self, row: NDArray[np.float64]) -> float:
        """The same for one member, (n_features,)."""
        return float(self.predict(row[None, :])[0])

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature added to the raw sum on the way down (Saabas 2014).

        Returns:
            (n, n_features + 1): the last column is what the model says of nobody in particular; a row sums to `raw`.
        """
        leaves = self.leaves(rows)
        width = len(self.feature_names) + 1
        out = np.zeros((len(leaves), width))
        for row, ends in enumerate(leaves):
            features = self.layout.path_feature[ends].ravel()
            out[row] = np.bincount(features, weights=self.layout.path_step[ends].ravel(), minlength=width)
            out[row, -1] += self.layout.start_sum
        return out
