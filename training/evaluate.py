"""Recipes side by side: learned before a cut, asked as serving asks, judged by what was bought after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned.bulk import best_many
from training import recipes as table_of_recipes
from training.interactions import Interactions, histories
from training.metrics import Values, average_precision_at_k, coverage, mean_interval, ndcg, recall
from training.recipes import LIMITS, Fitted, Limits, RecipeError
from training.split import truth

if TYPE_CHECKING:
    from training.evaluation.contest import Evaluation, Terms

BASELINE = "popularity"
_DRAWS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One recipe's figures, for each judged member (n,), so that two recipes can be compared member by member."""

    rows: NDArray[np.intp]
    """(n,): rows of the members in the interactions."""
    ndcg: Values
    recall: Values
    average_precision: Values
    coverage: float


def rank(
    before: Interactions, fitted: Fitted, rows: NDArray[np.intp], k: int, only_new: bool = False
) -> NDArray[np.int64]:
    """The first k products for each of these members, (len(rows), k), −1 where there are fewer.

    They are those of `score` and `top_k`, with the stored vector where there is one, but for scores that only rounding
    tells apart. Members are asked together and in parts, on all cores; memory stays below about 200 MB.
    """
    asked = histories(before, rows, fitted.member_vectors)
    return best_many(fitted.form, asked, before.seconds, k, only_new=only_new).places.astype(np.int64)


