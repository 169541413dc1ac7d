"""From tables to what the surrogate index needs: members at moments of the past, what followed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.entities import Programme
from features.learned.effects import Effects
from training import frames, lifetime_frames
from training.challengers import Task
from training.effects.config import EffectConfig
from training.effects.inputs import Floats
from training.effects.later import LaterStory, Past, learn_later
from training.effects.units import Found

YEAR_DAYS = 365
"""From the decision on; what the own window brings is another line of the bill."""
_WARM_UP_DAYS, _SHORTEST_DAYS = 90, 90
_CUTS = 4
_LEAST, _MOST = 2, 4
"""Reward windows that a decision is followed after its own."""
_DAY_US = 86_400e6


class HistoryTooShortError(ValueError):
    """There is no past long enough to say what follows a window."""


def later(task: Task, found: Found, names: tuple[str, ...], config: EffectConfig) -> tuple[Effects, LaterStory, int]:
    """What candidates change after their window, what was found, and the days from a decision to the horizon.

    Raises:
        HistoryTooShortError: the history is shorter than a season and what it takes to know members.
    """
    window = task.config.response.window_days
    days = _horizon(task, window)
    margins = Margins(task.ws.tables, task.programme)
    begins = frames.begins(task.ws.tables)
    first, last = begins + timedelta(days=_WARM_UP_DAYS), task.at - timedelta(days=days)
    cuts = [(first + (last - first) * step / (_CUTS - 1)).replace(microsecond=0) for step in range(_CUTS)]
    parts = [_at_cut(task, margins, cut, (window, days), names, config) for cut in cuts]
    past = Past(*(np.concatenate([part[column] for part in parts]) for column in range(3)))
    whole = np.floor((task.at.timestamp() * 1e6 - found.at_us) / (window * _DAY_US)) - 1
    many = np.where(whole >= _LEAST, np.minimum(whole, _MOST), 0)
    followed = _windows(margins, found.who, found.at_us, window, many)
    form, story = learn_later(found.units, followed, past, names, found.arms, config)
    return form, story, days


def _windows(margins: Margins, who: NDArray[np.object_], at_us: Floats, window: int, many: Floats) -> Floats:
    """(n, _MOST): margin of each window after the own one, NaN beyond how many each is followed."""
    starts = at_us[:, None] + np.arange(1, _MOST + 1) * window * _DAY_US
    columns = [margins.between(who, start, start + window * _DAY_US) for start in starts.T]
    return np.where(np.arange(_MOST) < many[:, None], np.column_stack(columns), np.nan)


def _horizon(task: Task, window: int) -> int:
    there = (task.at - frames.begins(task.ws.tables)).days
    days = min(YEAR_DAYS, there - _WARM_UP_DAYS - _CUTS)
    if days < max(_SHORTEST_DAYS, (_MOST + 2) * window):
        raise HistoryTooShortError(
            f"what follows a reward window: {there} days of history, {_SHORTEST_DAYS + _WARM_UP_DAYS + _CUTS} are "
            "needed; the lifetime line stays 0 until there is more"
        )
    return days


def _at_cut(
    task: Task, margins: Margins, cut: datetime, lengths: tuple[int, int], names: tuple[str, ...], config: EffectConfig
) -> tuple[Floats, Floats, Floats]:
    window, days = lengths
    begins = cut.timestamp() * 1e6
    who = margins.known(begins)
    rng = np.random.default_rng(config.seed)
    most = max(config.most // _CUTS, 1)
    if len(who) > most:
        who = np.sort(rng.choice(who, most, replace=False))
    at = np.full(len(who), begins)
    many = rng.integers(_LEAST, _MOST + 1, len(who)).astype(np.float64)
    rest = margins.between(who, at + (1 + many) * window * _DAY_US, at + days * _DAY_US)
    return _features(task, who, at, names), _windows(margins, who, at, window, many), rest


def _features(task: Task, who: NDArray[np.object_], at_us: Floats, names: tuple[str, ...]) -> Floats:
    """(n, f), as known at each moment."""
    moments = pd.to_datetime(at_us.astype(np.int64), unit="us", utc=True).astype("datetime64[us, UTC]")
    pairs = pd.DataFrame({"member_id": who, "at": moments})
    told = pairs.merge(task.features(pairs.drop_duplicates(ignore_index=True)), on=["member_id", "at"], how="left")
    found: Floats = told[list(names)].to_numpy(np.float64)
    return found


class Margins:
    """Net margin of every line, ready to be summed over any stretch of any member's time."""

    def __init__(self, tables: Path, programme: Programme) -> None:
        lines = lifetime_frames.lines(tables, programme)
        at = lines["occurred_at"].astype("datetime64[us, UTC]").astype("int64").to_numpy(np.float64)
        self._members, code = np.unique(lines["member_id"].to_numpy(object), return_inverse=True)
        order = np.lexsort((at, code))
        self._code, self._at = code[order], at[order]
        self._sum = np.concatenate(([0.0], np.cumsum(lines["amount"].to_numpy(np.float64)[order])))
        self._first = np.searchsorted(self._code, np.arange(len(self._members) + 1))

    def known(self, at_us: float) -> NDArray[np.object_]:
        """Who had bought by then."""
        earliest = self._at[self._first[:-1]]
        found: NDArray[np.object_] = self._members[earliest <= at_us]
        return found

    def between(self, who: NDArray[np.object_], begins_us: Floats, ends_us: Floats) -> Floats:
        """(n,): margin after one moment up to another; 0 for whoever bought nothing."""
        place = np.clip(np.searchsorted(self._members, who), 0, max(len(self._members) - 1, 0))
        there = self._members[place] == who if len(self._members) else np.zeros(len(who), np.bool_)
        low, high = (self._upto(place, moment) for moment in (begins_us, ends_us))
        return np.where(there, self._sum[high] - self._sum[low], 0.0)

    def _upto(self, place: NDArray[np.int64], at_us: Floats) -> NDArray[np.int64]:
        """Lines of each member up to a moment, as a place in the running sum."""
        base = self._at.min(initial=0.0)
        span = self._at.max(initial=1.0) - base + 2.0
        keys = self._code * span + (self._at - base)
        asked = place * span + np.clip(at_us - base, -0.5, span - 1.0)
        found: NDArray[np.int64] = np.searchsorted(keys, asked, side="right")
        return found
