"""Sharing budgets out: how fast, beside HiGHS on what it can, and how much of what could be earned is earned."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import linprog

from serving.prices import solve

if TYPE_CHECKING:
    from experiments.allocation.contest import Row

CANDIDATES, BUDGETS = 20, 5
SIZES = (2_000, 10_000, 1_000_000)
HIGHS_UP_TO = 10_000
"""Members whose whole linear programme HiGHS solves within minutes."""
WORLDS = ("strong", "weak", "none")
SEEDS = (11, 12, 13)
_SEED = 4

Table32 = NDArray[np.float32]


def run() -> None:
    """Print both tables. `TESSERA_SEEDS=11,12` and `TESSERA_WORLDS=strong` choose what the second one is made of."""
    console = Console()
    console.print(_speed(console))
    worlds = os.environ.get("TESSERA_WORLDS", ",".join(WORLDS)).split(",")
    seeds = [int(one) for one in os.environ.get("TESSERA_SEEDS", ",".join(map(str, SEEDS))).split(",")]
    console.print(_earned(console, worlds, seeds))


def instance(members: int, seed: int = _SEED) -> tuple[Table32, list[Table32], list[float]]:
    """Values and costs in 32 bits; each budget has about a third of what would be wanted of it."""
    rng = np.random.default_rng(seed)
    keen = rng.random((members, 1), np.float32)
    values = rng.standard_normal((members, CANDIDATES), np.float32) * 1.5 + 0.5
    values += 3 * keen * rng.random((1, CANDIDATES), np.float32)
    costs, amounts, best = [], [], values.argmax(axis=1)[:, None]
    for _ in range(BUDGETS):
        table = rng.random((members, CANDIDATES), np.float32) * (rng.random((1, CANDIDATES)) < 0.7)
        wanted = float(np.take_along_axis(table, best, 1).sum(dtype=np.float64))
        costs.append(table.astype(np.float32))
        amounts.append(wanted * (0.18 + 0.24 * rng.random()))
    return values, costs, amounts


def highs(values: Table32, costs: list[Table32], amounts: list[float]) -> float:
    """The value of the whole linear programme."""
    n, m = values.shape
    rows = [sp.kron(sp.eye(n), np.ones((1, m))), *(sp.csr_matrix(table.reshape(1, -1)) for table in costs)]
    upper = np.concatenate([np.ones(n), amounts])
    found = linprog(
        -values.ravel().astype(float), A_ub=sp.vstack(rows).tocsr(), b_ub=upper, bounds=(0, 1), method="highs"
    )
    return -float(found.fun)


def _speed(console: Console) -> Table:
    table = Table(title=f"Members × {CANDIDATES} candidates × {BUDGETS} binding budgets, one thread")
    for column in ("members", "seconds", "HiGHS", "times faster", "bound ÷ HiGHS − 1", "gap", "inside all", "peak GB"):
        table.add_column(column, justify="right")
    for members in SIZES:
        values, costs, amounts = instance(members)
        began = time.perf_counter()
        found = solve(values, costs, amounts)
        took = time.perf_counter() - began
        beside = ("", "", "")
        if members <= HIGHS_UP_TO:
            began = time.perf_counter()
            value = highs(values, costs, amounts)
            theirs = time.perf_counter() - began
            beside = (f"{theirs:,.1f} s", f"{theirs / took:,.1f} ×", f"{found.bound / value - 1:.1e}")
        inside = "yes" if (found.use <= np.array(amounts)).all() else "NO"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        table.add_row(f"{members:,}", f"{took:,.2f}", *beside, f"{found.gap:.1e}", inside, f"{peak:.2f}")
        console.print(f"  {members:,} members: {took:,.2f} s")
    return table


def _earned(console: Console, worlds: list[str], seeds: list[int]) -> Table:
    from experiments import worlds as simulated
    from experiments.allocation import contest
    from experiments.allocation.rivals import WAYS

    table = Table(title=f"{contest.MEMBERS:,} members, three budgets, effects from {contest.LOGGED:,} decisions by lot")
    for column in ("world", "way", "effects", "of the bound", "of each member's own", "ours ahead by", "budgets spent"):
        table.add_column(column, justify="left" if column in ("world", "way", "effects") else "right")
    for world in worlds:
        rows = []
        for seed in seeds:
            rows += contest.run(simulated.WORLDS[world], seed)
            console.print(f"  {world}, seed {seed}: {rows[-len(WAYS) - 2].value / rows[-len(WAYS) - 2].bound:.3f}")
        for cells in _lines(rows):
            table.add_row(world, *cells)
    table.caption = (
        f"{len(seeds)} programmes for each world, 95 % intervals over programmes, differences paired. The bound is "
        "that of the linear programme with the mean true effects of members with the same traits; own: with every "
        "member's own true effect, which is drawn by lot. Money is counted by own true effects; budgets hold in truth"
    )
    return table


def _lines(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    from experiments.allocation import contest

    for way, effects in dict.fromkeys((one.way, one.effects) for one in rows):
        mine = [one for one in rows if one.way == way and one.effects == effects]
        spent = " ".join(f"{np.mean([one.spent[i] for one in mine]):.2f}" for i in range(3))
        against = "" if effects != "learned" or way == "prices" else str(contest.ahead(rows, "prices", way))
        yield (
            way, effects, str(contest.of(rows, way, effects)), str(contest.of(rows, way, effects, strict=True)),
            against, spent,
        )  # fmt: skip
