"""Features: members per second for training and for serving, memory, and how both grow with the programme."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.simulate import simulate_to
from experiments.worlds import WORLDS
from features import behavior
from features.entities import PointsRules, Programme, SegmentRules, Tier
from features.finishing import finisher
from features.member_states import state_blobs
from features.rows import Rows
from features.states import decode
from tessera.bench.memory import peak_mb

_ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS = 730
_PRODUCTS = 1_000
_ASKED = 1_000
_PROGRAMME = Programme(
    currency="EUR",
    timezone="Europe/Amsterdam",
    tiers=(Tier("basic", "Basic", 0.0, 365, 1.0), Tier("silver", "Silver", 300.0, 365, 1.5)),
    points=PointsRules(expiry_days=365, cost_per_point=0.01, redeemed_share=0.8),
    segments=SegmentRules(30, 2.0, 180, 800.0, 300.0),
    default_margin_rate=0.3,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One job on one history."""

    job: str
    members: int
    rows: int
    """Pairs of member and time, or states."""
    seconds: float
    peak_mb: float


def run(members: Sequence[int] = (10_000, 50_000, 200_000)) -> None:
    """Compute and serve the features of simulated programmes of these sizes, each job in a process of its own."""
    console = Console()
    found: list[Measured] = []
    for size in members:
        with tempfile.TemporaryDirectory(prefix="tessera-bench-") as folder:
            tables = Path(folder) / "tables"
            started = time.perf_counter()
            made = {"members": size, "products": _PRODUCTS, "days": _DAYS}
            simulate_to(tables, WORLDS["weak"], **made, ends_at=_ENDS_AT, seed=1)
            lines = len(pd.read_parquet(tables / "purchases.parquet", columns=["member_id"]))
            console.print(f"{size:,} members, {lines:,} lines: simulated in {time.perf_counter() - started:.0f} s")
            for job in _JOBS:
                measured = _alone(job, tables, size)
                found.append(measured)
                console.print(f"  {job}: {measured.seconds:.1f} s, {measured.rows / measured.seconds:,.0f} rows/s")
            for line in _alone_online(tables):
                console.print(f"  {line}")
    console.print(_table(found))


def _alone(job: str, tables: Path, members: int) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, job, tables, members).result()


def _alone_online(tables: Path) -> list[str]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(online, tables).result()


def measure(job: str, tables: Path, members: int) -> Measured:
    """Run one job in this process; its peak memory counts from the start of the process."""
    started = time.perf_counter()
    rows = _JOBS[job](tables)
    return Measured(job, members, rows, time.perf_counter() - started, peak_mb())


def online(tables: Path) -> list[str]:
    """What a request pays: reading a state, decoding it and finishing all features, at the median."""
    features = behavior.definitions(_PROGRAMME)
    finish = finisher(features)
    states = list(islice(state_blobs(tables, _ENDS_AT, _PROGRAMME, _some_members(tables)), _ASKED))
    rows = Rows(tables.parent / "online.db")
    rows.write("member_state", states)
    at = _ENDS_AT.timestamp()
    blobs = [blob for _, blob, _ in states]
    decoded = [decode(blob) for blob in blobs]
    size = sum(map(len, blobs)) / len(blobs)
    return [
        f"read a state: {_median_us(lambda i: rows.read('member_state', states[i][0]), len(states)):.0f} µs",
        f"decode its {size:,.0f} bytes: {_median_us(lambda i: decode(blobs[i]), len(states)):.0f} µs",
        f"finish {len(features)} features: {_median_us(lambda i: finish(decoded[i], at), len(states)):.0f} µs",
    ]


def _one_cut_off(tables: Path) -> int:
    return len(behavior.historical(tables, _pairs(tables, 1), _PROGRAMME))


def _twelve_cut_offs(tables: Path) -> int:
    return len(behavior.historical(tables, _pairs(tables, 12), _PROGRAMME))


def _states(tables: Path) -> int:
    return sum(1 for _ in state_blobs(tables, _ENDS_AT, _PROGRAMME))


_JOBS: dict[str, Callable[[Path], int]] = {
    "features at 1 cut-off": _one_cut_off,
    "features at 12 cut-offs": _twelve_cut_offs,
    "states for serving": _states,
}


def _pairs(tables: Path, cut_offs: int) -> pd.DataFrame:
    members = _members(tables)
    moments = [pd.Timestamp(_ENDS_AT - timedelta(days=30 * back)).as_unit("us") for back in range(cut_offs)]
    return pd.DataFrame(
        {"member_id": np.tile(members, cut_offs), "at": np.repeat(pd.DatetimeIndex(moments), len(members))}
    )


def _members(tables: Path) -> np.ndarray:
    return pd.read_parquet(tables / "members.parquet", columns=["member_id"])["member_id"].unique()


def _some_members(tables: Path) -> list[str]:
    members = _members(tables)
    return [str(member) for member in members[:: max(1, len(members) // _ASKED)]]


def _median_us(call: Callable[[int], object], n: int) -> float:
    times = []
    for i in range(n):
        begun = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - begun)
    return sorted(times)[n // 2] * 1e6


def _table(found: Sequence[Measured]) -> Table:
    table = Table(title="Features")
    for column in ("job", "members", "rows", "seconds", "rows/s", "peak MB", "growth"):
        table.add_column(column, justify="left" if column == "job" else "right")
    for one in sorted(found, key=lambda one: (one.job, one.members)):
        before = [other for other in found if other.job == one.job and other.members < one.members]
        table.add_row(
            one.job,
            f"{one.members:,}",
            f"{one.rows:,}",
            f"{one.seconds:.1f}",
            f"{one.rows / one.seconds:,.0f}",
            f"{one.peak_mb:,.0f}",
            _growth(max(before, key=lambda other: other.members), one) if before else "",
        )
    table.caption = "growth: seconds rise with this power of the members"
    return table


def _growth(small: Measured, large: Measured) -> str:
    return f"{math.log(large.seconds / small.seconds) / math.log(large.members / small.members):.2f}"