def judge(
    before: Interactions,
    fitted: Fitted,
    bought: sp.csr_matrix,
    k: int = 10,
    only_new: bool = False,
    most_members: int = 20_000,
) -> Judged:
    """Figures of one fitted recipe.

    Args:
        before: What it was fitted on.
        fitted: Its forms and vectors.
        bought: `Truth.bought`. Only members with something in it are judged.
        k: Length of the lists.
        only_new: Lists leave out what the member had bought before; use with a truth made likewise.
        most_members: Of more members every n-th is judged.
    """
    rows = np.flatnonzero(bought.getnnz(axis=1))
    rows = rows[:: -(-len(rows) // most_members) or 1]
    ranked = rank(before, fitted, rows, k, only_new)
    relevant = sp.csr_matrix(bought[rows])
    return Judged(
        rows,
        ndcg(ranked, relevant),
        recall(ranked, relevant),
        average_precision_at_k(ranked, relevant),
        coverage(ranked, len(before.product_ids)),
    )


def compare(
    before: Interactions,
    purchases_after: pd.DataFrame,
    recipes: Mapping[str, Any],
    k: int = 10,
    *,
    only_new: bool = False,
    most_members: int = 20_000,
    seed: int = 0,
    limits: Limits = LIMITS,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Fit every recipe on `before` and judge it by what the same members bought afterwards.

    Args:
        before: Interactions known at the cut.
        purchases_after: Typed purchases after the cut (`split.after`).
        recipes: Name → configuration, or None for its defaults.
        k: Length of the lists.
        only_new: Judge discovery alone: lists and truth without what was bought before.
        most_members: Of more members every n-th is judged.
        seed: Of the bootstrap.
        limits: A recipe that would take more is skipped.
        progress: Told the name of each recipe before it is fitted, or why it is skipped.

    Raises:
        RecipeError: Every recipe would take more than the limits allow.

    Returns:
        One row for each recipe, best NDCG first: `recipe`; `ndcg`, `recall`, `map`, each with `_low` and `_high` (95 %
        bootstrap over members); `gain`, the NDCG above popularity's on the same members, likewise; `coverage`, the
        share of all products in any list; `members`, how many were judged. Recipes that were skipped have none.
    """
    skipped = {name: reason for name, config in recipes.items() if (reason := _too_large(name, before, config, limits))}
    for name, reason in skipped.items():
        progress(f"{name} is skipped: {reason}")
    recipes = {name: config for name, config in recipes.items() if name not in skipped}
    if skipped and not recipes:
        raise RecipeError("; ".join(skipped.values()))
    bought = truth(before, purchases_after, only_new).bought
    judged: dict[str, Judged] = {}
    for name, config in {BASELINE: None, **recipes}.items():
        progress(name)
        fitted = table_of_recipes.fit(name, before, config)
        judged[name] = judge(before, fitted, bought, k, only_new, most_members)
    shown = [_row(name, judged[name], judged[BASELINE], seed) for name in recipes]
    return pd.DataFrame(shown).sort_values("ndcg", ascending=False, ignore_index=True)


def _too_large(name: str, before: Interactions, config: Any, limits: Limits) -> str | None:
    recipe = table_of_recipes.find(name)
    return recipe.too_large(before, recipe.config() if config is None else config, limits)


def _row(name: str, judged: Judged, baseline: Judged, seed: int) -> dict[str, Any]:
    figures = {
        "ndcg": judged.ndcg,
        "recall": judged.recall,
        "map": judged.average_precision,
        "gain": judged.ndcg - baseline.ndcg,
    }
    row: dict[str, Any] = {"recipe": name}
    for figure, values in figures.items():
        interval = mean_interval(values, np.random.default_rng(seed), _DRAWS)
        row |= {figure: interval.value, f"{figure}_low": interval.low, f"{figure}_high": interval.high}
    return row | {"coverage": judged.coverage, "members": len(judged.rows)}


def picture(table: pd.DataFrame, path: Path, title: str) -> Path:
    """Draw what `compare` returned: a panel for each figure, a bar with its interval for each recipe; PNG or SVG."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    figures = ("ndcg", "recall", "map", "coverage")
    figure = Figure(figsize=(11, 1.2 + 0.45 * len(table)), layout="constrained")
    panels = figure.subplots(1, len(figures), sharey=True)
    shown = table.iloc[::-1]
    for panel, name in zip(panels, figures, strict=True):
        errors = None
        if f"{name}_low" in shown:
            errors = np.stack([shown[name] - shown[f"{name}_low"], shown[f"{name}_high"] - shown[name]])
        panel.barh(shown["recipe"], shown[name], xerr=errors, color="#5b8bb0", ecolor="#333333", capsize=3)
        panel.set_title(name.upper() if name in {"ndcg", "map"} else name)
        panel.set_xlim(left=0)
    members = int(table["members"].max()) if len(table) else 0
    figure.suptitle(f"{title} ({members:,} members, 95 % intervals)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def evaluate(
    train: pd.DataFrame | Path | str,
    test: pd.DataFrame | Path | str | None = None,
    recipes: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    *,
    protocol: str = "time",
    days: float = 28.0,
    share: float = 0.25,
    columns: Mapping[str, str] | None = None,
    terms: Terms | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Recipes side by side on any purchases, with no workspace: one split, one table, one picture.

    Args:
        train: Rows of member_id and product_id (ids of any type), and if known occurred_at, quantity, value, basket_id;
            a frame, or a CSV or Parquet file.
        test: What is asked for, if the split was made elsewhere; otherwise `protocol` cuts `train`.
        recipes: Names, or names with settings; default all recipes.
        protocol: Of `training.protocols.PROTOCOLS`. Only `time` is how decisions are made.
        days: How much of the end `time` judges.
        share: How much of each member's products `random` hides.
        columns: Ours → theirs, for example `{"member": "userId", "product": "itemId", "time": "timestamp"}`.
        terms: Length of lists, masking, sample and seed: see `training.evaluation.contest.Terms`.
        limits: A recipe that would take more is skipped.
        progress: Told the name of each recipe before it is fitted, or why it is skipped.

    Raises:
        RecipeError: Every recipe would take more than the limits allow.

    Returns:
        With `table`, `skipped`, `best`, `lists(recipe, part)` and `picture(path)`.

    Raises:
        GivenError: A file or frame cannot be read.
        ProtocolError: The history cannot be cut so.
        RecipeError: A recipe is unknown or its settings break a rule.
    """
    from training.evaluation import contest, given  # they judge with this module

    split = given.cut(train, test, columns, protocol, days=days, share=share, seed=(terms or contest.Terms()).seed)
    return contest.contest(split, contest.entrants(recipes), terms, progress=progress)
