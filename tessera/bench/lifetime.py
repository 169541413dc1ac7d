"""Lifetime value: seconds to fit a million members, and what forecasts were worth on later months.

Histories: the simulated worlds over a year to come (their history is long enough to learn and judge a year), and real
ones from TESSERA_DATA or ../shared/data where that folder is there. Each is judged at several cut-offs, pooled, beside
BG/NBD with gamma-gamma as its authors use it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.simulate import simulate_to
from experiments.worlds import WORLDS
from features import catalog, history, sources
from features.entities import Programme
from training import bgnbd, frames, gamma_gamma, lifetime_frames, value_metrics
from training.bgnbd import Habits
from training.lifetime import LifetimeConfig, calibrated, cut, fit
from training.lifetime_report import OURS, PUBLISHED, Report, apart, judge, rolling

_MILLION = 1_000_000
_END = datetime(2026, 1, 1, tzinfo=UTC)
_SIMULATED_DAYS = 1300
_RESAMPLES = 300
_SEED = 7
_YEAR = 365
_HALF = 180


@dataclass(frozen=True, slots=True)
class Asked:
    """One history and how it is judged."""

    name: str
    days: int
    every_days: int
    cuts: int


REAL = (Asked("online_retail", 90, 30, 6), Asked("complete_journey", 90, 45, 10), Asked("complete_journey", 180, 45, 7))


def run(members: int = 4_000, real: Sequence[Asked] = REAL) -> None:
    """Print seconds of the fits, and a table for each history.

    Args:
        members: of each simulated world.
        real: which real histories, where they are there.
    """
    console = Console()
    console.print(_fits())
    programme = catalog.load(Path("configs/catalog")).programme
    for name, tables, asked in _histories(programme, members, real):
        report = _judged(tables, programme, asked)
        console.print(_table(f"{name}, {asked.days} days", report))
        if asked.days == _YEAR:
            console.print(_stretched(tables, programme))


def _histories(programme: Programme, members: int, real: Sequence[Asked]) -> Iterator[tuple[str, Path, Asked]]:
    data = Path(os.environ.get("TESSERA_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as folder:
        for asked in real:
            if (data / asked.name).is_dir():
                place = Path(folder) / asked.name
                if not place.exists():
                    history.merge(place, sources.load(asked.name, data / asked.name, programme, None).tables)
                yield asked.name, place, asked
        for name, world in WORLDS.items():
            place, raw = Path(folder) / name, Path(folder) / f"{name}.raw"
            made = simulate_to(
                raw, world, members=members, products=200, days=_SIMULATED_DAYS, ends_at=_END, seed=_SEED
            )
            history.merge(place, {table: made[table] for table in ("members", "products", "purchases")})
            yield f"simulated world {name!r}", place, Asked(name, _YEAR, 60, 3)


def _judged(tables: Path, programme: Programme, asked: Asked) -> Report:
    end = history.ends_at(tables)
    judged_at = [end - timedelta(days=asked.days + asked.every_days * i) for i in range(asked.cuts)]
    first = lifetime_frames.earliest(frames.begins(tables), asked.days)
    config = LifetimeConfig()
    parts = rolling(tables, programme, config, asked.days, judged_at, first, _SEED)
    return judge(parts, _SEED, _RESAMPLES)


def _stretched(tables: Path, programme: Programme) -> str:
    """A model that learned half a year, and what its stretch to 12 months was worth."""
    config, names = LifetimeConfig(), tuple(feature.name for feature in lifetime_frames.chosen(programme))
    end = history.ends_at(tables)
    at = end - timedelta(days=_YEAR)
    ats = [at - timedelta(days=_HALF * (i + 1)) for i in reversed(range(config.cut_offs))]
    learned = lifetime_frames.frame(tables, programme, ats, _HALF, at, config.discount, config.most)
    now = lifetime_frames.frame(tables, programme, [at], _YEAR, end, config.discount, config.most)
    learn = [cut(lifetime_frames.at_cut(learned, each), names, _HALF, config) for each in ats]
    present = cut(now, names, _HALF, config)
    model = fit(learn, present, names, _HALF, config, _SEED)
    model = calibrated(model, *apart(learn, names, _HALF, config, _SEED))
    worth = model.worth(present.features)
    said, low, high = (ends[:, 0] for ends in (worth.value, worth.low, worth.high))
    came = np.maximum(present.brought, 0.0)
    inside = ((came >= low - 1e-9) & (came <= high + 1e-9)).mean()
    figures = value_metrics.measure(present.brought, said)
    return (
        f"  learned over {_HALF} days and stretched to 12 months: total {said.sum() / present.brought.sum() - 1:+.1%}, "
        f"normalised Gini {figures['normalised_gini']:.4f}, deciles off by {figures['decile_error']:.1%}, "
        f"{inside:.1%} in their 80 % intervals ({len(came)} members)"
    )


def _table(title: str, report: Report) -> Table:
    whole = f"{title}: {report.members} members, {report.covered:.1%} in their 80 % intervals"
    table = Table("", "ours", "BG/NBD + gamma-gamma", "ours less theirs", title=whole)
    for name, gap in report.gaps.items():
        shown = (report.figures[OURS][name], report.figures[PUBLISHED][name], gap)
        table.add_row(name.replace("_", " "), *(f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in shown))
    return table


def _fits() -> Table:
    rng = np.random.default_rng(_SEED)
    age = rng.integers(30, 700, _MILLION).astype(np.float64)
    x = rng.poisson(rng.gamma(0.8, 1 / 60.0, _MILLION) * age).astype(np.float64)
    last = np.where(x > 0, np.floor(age * rng.beta(np.maximum(x, 1), 1.0)), 0.0)
    spend = rng.gamma(6.0 * np.maximum(x, 1), 1 / (rng.gamma(4.0, 1 / 15.0, _MILLION) * np.maximum(x, 1)))
    table = Table("fit", "seconds of processor time", title=f"{_MILLION:,} members")
    members = Habits.of(x, last, age)
    for name, work in (
        ("BG/NBD", lambda: bgnbd.fit(members)),
        ("gamma-gamma", lambda: gamma_gamma.fit(x, spend)),
    ):
        began = time.process_time()
        work()
        table.add_row(name, f"{time.process_time() - began:.1f}")
    return table
