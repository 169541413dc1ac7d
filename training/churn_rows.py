"""Rows that the churn model learns from: members at cut-offs, the terms both of its parts see, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.learned.rhythm import NEEDED, Rhythm
from training import bgnbd
from training.frames import Cuts
from training.spells import Spells

Rows = NDArray[np.float64]
LOGS = (
    "recency_days",
    "baskets_30d",
    "baskets_90d",
    "baskets_365d",
    "lifetime_baskets",
    "spend_30d",
    "spend_90d",
    "spend_365d",
    "lifetime_spend",
    "first_purchase_days",
    "avg_basket_value",
)
"""Features of the linear model, where a programme has them; each as ln(1 + value)."""
_MEMBERS = 50_000
"""As many say what the rhythm of all is like."""


class OneSidedError(ValueError):
    """A slice of members holds nobody who churned, or nobody who stayed."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All rows to learn from, made once."""

    names: tuple[str, ...]
    logs: tuple[str, ...]
    rhythm: Rhythm
    terms: Rows
    """(n, n_logs + 7)"""
    for_trees: Rows
    """(n, n_features + 3)"""
    days: Rows
    """(n,): the horizon of each row."""
    u: Rows
    """(n,): ln(days ÷ the programme's horizon)."""
    silent: NDArray[np.bool_]
    member: NDArray[np.intp]
    own: NDArray[np.bool_]
    """(n,): rows of the programme's horizon."""
    weight: Rows
    """(n,): what a row counts for in learning, 0..1."""


def known_of(frame: pd.DataFrame, cuts: Cuts) -> pd.DataFrame:
    """Rows of all cut-offs, after a check that those with a closed horizon hold both kinds."""
    slice_of(frame, (*cuts.learn, cuts.calibrate))
    return frame[frame["at"].isin(list(cuts.every))].reset_index(drop=True)


def slice_of(frame: pd.DataFrame, ats: Sequence[datetime]) -> pd.DataFrame:
    """The rows at these cut-offs; raises `OneSidedError` unless some churned and some did not."""
    part = frame[frame["at"].isin(list(ats))]
    if part["churned"].nunique() < 2:
        when = ", ".join(f"{at:%Y-%m-%d}" for at in ats)
        raise OneSidedError(
            f"churn: of {len(part)} members at {when} {int(part['churned'].sum())} churned: to learn or to judge it "
            "takes both kinds; load more history or set another churn.horizon_days in training.yaml"
        )
    return part


def rows_of(frame: pd.DataFrame, names: Sequence[str]) -> Rows:
    """The features as (n, n_features)."""
    return frame[list(names)].to_numpy(dtype=np.float64)


def inputs(known: pd.DataFrame, table: Spells, names: tuple[str, ...], horizon: float) -> Inputs:
    """What both models learn from.

    Args:
        known: rows of members at cut-offs, as `known_of` gives them.
        table: horizons and what came within them, for these rows.
        names: the features to use.
        horizon: the programme's, in days.
    """
    told = known if set(NEEDED) <= set(names) else known.assign(**dict.fromkeys(NEEDED, 0.0))
    rhythm = rhythm_of(told)
    logs = tuple(name for name in LOGS if name in names)
    own = rhythm.terms(rows_of(told, NEEDED)[table.row], table.days)
    terms = np.concatenate((np.log1p(np.fmax(rows_of(known, logs)[table.row], 0.0)), own), axis=1)
    u = np.log(table.days / horizon)
    added = np.stack((own[:, 0], own[:, -1], table.days), axis=1)
    return Inputs(
        names,
        logs,
        rhythm,
        terms,
        np.concatenate((rows_of(known, names)[table.row], added), axis=1),
        table.days,
        u,
        table.silent,
        table.member,
        table.days == horizon,
        _weight(table.row, u),
    )


_NEAR, _FAR = 0.5, 0.1


def _weight(row: NDArray[np.intp], u: Rows) -> Rows:
    """A member at a cut-off speaks in full at the horizon nearest to the programme's of those known of them.

    The others count e^(−|u| / `_NEAR`) of it, at least `_FAR`: they shape the curve without drowning it.
    """
    near = np.exp(-np.abs(u) / _NEAR)
    nearest = np.zeros(int(row.max(initial=-1)) + 1)
    np.maximum.at(nearest, row, near)
    return np.maximum(near / nearest[row], _FAR)


def rhythm_of(known: pd.DataFrame) -> Rhythm:
    """BG/NBD of the members at the youngest cut-off; four numbers, so whose they are does not matter."""
    youngest = known[known["at"] == known["at"].max()]
    baskets, recency, age = np.round(np.nan_to_num(rows_of(youngest, NEEDED)[:: len(youngest) // _MEMBERS + 1])).T
    repeats, age = np.maximum(baskets - 1.0, 0.0), np.maximum(age, recency)
    if not age.any():
        return Rhythm(1.0, 1.0, 1.0, 1.0)  # nothing to tell members apart by
    found = bgnbd.fit(bgnbd.Habits.of(repeats, np.where(repeats > 0, age - recency, 0.0), age))
    return Rhythm(found.r, found.alpha, found.a, found.b)
