"""Recipes on MovieLens 100k, as published tables have it: quality and processor time over several random splits."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from tessera.setup import RefusedError
from training import evaluate, metrics, recipes
from training.evaluation import given
from training.protocols import Split, at_random

RECIPES = ("linear", "ease", "spectral", "item_item", "als", "popularity")
SHARE, K = 0.25, 10
PUBLISHED = (
    ("BiVAE", 0.475, 0.412, 0.219),
    ("BPR (cornac)", 0.442, 0.388, 0.213),
    ("LightGCN", 0.420, 0.380, 0.144),
    ("NCF", 0.396, 0.347, 0.181),
    ("SAR", 0.382, 0.331, 0.176),
)
"""Name, NDCG, precision and recall at 10 on one such split: README of recommenders-team/recommenders, commit b02c95e2.

Its MAP has another denominator (all that was hidden) than ours and is left out.
"""
_COLUMNS = {"member": "user", "product": "item", "time": "timestamp"}


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One recipe over all splits, each array (n_splits,)."""

    recipe: str
    ndcg: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    fit_seconds: NDArray[np.float64]
    """Processor time."""
    rank_seconds: NDArray[np.float64]
    """Processor time for the lists of all members."""


def run(seeds: Sequence[int] = range(10)) -> None:
    """Print a table; the data is looked for in TESSERA_DATA or in ../shared/data."""
    file = Path(os.environ.get("TESSERA_DATA", "../shared/data")) / "ml_100k" / "u_data.parquet"
    if not file.exists():
        raise RefusedError(f"bench films: there is no {file}: set TESSERA_DATA to the folder that holds ml_100k/")
    console = Console()
    with console.status("ten splits, six recipes"):
        found = measure(file, RECIPES, seeds)
    console.print(_table(found, len(seeds)))


def measure(file: Path, names: Sequence[str], seeds: Sequence[int]) -> list[Measured]:
    """Every rating is a purchase; a quarter of each member's is hidden by lot, and all unseen films are ranked.

    NDCG@10 is divided by that of the best list of min(10, number hidden); all members count. The recipes have their
    defaults.

    Args:
        file: `u_data.parquet`, with the columns user, item and timestamp.
        names: Of recipes.
        seeds: One split for each.
    """
    rated = given.typed(file, _COLUMNS)
    ledger = given.ledger(rated)
    splits = [at_random(ledger, rated.ends_at, SHARE, seed) for seed in seeds]
    with threadpool_limits(limits=1):
        return [_measured(name, splits) for name in names]


def _measured(name: str, splits: Sequence[Split]) -> Measured:
    figures = np.array([_once(name, split) for split in splits])
    return Measured(name, *figures.T)


def _once(name: str, split: Split) -> tuple[float, float, float, float, float]:
    begun = time.process_time()
    fitted = recipes.fit(name, split.before)
    learned = time.process_time()
    rows = np.flatnonzero(split.bought.getnnz(axis=1))
    lists = evaluate.rank(split.before, fitted, rows, K, only_new=True)
    ended = time.process_time()
    wanted = split.bought[rows]
    ndcg, precision, recall = (
        float(metric(lists, wanted).mean()) for metric in (metrics.ndcg, metrics.precision, metrics.recall)
    )
    return ndcg, precision, recall, learned - begun, ended - learned


def _table(found: Sequence[Measured], n_splits: int) -> Table:
    table = Table(title=f"MovieLens 100k, 75/25 by lot for each member, {n_splits} splits")
    for column in ("recipe", "NDCG@10", "± sd", "lowest", "P@10", "R@10", "fit s", "rank s"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for one in found:
        shown = (
            one.ndcg.mean(),
            one.ndcg.std(ddof=min(1, n_splits - 1)),
            one.ndcg.min(),
            one.precision.mean(),
            one.recall.mean(),
        )
        spent = (one.fit_seconds.mean(), one.rank_seconds.mean())
        table.add_row(one.recipe, *(f"{value:.4f}" for value in shown), *(f"{value:.2f}" for value in spent))
    table.add_section()
    for name, ndcg, precision, recall in PUBLISHED:
        table.add_row(f"{name}*", f"{ndcg:.3f}", "", "", f"{precision:.3f}", f"{recall:.3f}", "", "")
    table.caption = "seconds of processor time on one BLAS thread; * published, of one split"
    return table
