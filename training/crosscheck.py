"""Whether a second stage ranks better than the best single base model, told by members it did not learn from.

Half of the members teach, the other half judge, and the other way round. Members count once, whatever the number of
inner cuts they are in. A base model's own first products are all among the candidates, so its list is known too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.inner import Inner
from training.metrics import Interval, Values, mean_interval
from training.ranker import Ground, Lesson

K = 10
"""Length of the lists that are judged."""
_LEVEL = 0.9
"""Both ends of the interval left out, one in twenty lies below it: "ahead" is claimed with 95 % confidence."""
_TIE = 1e-6
_FOLDS = 2


@dataclass(frozen=True, slots=True)
class Check:
    """The ranker less the best base model, NDCG@10 by members the ranker did not learn from."""

    best: str
    """The base model with the best lists."""
    ahead: Interval
    """Over all that was bought; only over what was new to the member where nothing else can be asked for."""
    ahead_new: Interval
    """Lists and what was bought without what the member had bought before."""

    @property
    def passed(self) -> bool:
        """Surely ahead; or not behind, and surely ahead in what is new."""
        return self.ahead.low > 0 or (self.ahead.value >= 0 and self.ahead_new.low > 0)

    def __str__(self) -> str:
        return f"{self.ahead.value:+.4f} [{self.ahead.low:+.4f}, {self.ahead.high:+.4f}] NDCG@{K} against {self.best}"


def crosscheck(inners: Sequence[Inner], ground: Ground, parts: Sequence[str], seed: int) -> Check:
    """Grow trees from each half of the members and judge them by the other half.

    Args:
        inners: The inner splits.
        ground: With a lesson of each.
        parts: Names of the base models, in the order of the columns of `Lesson.said`.
        seed: Of the bootstrap over members.
    """
    taught = list(zip(inners, ground.lessons, strict=True))
    ranked = _by_others(ground)
    new_only = all(_never_again(inner) for inner in inners)
    alone = [_figures(taught, [lesson.said[:, at] for _, lesson in taught], new_only) for at in range(len(parts))]
    best = int(np.argmax([figures.mean() for figures in alone]))
    rng = np.random.default_rng(seed)
    ahead = mean_interval(_figures(taught, ranked, new_only) - alone[best], rng, level=_LEVEL)
    if new_only:
        return Check(parts[best], ahead, ahead)
    said = [lesson.said[:, best] for _, lesson in taught]
    gap = _figures(taught, ranked, new_only=True) - _figures(taught, said, new_only=True)
    return Check(parts[best], ahead, mean_interval(gap, rng, level=_LEVEL))


def _by_others(ground: Ground) -> list[NDArray[np.float64]]:
    """Scores of the candidates of every lesson by trees that learned from other members."""
    scores = [_TIE * lesson.mean for lesson in ground.lessons]
    for fold in range(_FOLDS):
        told = ground.told_by_others(lambda member, fold=fold: member % _FOLDS != fold)  # type: ignore[misc]
        for found, lesson, each in zip(scores, ground.lessons, told, strict=True):
            found[lesson.member % _FOLDS == fold] += each
    return scores


def _never_again(inner: Inner) -> bool:
    """Whether lists can only hold what is new: nothing was ever bought again, or such purchases were not held back."""
    return inner.way == "random" or not (inner.before.counts.data > 1).any()


def _figures(taught: Sequence[tuple[Inner, Lesson]], scores: Sequence[NDArray[np.floating]], new_only: bool) -> Values:
    """NDCG@10 of each member who is in any lesson, (n_members,), the mean over the inner cuts."""
    members = np.unique(np.concatenate([lesson.member for _, lesson in taught]))
    total, times = np.zeros(len(members)), np.zeros(len(members))
    for (inner, lesson), score in zip(taught, scores, strict=True):
        asked, figures = _ndcg(inner, lesson, score, new_only)
        at = np.searchsorted(members, asked)
        total[at] += figures
        times[at] += 1
    return total[times > 0] / times[times > 0]


def _ndcg(inner: Inner, lesson: Lesson, score: NDArray[np.floating], new_only: bool) -> tuple[NDArray[np.intp], Values]:
    """Members of one lesson who bought something that counts, and their figures."""
    kept = np.flatnonzero(lesson.new) if new_only else np.arange(len(score))
    order = kept[np.lexsort((-score[kept], lesson.member[kept]))]
    member = lesson.member[order]
    rank = np.arange(len(member)) - np.searchsorted(member, member)
    gain = np.where(lesson.bought[order] & (rank < K), 1.0 / np.log2(rank + 2.0), 0.0)
    wanted = _wanted(inner, new_only)
    asked = np.unique(lesson.member)
    asked = asked[wanted[asked] > 0]
    most = np.cumsum(1.0 / np.log2(np.arange(2, K + 2)))[np.minimum(wanted[asked], K) - 1]
    return asked, np.bincount(member, weights=gain, minlength=len(wanted))[asked] / most


def _wanted(inner: Inner, new_only: bool) -> NDArray[np.intp]:
    """How many products each member bought afterwards, (n_members,)."""
    bought = inner.bought.getnnz(axis=1)
    if new_only:
        bought = bought - sp.csr_matrix(inner.bought.multiply(inner.before.counts > 0)).getnnz(axis=1)
    return np.asarray(bought, np.intp)
