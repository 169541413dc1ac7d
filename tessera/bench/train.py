"""Seconds and memory to fit each recipe, how both grow with the history, and what one answer costs afterwards."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features.learned import MemberHistory, ProductForm, top_k
from tessera.bench.memory import peak_mb
from training.interactions import Interactions, build, member_history
from training.recipes import RECIPES, fit

_ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS = 730
_ASKED = 500
_LOADED_ONLY = "(no fit)"


@dataclass(frozen=True, slots=True)
class Measured:
    """One recipe on one history."""

    recipe: str
    members: int
    pairs: int
    """Pairs of member and product with a purchase."""
    seconds: float
    peak_mb: float
    """Highest memory of a process that loads the interactions and fits."""
    answer_us: float
    """Scores for all products and the best ten, for one member, microseconds at the median."""


def run(members: Sequence[int] = (1_000, 4_000, 16_000), products: int = 10_000) -> None:
    """Fit every recipe on simulated programmes of these sizes, each in a process of its own, and print a table."""
    console = Console()
    found: list[Measured] = []
    for size in members:
        started = time.perf_counter()
        history = simulate(WORLDS["weak"], members=size, products=products, days=_DAYS, ends_at=_ENDS_AT, seed=1)
        simulated = time.perf_counter()
        interactions = build(history["purchases"], history["products"], history["members"], _ENDS_AT)
        console.print(
            f"{size:,} members, {products:,} products, {len(history['purchases']):,} lines: simulated in "
            f"{simulated - started:.1f} s, made into a matrix in {time.perf_counter() - simulated:.1f} s"
        )
        del history
        for measured in _measure_all(size, interactions):
            found.append(measured)
            console.print(f"  {measured.recipe}: {measured.seconds:.1f} s")
    console.print(_table(found))


def _measure_all(members: int, interactions: Interactions) -> Iterator[Measured]:
    """One process for each recipe, so that nobody's memory is counted twice."""
    for recipe in (_LOADED_ONLY, *RECIPES):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool.submit(measure, recipe, members, interactions).result()


def measure(recipe: str, members: int, interactions: Interactions) -> Measured:
    """Fit one recipe in this process; its peak memory counts from the start of the process."""
    started, answer = time.perf_counter(), math.nan
    if recipe != _LOADED_ONLY:
        fitted = fit(recipe, interactions)
        seconds = time.perf_counter() - started
        asked = range(0, len(interactions.member_ids), max(1, len(interactions.member_ids) // _ASKED))
        histories = [member_history(interactions, row, fitted.vector(row)) for row in asked]
        answer = _answer_us(fitted.form, histories, interactions.seconds)
    else:
        seconds = 0.0
    return Measured(recipe, members, interactions.counts.nnz, seconds, peak_mb(), answer)


def _answer_us(form: ProductForm, histories: Sequence[MemberHistory], at: float) -> float:
    times = []
    with threadpool_limits(limits=1):  # as in serving; a second BLAS thread waits milliseconds for a busy core
        for member in histories:
            begun = time.perf_counter()
            top_k(form.score(member, at), 10)
            times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2] * 1e6


def _table(found: Sequence[Measured]) -> Table:
    table = Table(title="Fitting recipes, one thread")
    for column in ("recipe", "members", "pairs", "seconds", "peak MB", "growth", "µs an answer"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for one in sorted(found, key=lambda one: (one.recipe, one.members)):
        before = [other for other in found if other.recipe == one.recipe and other.members < one.members]
        table.add_row(
            one.recipe,
            f"{one.members:,}",
            f"{one.pairs:,}",
            f"{one.seconds:.2f}",
            f"{one.peak_mb:,.0f}",
            _growth(max(before, key=lambda other: other.members), one) if before else "",
            "" if math.isnan(one.answer_us) else f"{one.answer_us:.0f}",
        )
    table.caption = "growth: seconds rise with this power of the pairs; an answer scores all products and takes ten"
    return table


def _growth(small: Measured, large: Measured) -> str:
    if min(small.seconds, large.seconds) <= 0 or small.pairs == large.pairs:
        return ""
    return f"{math.log(large.seconds / small.seconds) / math.log(large.pairs / small.pairs):.2f}"
