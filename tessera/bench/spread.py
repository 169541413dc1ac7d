"""How much recipes that learn without locks differ from run to run on two threads, beside the result of one thread.

Two threads write into the same vectors without waiting for each other (Niu et al. 2011, "Hogwild!"), so that no two
runs are the same; one thread gives the same bytes for the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from training.evaluate import judge
from training.interactions import Interactions, build, member_history
from training.recipes import config_from, fit
from training.split import after, truth

LOCK_FREE = ("bpr", "lightfm_hybrid")
_ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)
_RUNS = 5
_K = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """One recipe's NDCG on what was bought in the 28 days after a cut."""

    recipe: str
    alone: float
    """Of one thread."""
    alone_seconds: float
    together: tuple[float, ...]
    """Of each run on two threads with the same seed."""
    together_seconds: float
    """Mean of the runs; elapsed, as two threads are for."""
    distance: float
    """Largest difference between two runs in any product's score, relative to the spread of scores."""


def run(members: int = 2_000, products: int = 500) -> None:
    """Print the spread of five runs on two threads for each recipe that learns without locks."""
    history = simulate(WORLDS["weak"], members=members, products=products, days=730, ends_at=_ENDS_AT, seed=1)
    cut = _ENDS_AT - timedelta(days=28)
    before = build(history["purchases"], history["products"], history["members"], cut)
    bought = truth(before, after(history["purchases"], cut, 28)).bought
    Console().print(_table([spread(recipe, before, bought) for recipe in LOCK_FREE]))


def spread(recipe: str, before: Interactions, bought: sp.csr_matrix) -> Spread:
    """Fit once on one thread and five times on two, all with the same seed, and judge each."""
    alone, alone_seconds, _ = _once(recipe, 1, before, bought)
    runs = [_once(recipe, 2, before, bought) for _ in range(_RUNS)]
    scores = np.stack([found for _, _, found in runs])
    return Spread(
        recipe,
        alone,
        alone_seconds,
        tuple(ndcg for ndcg, _, _ in runs),
        float(np.mean([seconds for _, seconds, _ in runs])),
        float(np.ptp(scores, axis=0).max() / scores.std()),
    )


def _once(
    recipe: str, threads: int, before: Interactions, bought: sp.csr_matrix
) -> tuple[float, float, NDArray[np.float32]]:
    begun = time.perf_counter()
    fitted = fit(recipe, before, config_from(recipe, {"threads": threads}))
    seconds = time.perf_counter() - begun
    member = int(np.diff(before.counts.indptr).argmax())
    scores = fitted.form.score(member_history(before, member, fitted.vector(member)), before.seconds)
    return float(judge(before, fitted, bought, _K).ndcg.mean()), seconds, scores.astype(np.float32)


def _table(found: Sequence[Spread]) -> Table:
    table = Table(title="Learners without locks: one thread, and five runs on two threads with the same seed")
    for column in (
        "recipe",
        "NDCG@10, 1 thread",
        "2 threads: mean",
        "least",
        "most",
        "std",
        "scores apart",
        "s 1",
        "s 2",
    ):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for one in found:
        runs = np.array(one.together)
        table.add_row(
            one.recipe,
            f"{one.alone:.4f}",
            f"{runs.mean():.4f}",
            f"{runs.min():.4f}",
            f"{runs.max():.4f}",
            f"{runs.std(ddof=1):.4f}",
            f"{one.distance:.2f}",
            f"{one.alone_seconds:.2f}",
            f"{one.together_seconds:.2f}",
        )
    table.caption = (
        "scores apart: the busiest member's scores, largest difference of two runs ÷ their standard deviation"
    )
    return table
