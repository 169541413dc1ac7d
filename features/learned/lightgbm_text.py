"""LightGBM's text format → `Trees`. Reads text only; LightGBM itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError
from features.learned.trees import Trees

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
"""Bits of `decision_type`; the two above them say how missing values are taken."""


@dataclass(frozen=True, slots=True)
class _Tree:
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    split_value: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    leaf_count: NDArray[np.float64]


def from_lightgbm(text: str) -> Trees:
    """The trees of a model as `Booster.model_to_string()` writes it.

    Numerical splits, one answer per row. The chance of a binary objective is kept through `Trees.sigmoid`.

    Raises:
        LearnedError: The model has categorical splits, linear leaves, several classes, averaged trees (rf) or more
            than 64 leaves in a tree, or the text is cut short.
    """
    head, *blocks = text.split("\nTree=")
    header = _pairs(head)
    if "end of trees" not in text or "feature_names" not in header:
        raise LearnedError("trees: the LightGBM text is cut short; save the model again")
    _refuse_unsupported(header, head)
    trees = [_tree(_pairs(block.split("end of trees", 1)[0])) for block in blocks]
    return _joined(trees, header["feature_names"].split(" "), _steepness(header.get("objective", "")))


def _pairs(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _refuse_unsupported(header: Mapping[str, str], head: str) -> None:
    if header.get("num_tree_per_iteration", "1") != "1":
        raise LearnedError("trees: several classes cannot be served; train one model for each")
    if "average_output" in head.splitlines():
        raise LearnedError("trees: averaged trees (boosting=rf) cannot be served; use boosting=gbdt")


def _steepness(objective: str) -> float:
    """σ of the objective's chance, 0 where the raw sum is the answer."""
    name, *settings = objective.split(" ")
    if name in {"regression", "regression_l1", "huber", "fair", "quantile", "lambdarank", "rank_xendcg"} and (
        "sqrt" not in settings
    ):
        return 0.0
    if name == "binary":
        return float(next((s.partition(":")[2] for s in settings if s.startswith("sigmoid:")), "1"))
    raise LearnedError(f"trees: objective {objective!r} cannot be served; use binary or a plain regression")


def _tree(pairs: Mapping[str, str]) -> _Tree:
    if pairs.get("num_cat", "0") != "0":
        raise LearnedError("trees: categorical splits cannot be served; give categories to training as numbers")
    if pairs.get("is_linear", "0") != "0":
        raise LearnedError("trees: linear leaves cannot be served; train with linear_tree=false")
    try:
        leaf_value = _numbers(pairs["leaf_value"])
        if int(pairs["num_leaves"]) == 1:
            return _stump(leaf_value)
        return _Tree(
            _whole(pairs["split_feature"]),
            _numbers(pairs["threshold"]),
            _whole(pairs["decision_type"]),
            _whole(pairs["left_child"]),
            _whole(pairs["right_child"]),
            _numbers(pairs["internal_value"]),
            leaf_value,
            _numbers(pairs["leaf_count"]),
        )
    except (KeyError, ValueError) as error:
        raise LearnedError(f"trees: the LightGBM text is damaged ({error}); save the model again") from error


def _stump(leaf_value: NDArray[np.float64]) -> _Tree:
    """A tree of one leaf: one split that sends everybody to it."""
    leaf = np.array([-1], np.int32)
    never = np.array([0], np.int32)
    return _Tree(never, np.array([np.inf]), never, leaf, leaf, leaf_value, leaf_value, np.zeros(1))


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(part) for part in text.split(" ")])


def _whole(text: str) -> NDArray[np.int32]:
    return np.array([int(part) for part in text.split(" ")], np.int32)


def _starts(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _joined(trees: Sequence[_Tree], feature_names: Sequence[str], sigmoid: float) -> Trees:
    if not trees:
        raise LearnedError("trees: the model has no tree; train it again")
    decision = np.concatenate([tree.decision for tree in trees])
    if (decision & _CATEGORICAL).any():
        raise LearnedError("trees: categorical splits cannot be served; give categories to training as numbers")
    return Trees(
        feature_names=np.array(feature_names, np.str_),
        split_starts=_starts([len(tree.feature) for tree in trees]),
        leaf_starts=_starts([len(tree.leaf_value) for tree in trees]),
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        missing=((decision >> 2) & 3).astype(np.int8),
        default_left=(decision & _DEFAULT_LEFT) > 0,
        left=np.concatenate([tree.left for tree in trees]),
        right=np.concatenate([tree.right for tree in trees]),
        split_value=np.concatenate([tree.split_value for tree in trees]),
        leaf_value=np.concatenate([tree.leaf_value for tree in trees]),
        leaf_count=np.concatenate([tree.leaf_count for tree in trees]),
        sigmoid=sigmoid,
    )
