"""What evaluating many trees at once needs to know of their shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError

FULL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
MAX_LEAVES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Leaves counted from left to right inside each tree, and the way down to each of them."""

    keeps: NDArray[np.uint64]
    """(n_splits,): the leaves still possible when the split says "right"; bit 0 is the leftmost leaf of the tree."""
    leaf_at: NDArray[np.intp]
    """(n_leaves,): left-to-right order → position in `leaf_value`."""
    first_leaf: NDArray[np.intp]
    """(n_trees,): where a tree's leaves begin in `leaf_at`."""
    path_feature: NDArray[np.intp]
    """(n_leaves, depth): features asked on the way down; filled up with `n_features`, which stands for none."""
    path_step: NDArray[np.float64]
    """(n_leaves, depth): how the mean answer changed there."""
    start_sum: float
    """Sum over the trees of the mean answer at the top."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """A leaf met on the way from left to right, with the splits above it and whether it lies on their left."""

    leaf: int
    above: tuple[tuple[int, bool], ...]


def _visits(left: NDArray[np.int32], right: NDArray[np.int32]) -> Iterator[_Visit]:
    """The leaves of one tree from left to right; a damaged tree that never ends is refused."""
    stack: list[tuple[int, tuple[tuple[int, bool], ...]]] = [(0, ())]
    splits = 0
    while stack:
        node, above = stack.pop()
        if node < 0:
            yield _Visit(-node - 1, above)
            continue
        splits += 1
        if node >= len(left) or splits > len(left):
            raise LearnedError("trees: the children do not form a tree; export the model again")
        stack.append((int(right[node]), (*above, (node, False))))
        stack.append((int(left[node]), (*above, (node, True))))


def _ordered(left: NDArray[np.int32], right: NDArray[np.int32], n_leaves: int) -> list[_Visit]:
    if n_leaves == 1:
        return [_Visit(0, ())]
    visits = list(_visits(left, right))
    if sorted(visit.leaf for visit in visits) != list(range(n_leaves)):
        raise LearnedError("trees: a leaf is missing or reached twice; export the model again")
    return visits


def _keeps(visits: list[_Visit], n_splits: int) -> NDArray[np.uint64]:
    keeps = np.full(n_splits, FULL)
    for order, visit in enumerate(visits):
        for split, on_left in visit.above:
            if on_left:
                keeps[split] &= FULL ^ (np.uint64(1) << np.uint64(order))
    return keeps


def lay_out(
    split_starts: NDArray[np.int32],
    leaf_starts: NDArray[np.int32],
    feature: NDArray[np.int32],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    split_value: NDArray[np.float64],
    leaf_value: NDArray[np.float64],
) -> Layout:
    """Work out the layout; raises `LearnedError` where the children do not form trees of at most 64 leaves."""
    _check_starts(split_starts, leaf_starts, len(feature), len(leaf_value))
    keeps = np.empty(len(feature), np.uint64)
    leaf_at = np.empty(len(leaf_value), np.intp)
    paths: list[list[tuple[int, float]]] = [[] for _ in leaf_value]
    for tree in range(len(split_starts) - 1):
        splits = slice(int(split_starts[tree]), int(split_starts[tree + 1]))
        first, end = int(leaf_starts[tree]), int(leaf_starts[tree + 1])
        visits = _ordered(left[splits], right[splits], end - first)
        keeps[splits] = _keeps(visits, splits.stop - splits.start)
        leaf_at[first:end] = [first + visit.leaf for visit in visits]
        for visit in visits:
            paths[first + visit.leaf] = _steps(visit, feature[splits], split_value[splits], leaf_value[first:end])
    path_feature, path_step = _padded(paths, filler=int(feature.max(initial=-1)) + 1)
    start_sum = float(split_value[split_starts[:-1]].sum())
    return Layout(keeps, leaf_at, leaf_starts[:-1].astype(np.intp), path_feature, path_step, start_sum)


def _check_starts(
    split_starts: NDArray[np.int32], leaf_starts: NDArray[np.int32], n_splits: int, n_leaves: int
) -> None:
    splits, leaves = np.diff(split_starts), np.diff(leaf_starts)
    whole = (
        split_starts.size > 0
        and (split_starts[0], split_starts[-1], leaf_starts[0], leaf_starts[-1]) == (0, n_splits, 0, n_leaves)
        and bool((splits == np.maximum(leaves - 1, 1)).all() and (leaves >= 1).all())
    )
    if not whole:
        raise LearnedError("trees: the trees' lengths do not add up; export the model again")
    if leaves.max(initial=0) > MAX_LEAVES:
        raise LearnedError(
            f"trees: a tree has {leaves.max()} leaves, at most {MAX_LEAVES} can be served; "
            "train with a smaller num_leaves"
        )


def _steps(
    visit: _Visit, feature: NDArray[np.int32], split_value: NDArray[np.float64], leaf_value: NDArray[np.float64]
) -> list[tuple[int, float]]:
    means = [*(float(split_value[split]) for split, _ in visit.above), float(leaf_value[visit.leaf])]
    return [
        (int(feature[split]), after - before)
        for (split, _), before, after in zip(visit.above, means[:-1], means[1:], strict=True)
    ]


def _padded(paths: list[list[tuple[int, float]]], filler: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    depth = max((len(path) for path in paths), default=0)
    features = np.full((len(paths), depth), filler, np.intp)
    steps = np.zeros((len(paths), depth))
    for row, path in enumerate(paths):
        for column, (feature, step) in enumerate(path):
            features[row, column], steps[row, column] = feature, step
    return features, steps
