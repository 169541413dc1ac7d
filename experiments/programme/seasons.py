"""Seasons as a clock: shopping runs in operational time, which passes faster in December, on Saturdays, after work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from experiments.programme.chance import Floats, Whole

_WEEK = np.array(
    [
        [0.9, 0.9, 0.9, 1.0, 1.3, 1.3, 0.7],
        [1.2, 1.1, 1.1, 1.1, 1.2, 0.8, 0.5],
        [0.5, 0.5, 0.5, 0.6, 1.1, 2.2, 1.6],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ]
)
"""Four kinds of week, from Monday: all-round, weekday, weekend, steady."""
_PEAK_HOUR = np.array([17.5, 10.0, 11.5, 20.0])
_FINE = 96
"""Steps per operational day of the inverse."""


@dataclass(frozen=True, slots=True)
class Seasons:
    """Real days ↔ operational days, for each of four kinds of week; both are 0 at the start of the history."""

    forward: Floats
    """(4, hours + 1)"""
    inverse: Floats
    """(4, operational steps)"""


def seasons(days: int, ends_at: datetime) -> Seasons:
    """The clock of a history of `days` that ends at `ends_at`."""
    start = ends_at - timedelta(days=days)
    hours = np.arange(days * 24)
    first = start.hour + start.minute / 60
    hour = (hours + first) % 24
    weekday = ((hours + first) // 24).astype(np.int64) + start.weekday()
    day_of_year = (start.timetuple().tm_yday + hours / 24) % 365.25
    year = 1 + 0.08 * np.cos(2 * np.pi * (day_of_year - 345) / 365.25)
    year += 0.35 * np.exp(-(((day_of_year - 346) / 9) ** 2)) - 0.12 * np.exp(-(((day_of_year - 218) / 14) ** 2))
    week = _WEEK / _WEEK.mean(axis=1, keepdims=True)
    day = np.exp(-(((hour[None, :] - _PEAK_HOUR[:, None]) / 3.5) ** 2)) + 0.01
    day /= day.sum(axis=1, keepdims=True) / days
    forward = np.zeros((len(week), len(hours) + 1))
    np.cumsum(week[:, weekday % 7] * day * year, axis=1, out=forward[:, 1:])
    steps = np.arange(int(forward.max() * _FINE) + 2) / _FINE
    inverse = np.stack([np.interp(steps, row, np.arange(len(hours) + 1) / 24) for row in forward])
    return Seasons(forward, inverse)


def operational(clock: Seasons, kind: Whole, at: Floats) -> Floats:
    """Operational days at real days `at`, which lies inside the history."""
    return _lerp(clock.forward, kind, at * 24)


def real(clock: Seasons, kind: Whole, at: Floats) -> Floats:
    """Real days at operational days `at`, which lies inside the history."""
    return _lerp(clock.inverse, kind, at * _FINE)


def _lerp(table: Floats, kind: Whole, position: Floats) -> Floats:
    low = np.clip(position.astype(np.int64), 0, table.shape[1] - 2)
    left, right = table[kind, low], table[kind, low + 1]
    return left + (right - left) * np.clip(position - low, 0, 1)
