"""Rows to learn silences from: a member at a cut-off, a horizon, and whether nothing was bought within it.

Every member at every cut-off gives the programme's horizon, where it is closed, and some others by lot from a fixed
ladder, each no longer than what is known to have followed. So one model learns all horizons, and cut-offs too young for
the long ones still teach the short ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LADDER = (1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365)
"""Days. What is longer than any closed horizon of the history is left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Spells:
    """One row for each member, cut-off and horizon."""

    row: NDArray[np.intp]
    """(n,): position in the frame."""
    days: NDArray[np.float64]
    """(n,): the horizon."""
    silent: NDArray[np.bool_]
    """(n,): nothing was bought within it."""
    member: NDArray[np.intp]
    """(n,): the member by number; the same at several cut-offs."""

    def where(self, keep: NDArray[np.bool_]) -> Spells:
        """Only these rows."""
        return Spells(self.row[keep], self.days[keep], self.silent[keep], self.member[keep])

    def __len__(self) -> int:
        return len(self.row)


def spells(frame: pd.DataFrame, horizon: float, others: int, most: int, rng: np.random.Generator) -> Spells:
    """Rows from `frame`.

    Args:
        frame: member_id, next_days (NaN where nothing is known to have followed) and followed_days.
        horizon: days; every row of the frame that was followed for so long gives it.
        others: how many horizons of the ladder each row of the frame gives beside it, at most.
        most: rows in all; where there are more, as many as this are drawn by lot.
        rng: the lot.
    """
    followed, waited = frame["followed_days"].to_numpy(np.float64), frame["next_days"].to_numpy(np.float64)
    member = pd.factorize(frame["member_id"], sort=True)[0]
    ladder = days_learned(followed, horizon)
    drawn = ladder[rng.integers(len(ladder), size=(len(frame), others))] if len(ladder) else np.empty((len(frame), 0))
    wanted = np.concatenate((np.full((len(frame), 1), float(horizon)), drawn), axis=1)
    wanted.sort(axis=1)
    fresh = np.concatenate((np.ones((len(frame), 1), bool), np.diff(wanted, axis=1) > 0), axis=1)
    row, column = np.nonzero(fresh & (wanted <= followed[:, None] + _ROUNDING))
    if len(row) > most:
        kept = np.sort(rng.choice(len(row), most, replace=False))
        row, column = row[kept], column[kept]
    days = wanted[row, column]
    return Spells(row, days, ~(waited[row] <= days), member[row].astype(np.intp))


_ROUNDING = 1e-6


def days_learned(followed: NDArray[np.float64], horizon: float) -> NDArray[np.float64]:
    """Steps of the ladder that some row was followed for, without the horizon itself; ascending.

    Nothing longer than twice the horizon: few cut-offs know of it, and they are the oldest.
    """
    longest = min(2.0 * horizon, float(followed.max(initial=0.0)) + _ROUNDING)
    return np.array([step for step in LADDER if step <= longest and step != horizon], np.float64)
