"""The one table of a contest: a row for each part, group of members and recipe, every mean with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training import metrics
from training.evaluation.groups import EVERYBODY
from training.evaluation.intervals import interval, resampled
from training.evaluation.lists import METRICS, Asked, Question
from training.metrics import Interval, Values
from training.protocols import Split

if TYPE_CHECKING:
    from training.evaluation.contest import Terms

_WITH_INTERVAL = tuple(name for name in METRICS if name != "novelty")
_ENDS = ("", "_low", "_high")
COLUMNS = (
    "protocol",
    "part",
    "lists",
    "group",
    "recipe",
    "members",
    "wanted",
    *(f"{name}{end}" for name in ("gain", "lead") for end in _ENDS),
    *(f"{name}{end}" for name in _WITH_INTERVAL for end in _ENDS),
    "coverage",
    "novelty",
    "fit_seconds",
    "answer_seconds",
    "skipped",
)
"""`part`: all, repeat (bought again) or explore (new to the member). `lists`: which products could stand in them.
`members`: the denominator of every mean of the row. `wanted`: pairs of member and product that were hidden.
`gain`: NDCG above that of popularity, `lead`: NDCG above that of the best of all other recipes in this part over
everybody, both on the same members, with 95 % paired bootstrap intervals. `coverage`: distinct products in the group's
lists ÷ all products known. `novelty`: bits, see `metrics.self_information`. Seconds are of processor time, of all parts
together."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The figures of all recipes in one group of members."""

    label: str
    inside: NDArray[np.bool_]
    """(n_members,)"""
    mean: Values
    """(n_recipes, n_metrics)"""
    drawn: Values
    """(n_resamples, n_recipes, n_metrics)"""

    def figures(self, at: int) -> Iterator[tuple[str, Interval]]:
        """Every metric of the recipe at this place."""
        for place, name in enumerate(_WITH_INTERVAL):
            yield name, interval(float(self.mean[at, place]), self.drawn[:, at, place])

    def above(self, at: int, other: int | None) -> Interval:
        """NDCG of one recipe minus that of another on the same resamples; NaN without another."""
        if other is None:
            return Interval(np.nan, np.nan, np.nan)
        return interval(float(self.mean[at, 0] - self.mean[other, 0]), self.drawn[:, at, 0] - self.drawn[:, other, 0])


def rows_of(
    split: Split,
    question: Question,
    answers: Mapping[str, Asked],
    labels: Mapping[str, NDArray[np.object_]],
    terms: Terms,
    baseline: str,
) -> Iterator[dict[str, Any]]:
    """The rows of one part, everybody first, then group by group, each best NDCG first.

    Args:
        split: What was asked of whom.
        question: The part.
        answers: Recipe → what it answered.
        labels: Kind of group → a label for every member of the split.
        terms: Seed and number of resamples.
        baseline: The recipe that `gain` is above.
    """
    names = [name for name, answer in answers.items() if not answer.skipped]
    if not names:
        return
    groups = _groups(question, answers, names, labels, terms)
    rivals = _rivals(groups[0].mean[:, 0])
    plain = names.index(baseline) if baseline in names else None
    for group in groups:
        for at in np.argsort(-group.mean[:, 0], kind="stable").tolist():
            answer = answers[names[at]]
            intervals = dict(group.figures(at))
            intervals |= {"gain": group.above(at, plain), "lead": group.above(at, rivals[at])}
            yield {
                "protocol": split.protocol,
                "part": question.part,
                "lists": question.said,
                "group": group.label,
                "recipe": names[at],
                "members": int(group.inside.sum()),
                "wanted": int(question.wanted[group.inside].nnz),
                **{f"{name}{end}": value for name, found in intervals.items() for end, value in _ends(found)},
                **_of_lists(split, question, answer, group.inside),
                "fit_seconds": answer.fit_seconds,
                "answer_seconds": answer.answer_seconds,
            }


def _groups(
    question: Question,
    answers: Mapping[str, Asked],
    names: Sequence[str],
    labels: Mapping[str, NDArray[np.object_]],
    terms: Terms,
) -> list[_Group]:
    """Everybody, and each label that somebody in this part has."""
    figures = [answers[name].figures[question.part][metric] for name in names for metric in _WITH_INTERVAL]
    values = np.stack(figures, axis=1)
    inside = {EVERYBODY: np.ones(len(question.rows), bool)}
    for each in labels.values():
        own = each[question.rows]
        inside |= {str(label): own == label for label in sorted(set(own.tolist()), key=_in_order)}
    drawn = resampled(values, np.stack(list(inside.values())), terms.seed, terms.draws)
    shape = (len(names), len(_WITH_INTERVAL))
    return [
        _Group(label, members, values[members].mean(axis=0).reshape(shape), found.reshape(len(found), *shape))
        for (label, members), found in zip(inside.items(), drawn, strict=True)
    ]


def _in_order(label: str) -> tuple[str, int]:
    """Labels by kind, then by the first number in them."""
    kind, _, rest = label.partition(": ")
    digits = "".join(letter for letter in rest.split("–")[0] if letter.isdigit())
    return (kind, int(digits)) if digits else (label, 0)


def _rivals(ndcg: Values) -> list[int | None]:
    """For each recipe the best of the others, (n_recipes,)."""
    order = np.argsort(-ndcg, kind="stable").tolist()
    if len(order) < 2:
        return [None] * len(order)
    return [order[1] if at == order[0] else order[0] for at in range(len(order))]


def _ends(found: Interval) -> Iterator[tuple[str, float]]:
    return zip(_ENDS, (found.value, found.low, found.high), strict=True)


def _of_lists(split: Split, question: Question, answer: Asked, inside: NDArray[np.bool_]) -> dict[str, float]:
    novelty = answer.figures[question.part]["novelty"][inside]
    return {
        "coverage": metrics.coverage(answer.lists[question.part][inside], len(split.before.product_ids)),
        "novelty": float(np.nanmean(novelty)) if np.isfinite(novelty).any() else float("nan"),
    }
