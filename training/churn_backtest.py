"""Decide in the past, compare with what followed: churn and the next purchase at several cut-offs, ours beside peers.

At each cut-off every model learns only from what was known there, with every label window closed, and says for each
member how likely silence is; then it is seen who bought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import behavior, history
from features.entities import Programme
from training import bgnbd, churn_peers, frames, next_purchase, purchase_days
from training.churn import ChurnConfig, fit
from training.churn_rows import rows_of
from training.frames import Cuts, HistoryTooShortError

Rows = NDArray[np.float64]
OURS, LOGISTIC, BOOSTED, RHYTHM, ALIKE = "ours", "logistic RFM", "LightGBM RFM", "BG/NBD", "all alike"
_LINES = ["member_id", "quantity", "amount", "occurred_at", "known_at"]


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """What models said of members at cut-offs, and what came; one row for each member at each cut-off."""

    horizon: float
    """Days."""
    at: pd.Series
    """(n,): the cut-off."""
    member: NDArray[np.intp]
    """(n,): the member by number, the same at every cut-off."""
    churned: NDArray[np.bool_]
    waited: Rows
    """(n,): days to the next purchase within the horizon; NaN where none came."""
    chance: Mapping[str, Rows]
    """Model → (n,) chance of churn."""
    silence: Mapping[str, Rows]
    """Model → (n, n_days) chance that nothing has come by each of `next_purchase.points`."""
    told: Mapping[str, Rows]
    """Model → (n,) the chance of nothing until the moment at which the purchase came (1 where none came)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """One cut-off: rows to learn from, and the members to judge."""

    at: datetime
    cuts: Cuts
    frame: pd.DataFrame
    judged: pd.DataFrame


def run(
    tables: Path,
    programme: Programme,
    config: ChurnConfig,
    at: datetime,
    cut_offs: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Backtest:
    """Fit and judge at up to `cut_offs` moments, the last one horizon before `at`, the others `every_days` apart.

    Args:
        tables: folder of the typed tables.
        programme: its rules.
        config: with its horizon filled in.
        at: the end of what is known.
        cut_offs: how many cut-offs at most; fewer where the history begins too late.
        seed: for everything drawn by lot.
        progress: told what is being done.

    Raises:
        HistoryTooShortError: the history has room for none.
    """
    pasts = _pasts(tables, programme, config, at, cut_offs, progress)
    lines = history.read(tables, "purchases", _LINES)
    parts = []
    for past in pasts:
        progress(f"as of {past.at:%Y-%m-%d}: {len(past.judged)} members")
        parts.append(_one(past, lines, behavior.names(programme), config, seed))
    judged = pd.concat([past.judged for past in pasts], ignore_index=True)
    waited = judged["next_days"].to_numpy(np.float64)
    return Backtest(
        float(config.horizon),
        judged["at"],
        pd.factorize(judged["member_id"], sort=True)[0].astype(np.intp),
        judged["churned"].to_numpy(dtype=bool),
        np.where(waited <= config.horizon, waited, np.nan),
        *(_joined([part[i] for part in parts]) for i in range(3)),
    )


def _joined(parts: list[dict[str, Rows]]) -> dict[str, Rows]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pasts(
    tables: Path,
    programme: Programme,
    config: ChurnConfig,
    at: datetime,
    cut_offs: int,
    progress: Callable[[str], None],
) -> list[_Past]:
    begins = frames.begins(tables)
    wanted = [at - timedelta(days=config.horizon + i * config.every_days) for i in range(cut_offs)]
    found: list[tuple[datetime, Cuts]] = []
    for moment in wanted:
        try:
            cuts = frames.cuts(moment, begins, config.horizon, config.cut_offs, config.every_days)
        except HistoryTooShortError:
            if not found:
                raise
            break
        found.append((moment, cuts))

    def labels(ats: tuple[datetime, ...], known_by: datetime) -> pd.DataFrame:
        return frames.labelled(tables, ats, config.horizon, config.max_lapse_days, known_by)

    learned = [labels(cuts.every, moment) for moment, cuts in reversed(found)]
    judged = [labels((moment,), at) for moment, _ in reversed(found)]
    progress("features at every cut-off")
    pairs = pd.concat([*learned, *judged])[["member_id", "at"]].drop_duplicates(ignore_index=True)
    known = behavior.historical(tables, pairs, programme)

    def with_features(label: pd.DataFrame) -> pd.DataFrame:
        return label.merge(known, on=["member_id", "at"], how="left", validate="one_to_one")

    return [
        _Past(moment, cuts, with_features(learn), with_features(judge))
        for (moment, cuts), learn, judge in zip(reversed(found), learned, judged, strict=True)
    ]


def _one(
    past: _Past, lines: pd.DataFrame, names: tuple[str, ...], config: ChurnConfig, seed: int
) -> tuple[dict[str, Rows], dict[str, Rows], dict[str, Rows]]:
    """Chances of churn, distributions, and the distributions where the purchase came."""
    judged, days = past.judged, next_purchase.points(config.horizon)
    model = fit(past.frame, past.cuts, names, replace(config, ablation=False), seed)
    rows = rows_of(judged, names)
    rhythm, known = churn_peers.rhythm(lines, past.at)
    habits = purchase_days.habits(known.set_index("member_id").loc[judged["member_id"]])
    by_rhythm = np.stack([bgnbd.silent(rhythm, habits, float(day)) for day in days], axis=1)
    closed = past.frame[past.frame["at"].isin([past.cuts.calibrate, *past.cuts.recent])]
    same = next_purchase.alike(
        closed["next_days"].to_numpy(np.float64), closed["followed_days"].to_numpy(np.float64), days
    )
    silence = {
        OURS: model.silence(rows, days),
        RHYTHM: by_rhythm,
        ALIKE: np.tile(same, (len(judged), 1)),
    }
    chance = {
        OURS: model.probability(rows),
        LOGISTIC: churn_peers.logistic(past.frame, past.cuts)(judged),
        BOOSTED: churn_peers.boosted(past.frame, past.cuts, seed)(judged),
        RHYTHM: by_rhythm[:, -1],
    }
    waited = np.nan_to_num(judged["next_days"].to_numpy(np.float64), nan=0.0)
    return chance, silence, {name: _then(each, waited, days) for name, each in silence.items()}


def _then(silence: Rows, waited: Rows, days: Rows) -> Rows:
    """The curves of members, each at its own day; 1 at day 0, what it is at the horizon beyond."""
    right = np.clip(np.searchsorted(days, waited), 1, len(days) - 1)
    part = np.clip((waited - days[right - 1]) / (days[right] - days[right - 1]), 0.0, 1.0)
    row = np.arange(len(waited))
    left = silence[row, right - 1]
    return np.asarray(left + part * (silence[row, right] - left))
