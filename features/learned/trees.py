"""Boosted trees as arrays, evaluated without the library that grew them.

All splits of all trees are compared at once; each split that says "right" strikes out the leaves on its left, and the
leftmost leaf left over is the answer of its tree (QuickScorer: Lucchese et al. 2015, SIGIR). A tree may have 64 leaves.

A comparison with NaN is false. So where a missing value goes left, the split is asked the other way round, on the
negated value: then "false" is what a missing value must come to everywhere, and no row has to be searched for one.
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
_ONE = np.uint64(1)
_BLOCK = 128
"""Rows evaluated at once."""


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """The splits as a grid, (deepest tree, n_trees), read row by row; what a small tree lacks strikes out nothing."""

    column: NDArray[np.intp]
    """(n_cells,): position in a row followed by its negation."""
    bound: NDArray[np.float64]
    """(n_cells,): the question is whether the value is at most this."""
    yes: NDArray[np.uint64]
    """(n_cells,): the leaves still possible then."""
    no: NDArray[np.uint64]
    """(n_cells,): the leaves still possible otherwise, and for NaN."""
    zero: NDArray[np.intp]
    """Cells at which zero counts as missing."""
    at_zero: NDArray[np.uint64]
    """The leaves still possible there for a zero."""
    depth: int


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
    def _grid(self) -> _Grid:
        trees, sizes = len(self.split_starts) - 1, np.diff(self.split_starts)
        depth = int(sizes.max(initial=0))
        tree = np.repeat(np.arange(trees), sizes)
        cell = (np.arange(len(self.feature)) - self.split_starts[tree]) * trees + tree
        keeps, reverse = (
            self.layout.keeps,
            np.where(self.missing == MISSING_NONE, self.threshold >= 0, self.default_left),
        )
        beyond = np.where(self.threshold == np.inf, np.nan, -np.nextafter(self.threshold, np.inf))
        grid = _Grid(
            column=np.zeros(depth * trees, np.intp),
            bound=np.zeros(depth * trees),
            yes=np.full(depth * trees, FULL),
            no=np.full(depth * trees, FULL),
            zero=cell[self.missing == MISSING_ZERO],
            at_zero=np.where(self.default_left, FULL, keeps)[self.missing == MISSING_ZERO],
            depth=depth,
        )
        grid.column[cell] = self.feature + np.where(reverse, len(self.feature_names), 0)
        grid.bound[cell] = np.where(reverse, beyond, self.threshold)
        grid.yes[cell], grid.no[cell] = np.where(reverse, keeps, FULL), np.where(reverse, FULL, keeps)
        return grid

    @cached_property
    def _value_at(self) -> NDArray[np.float64]:
        """(n_leaves,): the answers, the leaves of each tree from left to right."""
        return self.leaf_value[self.layout.leaf_at]

    def _ends(self, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        """Where each row ends in each tree, (n, n_trees); positions among the leaves from left to right."""
        grid, count = self._grid, len(self.split_starts) - 1
        values = np.concatenate((rows, -rows), axis=1).take(grid.column, axis=1)
        alive = np.where(values <= grid.bound, grid.yes, grid.no)
        if grid.zero.size:
            alive[:, grid.zero] = np.where(values[:, grid.zero] == 0.0, grid.at_zero, alive[:, grid.zero])
        alive = np.bitwise_and.reduce(alive.reshape(len(rows), grid.depth, count), axis=1)
        order = np.bitwise_count(~alive & (alive - _ONE))
        found: NDArray[np.intp] = self.layout.first_leaf + order
        return found

    def _all_ends(self, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        rows = np.ascontiguousarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise LearnedError(f"trees: rows of shape {rows.shape} given, {len(self.feature_names)} features learned")
        rows = np.where(np.abs(rows) <= _ZERO, 0.0, rows)
        if len(rows) <= _BLOCK:
            return self._ends(rows)
        return np.concatenate([self._ends(rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK)])

    def leaves(self, rows: NDArray[np.float64]) -> NDArray[np.intp]:
        """The leaf each row ends in, for each tree.

        Args:
            rows: (n, n_features); NaN where a feature is missing.

        Returns:
            (n, n_trees): positions in `leaf_value`.
        """
        found: NDArray[np.intp] = self.layout.leaf_at[self._all_ends(rows)]
        return found

    def raw(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the trees' answers, (n,), added up in LightGBM's order so that it is equal to the last bit."""
        values = self._value_at[self._all_ends(rows)]
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
