"""What a lifetime-value model is worth: judged on members' later months, beside BG/NBD with gamma-gamma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.entities import Programme
from training import value_metrics
from training.lifetime import Cut, LifetimeConfig, calibrated, coverage, cut, fit
from training.lifetime_frames import at_cut, chosen, frame, lines
from training.lifetime_story import as_published
from training.metrics import Interval
from training.value_metrics import Slice

Vector = NDArray[np.float64]
OURS, PUBLISHED = "ours", "bgnbd_gamma_gamma"


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What was said of members at a cut-off, and what came."""

    member_id: NDArray[np.object_]
    brought: Vector
    ours: Vector
    published: Vector
    covered: float
    """Share of members inside the interval that was stated beforehand."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Both models on the same members."""

    figures: Mapping[str, Mapping[str, Interval]]
    """Model → measure of `training.value_metrics` → figure with interval."""
    gaps: Mapping[str, Interval]
    """Measure → ours minus the published one."""
    covered: float
    members: int
    """Members behind the figures, counted once at each cut-off."""

    @property
    def metrics(self) -> dict[str, float]:
        """One flat table, as the registry keeps it."""
        flat = {f"{name}": each.value for name, each in self.figures[OURS].items()}
        flat |= {f"published_{name}": each.value for name, each in self.figures[PUBLISHED].items()}
        for name, gap in self.gaps.items():
            flat |= {f"{name}_gap": gap.value, f"{name}_gap_low": gap.low, f"{name}_gap_high": gap.high}
        return flat | {"coverage": self.covered, "members": float(self.members)}


def told(
    learn: Sequence[Cut],
    judged: Cut,
    at: datetime,
    bought: pd.DataFrame,
    names: Sequence[str],
    days: int,
    config: LifetimeConfig,
    seed: int,
) -> Told:
    """Fit at `learn`, and speak of the members of `judged` as of its moment; intervals come from `learn` alone.

    Args:
        learn: cut-offs whose horizon was closed at `at`, oldest first, labelled by what was known then.
        judged: the cut-off to be judged at.
        at: its moment.
        bought: `training.lifetime_frames.lines`.
        names: features.
        days: the horizon.
        config: the model's.
        seed: for the trees.
    """
    model = fit(learn, judged, names, days, config, seed)
    model = calibrated(model, *apart(learn, names, days, config, seed))
    ours = model.value(judged.features)
    published = as_published(bought, at, days, config.discount).reindex(judged.member_id).fillna(0.0)
    covered = coverage(model, ours, judged.brought)
    return Told(judged.member_id, judged.brought, ours, published.to_numpy(np.float64), covered)


def apart(
    learn: Sequence[Cut], names: Sequence[str], days: int, config: LifetimeConfig, seed: int
) -> tuple[Vector, Vector]:
    """Forecasts for the youngest cut-off of `learn`, each half of its members told by trees that saw only the others.

    Returns:
        Forecasts and what members brought, (n,) each.
    """
    ids = np.unique(np.concatenate([each.member_id for each in learn]))
    first_half = np.random.default_rng(seed).permutation(len(ids)) % 2 == 0
    halves = [first_half[np.searchsorted(ids, each.member_id)] for each in learn]
    said, came = [], []
    for side in (True, False):
        others = [each.only(half != side) for each, half in zip(learn, halves, strict=True)]
        mine = learn[-1].only(halves[-1] == side)
        said.append(fit(others, mine, names, days, config, seed).value(mine.features))
        came.append(mine.brought)
    return np.concatenate(said), np.concatenate(came)


def judge(parts: Sequence[Told], seed: int, resamples: int) -> Report:
    """The figures of one or several cut-offs, pooled; see `training.value_metrics.compare`."""
    ids = np.unique(np.concatenate([part.member_id for part in parts]))
    slices = [
        Slice(np.searchsorted(ids, part.member_id), part.brought, {OURS: part.ours, PUBLISHED: part.published})
        for part in parts
    ]
    figures, gaps = value_metrics.compare(slices, OURS, PUBLISHED, seed, resamples)
    members = sum(len(part.brought) for part in parts)
    covered = sum(part.covered * len(part.brought) for part in parts) / members
    return Report(figures, gaps, covered, members)


def rolling(
    tables: Path,
    programme: Programme,
    config: LifetimeConfig,
    days: int,
    judged_at: Sequence[datetime],
    first: datetime,
    seed: int,
) -> list[Told]:
    """Fit and speak at each of several cut-offs, each from what was closed by then.

    Args:
        tables: folder of the typed tables.
        programme: its rules.
        config: the model's.
        days: the horizon.
        judged_at: moments to judge at.
        first: the earliest moment that may be learned at.
        seed: for the trees.
    """
    bought, found = lines(tables, programme), []
    names = tuple(feature.name for feature in chosen(programme))
    for at in judged_at:
        wanted = [at - timedelta(days=days * (i + 1)) for i in range(config.cut_offs)]
        wanted = [moment for moment in wanted if moment >= first]
        if not wanted:
            continue
        parts = [frame(tables, programme, wanted, days, at, config.discount, config.most)]
        parts += [frame(tables, programme, [at], days, at + timedelta(days=days), config.discount, config.most)]
        *learn, judged = (cut(at_cut(pd.concat(parts), each), names, days, config) for each in (*sorted(wanted), at))
        found.append(told(learn, judged, at, bought, names, days, config, seed))
    return found
