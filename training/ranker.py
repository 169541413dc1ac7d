"""The second stage: boosted trees that rank the candidates of several base models (library: LightGBM).

Two losses: `lambdarank` is LambdaMART (Burges 2010, "From RankNet to LambdaRank to LambdaMART: An Overview"); `xendcg`
is the cross entropy between lists, which bounds NDCG (Bruch 2021, "An alternative cross entropy loss for
learning-to-rank", arXiv:1911.09798). On inner slices of every history tried it was level or ahead, in two thirds of the
time.

Trees learn inside one split of what is known: base models see what came before, labels are what came after. Which base
score means what may change once the base models have seen more, so each is told by its rank and its distance from the
mean among the member's own candidates too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned import Trees, candidates, from_lightgbm
from features.learned.blend import Blend
from training.inner import Inner

_AT_ONCE = 4_000_000
_NO_TREES = (np.zeros(1, np.int32), np.array([-1], np.int32))


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown."""

    loss: Literal["xendcg", "lambdarank"]
    trees: int
    leaves: int
    learning_rate: float
    min_leaf: int
    feature_share: float
    l2: float
    depth_of_list: int
    """Mistakes below this rank of a list do not count for `lambdarank`."""
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Candidates of many members with what became of them, sorted by member."""

    member: NDArray[np.intp]
    """(n,): rows of the interactions."""
    bought: NDArray[np.bool_]
    """(n,): whether it was bought afterwards."""
    new: NDArray[np.bool_]
    """(n,): whether the member had never bought it."""
    rows: NDArray[np.float64]
    """(n, n_features)"""
    said: NDArray[np.float32]
    """(n, n_parts): the score by each base model."""
    mean: NDArray[np.float64]
    """(n,): `candidates.fused`, the mean of the base models."""

    def only(self, kept: NDArray[np.bool_]) -> Lesson:
        """With some of the candidates, (n,)."""
        return Lesson(*(getattr(self, column.name)[kept] for column in fields(self)))

    @property
    def members(self) -> int:
        """How many members have a candidate that was bought."""
        return len(np.unique(self.member[self.bought]))


def lesson(blend: Blend, inner: Inner, most_members: int) -> Lesson:
    """Candidates as of the inner cut, of members who bought something after it; of more members every n-th.

    Args:
        blend: Base models and traits as of the inner cut, and the depth; its trees only say which features are wanted.
        inner: The split.
        most_members: Memory and time grow with it.
    """
    rows = np.flatnonzero(inner.bought.getnnz(axis=1))
    rows = rows[:: -(-len(rows) // most_members) or 1]
    step = max(1, _AT_ONCE // len(blend.product_ids))
    parts = [_lesson_of(blend, inner, rows[begin : begin + step]) for begin in range(0, len(rows), step)]
    if not parts:
        none, width = np.empty(0), (0, len(blend.trees.feature_names))
        return Lesson(rows, none > 0, none > 0, np.empty(width), np.empty((0, len(blend.parts)), np.float32), none)
    return Lesson(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Lesson)))


def _lesson_of(blend: Blend, inner: Inner, rows: NDArray[np.intp]) -> Lesson:
    """Members of whom no candidate was bought teach nothing about order and are left out."""
    asked, at = inner.asked(rows), inner.before.seconds
    bases = blend.bases(asked, at)
    found, features = blend.rows(bases, asked, at)
    bought = _marked(sp.csr_matrix(inner.bought[rows]), found.row, found.product)
    said = np.stack([base[found.row, found.product] for base in bases], axis=1).astype(np.float32)
    teaches = np.bincount(found.row, weights=bought, minlength=len(rows))[found.row] > 0
    whole = Lesson(rows[found.row], bought, found.place < 0, features, said, candidates.fused(found, bases))
    return whole.only(teaches)


def _marked(bought: sp.csr_matrix, row: NDArray[np.int64], product: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each pair is in `bought`, (n,)."""
    pairs = bought.tocoo()
    width = bought.shape[1]
    marked: NDArray[np.bool_] = np.isin(row * width + product, pairs.row.astype(np.int64) * width + pairs.col)
    return marked


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Lessons as LightGBM keeps them, for trees from all members or from some; one thread: same seed, same trees."""

    lessons: Sequence[Lesson]
    parameters: Mapping[str, Any]
    trees: int
    data: Any
    """`lightgbm.Dataset`"""

    @staticmethod
    def of(lessons: Sequence[Lesson], names: tuple[str, ...], growth: Growth) -> Ground:
        """Of lessons with these features."""
        import lightgbm  # heavy: only when fitting

        parameters = _parameters(growth)
        data = lightgbm.Dataset(
            np.concatenate([taught.rows for taught in lessons]),
            np.concatenate([taught.bought for taught in lessons]).astype(np.int8),
            group=np.concatenate([np.unique(taught.member, return_counts=True)[1] for taught in lessons]),
            feature_name=list(names),
            params=parameters,
        )
        return Ground(lessons, parameters, growth.trees, data.construct())

    def grown(self) -> Trees:
        """Trees that put what was bought before what was not."""
        text: str = self._learned(self.data).model_to_string()
        return from_lightgbm(text)

    def told_by_others(self, teaches: Callable[[NDArray[np.intp]], NDArray[np.bool_]]) -> list[NDArray[np.float64]]:
        """Scores of the candidates of members who do not teach, by trees of those who do; for each lesson in turn.

        Args:
            teaches: Members → which of them teach.
        """
        chosen = [teaches(lesson.member) for lesson in self.lessons]
        some = self.data.subset(np.flatnonzero(np.concatenate(chosen)).tolist(), dict(self.parameters))
        learned = self._learned(some)
        return [
            np.asarray(learned.predict(lesson.rows[~taught], raw_score=True, num_threads=1), np.float64)
            if not taught.all()
            else np.empty(0)
            for lesson, taught in zip(self.lessons, chosen, strict=True)
        ]

    def _learned(self, data: Any) -> Any:
        import lightgbm  # heavy: only when fitting

        return lightgbm.train(dict(self.parameters), data, num_boost_round=self.trees)


def _parameters(growth: Growth) -> dict[str, Any]:
    return {
        "objective": "rank_xendcg" if growth.loss == "xendcg" else "lambdarank",
        "lambdarank_truncation_level": growth.depth_of_list,
        "num_leaves": growth.leaves,
        "learning_rate": growth.learning_rate,
        "min_data_in_leaf": growth.min_leaf,
        "feature_fraction": growth.feature_share,
        "lambda_l2": growth.l2,
        "max_bin": 127,
        "bin_construct_sample_cnt": 50_000,
        "seed": growth.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }


def no_trees(names: tuple[str, ...]) -> Trees:
    """Trees that find all equal, so that the mean of the bases decides."""
    one, leaf = _NO_TREES
    return Trees(
        feature_names=np.array(names, np.str_),
        split_starts=np.array([0, 1], np.int32),
        leaf_starts=np.array([0, 1], np.int32),
        feature=one,
        threshold=np.array([np.inf]),
        missing=np.zeros(1, np.int8),
        default_left=np.zeros(1, np.bool_),
        left=leaf,
        right=leaf,
        split_value=np.zeros(1),
        leaf_value=np.zeros(1),
        leaf_count=np.zeros(1),
    )
