"""All recipes on one split: fitted, asked, judged in parts and groups, as one table with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training import metrics, recipes
from training.evaluation.groups import by_activity
from training.evaluation.lists import PARTS, Asked, Question, ask, questions
from training.evaluation.table import COLUMNS, rows_of
from training.protocols import Inner, Split

BASELINE = "popularity"


@dataclass(frozen=True, slots=True)
class Terms:
    """How the recipes of a contest are judged."""

    k: int = 10
    """Length of the lists."""
    only_new: bool = False
    """Judge discovery alone: lists and truth without what the member had bought before."""
    unseen_only: bool | None = None
    """Whether lists over all leave out what the member had bought before; None: as the protocol does."""
    members: int | None = 20_000
    """Of more members a sample of so many is judged, drawn by lot; None judges all."""
    seed: int = 0
    draws: int = 1000
    """Resamples of members behind every interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a contest found."""

    split: Split
    terms: Terms
    table: pd.DataFrame
    """A row for each part, group and recipe: see `training.evaluation.table`."""
    skipped: Mapping[str, str]
    """Recipe → why it was not judged."""
    sampled: str
    """How the judged members were chosen."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """Recipe → its lists and figures, member by member."""
    questions: Sequence[Question] = ()

    @property
    def best(self) -> str:
        """The recipe with the highest NDCG over everybody in the first part."""
        first = self.table[self.table["ndcg"].notna()]
        return str(first["recipe"].iloc[0]) if len(first) else ""

    def lists(self, recipe: str, part: str) -> pd.DataFrame:
        """The lists of a recipe as ids: member_id, rank (from 1), product_id."""
        question = next(one for one in self.questions if one.part == part)
        found = self.asked[recipe].lists[part]
        row, rank = np.nonzero(found >= 0)
        before = self.split.before
        return pd.DataFrame(
            {
                "member_id": before.member_ids[question.rows[row]],
                "rank": rank + 1,
                "product_id": before.product_ids[found[row, rank]],
            }
        )

    def picture(self, path: Path | str) -> Path:
        """Draw the table as one PNG or SVG."""
        from training.evaluation.picture import draw  # heavy: only when drawing

        return draw(self, Path(path))


@dataclass(frozen=True, slots=True)
class Entrant:
    """A recipe under a title of its own, so that it can stand in a table twice with other settings."""

    recipe: str
    settings: Mapping[str, Any]


def entered(titles: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, Entrant]:
    """Title → recipe and settings, as entrants."""
    return {title: Entrant(recipe, settings) for title, (recipe, settings) in titles.items()}


def contest(
    split: Split,
    entrants: Mapping[str, Mapping[str, Any] | Entrant],
    terms: Terms | None = None,
    labels: Mapping[str, NDArray[np.object_]] | None = None,
    others: Mapping[str, Asked] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Judge recipes side by side.

    Args:
        split: From `training.protocols`.
        entrants: Recipe → its settings, or title → `Entrant`; what is not given keeps its default. Popularity is always
            among them.
        terms: How they are judged.
        labels: More groups of members: name → a label for every member, (n_members,).
        others: Name → lists made elsewhere for the same questions, judged beside ours.
        progress: Told the name of each recipe before it is fitted.
    """
    terms = terms or Terms()
    rows, sampled = _sample(split, terms)
    unseen = split.unseen_only if terms.unseen_only is None else terms.unseen_only
    asked = questions(split, _parts(terms, unseen=unseen), rows, unseen_only=unseen)
    novelty = novelty_of(split)
    answers: dict[str, Asked] = {}
    for title, given in {BASELINE: {}, **entrants}.items():
        progress(title)
        one = given if isinstance(given, Entrant) else Entrant(title, given)
        config = configured(one.recipe, one.settings, terms.seed, split.inner)
        answers[title], _ = ask(split, one.recipe, config, asked, terms.k, novelty)
    answers |= others or {}
    grouped = {"activity": by_activity(split.before, rows), **(labels or {})}
    found = [row for question in asked for row in rows_of(split, question, answers, grouped, terms, BASELINE)]
    skipped = {name: answer.skipped for name, answer in answers.items() if answer.skipped}
    found += [
        {"protocol": split.protocol, "part": part, "group": "everybody", "recipe": name, "skipped": reason}
        for name, reason in skipped.items()
        for part in [question.part for question in asked]
    ]
    table = pd.DataFrame(found).reindex(columns=list(COLUMNS))
    table["skipped"] = table["skipped"].fillna("")
    return Evaluation(split, terms, table, skipped, sampled, answers, asked)


def entrants(recipes_wanted: Sequence[str] | Mapping[str, Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """Recipe → settings, from names alone, names with settings, or nothing (all recipes with their defaults)."""
    if isinstance(recipes_wanted, Mapping):
        return dict(recipes_wanted)
    return {name: {} for name in (recipes.RECIPES if recipes_wanted is None else recipes_wanted)}


def novelty_of(split: Split) -> metrics.Values:
    """(n_products,): bits that each product says of a buyer, from what was learned from."""
    counts = split.before.counts
    return metrics.self_information(np.asarray(counts.getnnz(axis=0)), int((counts.getnnz(axis=1) > 0).sum()))


def configured(name: str, settings: Mapping[str, Any], seed: int, inner: Inner) -> Any:
    """A recipe's configuration: it takes the seed and the protocol's inner cut where it has such a setting.

    Raises:
        RecipeError: The recipe is unknown, or its settings break a rule.
    """
    has = {each.name for each in fields(recipes.find(name).config)}
    given = {key: value for key, value in {"seed": seed, "inner": inner}.items() if key in has}
    return recipes.config_from(name, given | dict(settings))


def _parts(terms: Terms, *, unseen: bool) -> tuple[str, ...]:
    if terms.only_new:
        return ("explore",)
    return ("all",) if unseen else PARTS


def _sample(split: Split, terms: Terms) -> tuple[NDArray[np.intp], str]:
    rows = np.flatnonzero(split.bought.getnnz(axis=1))
    if terms.members is None or len(rows) <= terms.members:
        return rows, f"all {len(rows):,} members who bought something that was hidden"
    chosen = np.random.default_rng(terms.seed).choice(rows, terms.members, replace=False)
    return np.sort(chosen), f"a sample of {terms.members:,} of {len(rows):,} members by lot (seed {terms.seed})"
