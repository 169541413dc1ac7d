"""The lists of one recipe, in the parts that are judged apart: all, what is bought again, what is new."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from features.learned import score_many
from features.learned.ranking import top_k_rows
from training import evaluate, metrics, recipes
from training.interactions import Interactions, histories
from training.metrics import Values
from training.protocols import Split
from training.recipes import Fitted, RecipeError

PARTS = ("all", "repeat", "explore")
METRICS = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate", "novelty")
_CELLS = 2**25
"""Scores held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One part of a split: whom to ask, and what they turned out to want."""

    part: str
    rows: NDArray[np.intp]
    """(n,): rows of the members judged; each wants something."""
    wanted: sp.csr_matrix
    """(n, n_products) bool."""
    said: str
    """Which products may stand in the lists."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What one recipe answered to each question, or why it did not."""

    lists: Mapping[str, NDArray[np.int64]]
    """Part → (n, k), −1 where a list is shorter."""
    figures: Mapping[str, Mapping[str, Values]]
    """Part → metric → (n,)."""
    fit_seconds: float = float("nan")
    """Processor time."""
    answer_seconds: float = float("nan")
    """Processor time for all the lists."""
    skipped: str = ""


def questions(split: Split, parts: Sequence[str], sample: NDArray[np.intp], *, unseen_only: bool) -> list[Question]:
    """The parts that somebody can be asked about.

    Args:
        split: What was hidden.
        parts: Of `PARTS`.
        sample: Rows of the members that may be asked.
        unseen_only: Whether the lists of `all` leave out what the member had bought before.
    """
    wanted = {"all": split.bought, "repeat": split.repeat(), "explore": split.explore()}
    said = {
        "all": "new to the member" if unseen_only else "any product",
        "repeat": "bought before",
        "explore": "new to the member",
    }
    found = []
    for part in parts:
        rows = sample[wanted[part].getnnz(axis=1)[sample] > 0]
        if len(rows):
            found.append(Question(part, rows, sp.csr_matrix(wanted[part][rows]), said[part]))
    return found


def ask(
    split: Split, recipe: str, config: Any, asked: Sequence[Question], k: int, novelty: Values
) -> tuple[Asked, Fitted | None]:
    """Fit a recipe and judge its lists; one that cannot learn from this history says why instead.

    Args:
        split: What is learned from.
        recipe: Its name.
        config: Its configuration.
        asked: From `questions`.
        k: Length of the lists.
        novelty: (n_products,): `metrics.self_information`.
    """
    try:
        reason = why_not(recipe, split.before, config)
        if reason:
            return Asked({}, {}, skipped=reason), None
        begun = time.process_time()
        fitted = recipes.fit(recipe, split.before, config)
        fit_seconds = time.process_time() - begun
    except (RecipeError, MemoryError) as error:
        return Asked({}, {}, skipped=str(error) or "out of memory"), None
    begun = time.process_time()
    lists = {question.part: ranked(split, fitted, question, k) for question in asked}
    answer_seconds = time.process_time() - begun
    figures = {question.part: judged(lists[question.part], question.wanted, novelty) for question in asked}
    return Asked(lists, figures, fit_seconds, answer_seconds), fitted


def why_not(recipe: str, before: Interactions, config: Any) -> str:
    """Why a recipe should not even be tried on this history (memory, time); empty if it should."""
    too_large: Callable[[Interactions, Any], str | None] | None = getattr(recipes.find(recipe), "too_large", None)
    return (too_large(before, config) or "") if too_large is not None else ""


def ranked(split: Split, fitted: Fitted, question: Question, k: int) -> NDArray[np.int64]:
    """(n, k): the first k of the products that may stand in this part's lists, −1 where there are fewer."""
    if question.part == "repeat":
        return rank_own(split.asked, fitted, question.rows, k)
    only_new = question.said == "new to the member"
    return evaluate.rank(split.asked, fitted, question.rows, k, only_new)


def rank_own(asked: Interactions, fitted: Fitted, rows: NDArray[np.intp], k: int) -> NDArray[np.int64]:
    """The first k of what each member bought before, (len(rows), k), −1 where there are fewer."""
    out = np.full((len(rows), k), -1, np.int64)
    step = max(1, _CELLS // max(1, len(asked.product_ids)))
    with threadpool_limits(limits=1):
        for begin in range(0, len(rows), step):
            some = histories(asked, rows[begin : begin + step], fitted.member_vectors)
            scores = score_many(fitted.form, some, asked.seconds)
            own = np.full(scores.shape, -np.inf)
            own[some.row, some.product_index] = scores[some.row, some.product_index]
            out[begin : begin + len(own)] = top_k_rows(own, k)
    return out


def judged(lists: NDArray[np.int64], wanted: sp.csr_matrix, novelty: Values) -> dict[str, Values]:
    """Every metric of `METRICS` for each member, (n,)."""
    return {
        "ndcg": metrics.ndcg(lists, wanted),
        "recall": metrics.recall(lists, wanted),
        "precision": metrics.precision(lists, wanted),
        "map": metrics.average_precision_at_k(lists, wanted),
        "mrr": metrics.reciprocal_rank(lists, wanted),
        "hit_rate": metrics.hit(lists, wanted),
        "novelty": metrics.mean_of_listed(lists, novelty),
    }
