"""Seconds and memory to fit each recipe, how both grow with the history, and what one answer costs afterwards."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from features.learned import MemberHistory, ProductForm, top_k
from features.learned.bulk import best_many
from tessera.bench.apart import ApartError, apart
from tessera.bench.long_history import Size, long_history
from tessera.bench.memory import peak_mb
from training.interactions import Interactions, histories, member_history
from training.recipes import RECIPES, config_from, find, fit

SIZES = (Size(2_000, 10_000, 60_000), Size(8_000, 20_000, 250_000), Size(30_000, 41_000, 1_350_000))
"""The last has about a million pairs of member and product."""
_ASKED = 500
_LOADED_ONLY = "(no fit)"


@dataclass(frozen=True, slots=True)
class Measured:
    """One recipe on one history."""

    recipe: str
    members: int
    pairs: int
    """Pairs of member and product with a purchase."""
    estimate: float
    """Seconds that the recipe said it would take; NaN where it says nothing."""
    seconds: float
    """Processor time of the fit."""
    peak_mb: float
    """Highest memory of a process that loads the interactions and fits."""
    answer_us: float
    """Scores for all products and the best ten, for one member, microseconds at the median."""
    lists_seconds: float
    """Processor time for the best ten of every member together."""


def run(
    sizes: Sequence[Size] = SIZES, names: Sequence[str] = (), memory_gb: float = 16.0, minutes: float = 15.0
) -> None:
    """Fit recipes on made-up histories of these sizes, each in a process of its own, and print a table.

    Args:
        sizes: Of the histories.
        names: Recipes; none names all.
        memory_gb: What a process may hold; one that needs more is told as out of memory.
        minutes: After so long a fit is given up.
    """
    console = Console()
    found: list[Measured] = []
    for size in sizes:
        begun = time.perf_counter()
        interactions = long_history(size)
        console.print(
            f"{size.members:,} members, {size.products:,} products, {size.purchases:,} purchases: "
            f"made in {time.perf_counter() - begun:.1f} s"
        )
        for recipe in (_LOADED_ONLY, *(names or RECIPES)):
            try:
                one = apart(measure, recipe, interactions, memory_gb=memory_gb, seconds=minutes * 60)
            except ApartError as fault:
                console.print(f"  {recipe}: {fault}")
                continue
            found.append(one)
            console.print(f"  {recipe}: {one.seconds:.1f} s, {one.peak_mb:,.0f} MB")
    console.print(_table(found))


def measure(recipe: str, interactions: Interactions) -> Measured:
    """Fit one recipe in this process; its peak memory counts from the start of the process."""
    members, pairs = interactions.counts.shape[0], interactions.counts.nnz
    if recipe == _LOADED_ONLY:
        return Measured(recipe, members, pairs, 0.0, 0.0, peak_mb(), math.nan, math.nan)
    config = config_from(recipe)
    thought = find(recipe).estimate(interactions, config)
    begun = time.process_time()
    fitted = fit(recipe, interactions, config)
    seconds = time.process_time() - begun
    asked = range(0, members, max(1, members // _ASKED))
    histories_of = [member_history(interactions, row, fitted.vector(row)) for row in asked]
    answer = _answer_us(fitted.form, histories_of, interactions.seconds)
    begun = time.process_time()
    best_many(fitted.form, histories(interactions, None, fitted.member_vectors), interactions.seconds, 10, threads=1)
    lists = time.process_time() - begun
    return Measured(
        recipe,
        members,
        pairs,
        math.nan if thought is None else thought.seconds,
        seconds,
        peak_mb(),
        answer,
        lists,
    )


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
    for column in (
        "recipe",
        "members",
        "pairs",
        "seconds",
        "estimate",
        "peak MB",
        "growth",
        "µs an answer",
        "s all lists",
    ):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for one in sorted(found, key=lambda one: (one.recipe, one.members)):
        before = [other for other in found if other.recipe == one.recipe and other.members < one.members]
        table.add_row(
            one.recipe,
            f"{one.members:,}",
            f"{one.pairs:,}",
            f"{one.seconds:.2f}",
            _number(one.estimate, 1),
            f"{one.peak_mb:,.0f}",
            _growth(max(before, key=lambda other: other.members), one) if before else "",
            _number(one.answer_us, 0),
            _number(one.lists_seconds, 1),
        )
    table.caption = (
        "Seconds of processor time. growth: they rise with this power of the pairs. An answer scores all products and "
        "takes ten. Peak memory is that of the process, interactions and answers with it."
    )
    return table


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}"


def _growth(small: Measured, large: Measured) -> str:
    if min(small.seconds, large.seconds) <= 0 or small.pairs == large.pairs:
        return ""
    return f"{math.log(large.seconds / small.seconds) / math.log(large.pairs / small.pairs):.2f}"
