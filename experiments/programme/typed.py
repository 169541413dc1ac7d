"""Arrays to typed tables: days to times, ordinals to ids, what is not given to missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.programme.chance import Flags, Floats, Texts, Whole
from features.tables import TABLES


@dataclass(frozen=True, slots=True)
class Desk:
    """Where papers are written: the history's first moment and its length in days, and chance of its own."""

    starts_at: datetime
    days: float
    rng: np.random.Generator


def starts_at(ends_at: datetime, days: int) -> datetime:
    """When a history of `days` that ends at `ends_at` begins.

    Raises:
        ValueError: If `ends_at` has no timezone or there are no days.
    """
    if ends_at.tzinfo is None:
        raise ValueError(
            f"ends_at={ends_at.isoformat()} has no timezone; give one, e.g. datetime(2026, 1, 1, tzinfo=UTC)"
        )
    if days < 1:
        raise ValueError(f"days={days}: a history lasts at least one day")
    return ends_at - timedelta(days=days)


def typed(name: str, desk: Desk, occurred: Floats, known: Floats, /, **columns: object) -> pd.DataFrame:
    """The table's columns in its order and types; nothing is known before it occurs or after the history ends."""
    when = {
        "occurred_at": times(desk, occurred),
        "known_at": times(desk, np.maximum(occurred, np.minimum(known, desk.days))),
    }
    given = {**columns, **when}
    table = TABLES[name].columns
    frame = pd.DataFrame({c.name: given.get(c.name) for c in table}, index=range(len(occurred)))
    kinds = {"money": "float64", "number": "float64", "time": "datetime64[us, UTC]"}
    return frame.astype({c.name: kinds[c.kind] for c in table if c.kind in kinds})


def times(desk: Desk, at: Floats) -> pd.DatetimeIndex:
    """Days since the start as times, to the second."""
    seconds = round(desk.starts_at.timestamp()) + np.round(at * 86_400).astype(np.int64)
    return pd.DatetimeIndex((seconds * 1_000_000).astype("datetime64[us]")).tz_localize("UTC")


def heard(desk: Desk, at: Floats, late_share: float) -> Floats:
    """When we hear of what occurred: seconds later for most, days later for what a till that was offline sends."""
    soon = desk.rng.uniform(0, 20 / 86_400, len(at))
    late = desk.rng.random(len(at)) < late_share
    return at + np.where(late, desk.rng.exponential(2.5, len(at)), soon)


def numbered(ids: Texts, member: Whole, mark: str, number: Whole) -> Texts:
    """Ids such as `M0000001-B0007`."""
    rows = zip(ids[member].tolist(), number.tolist(), strict=True)
    return words(f"{m}{mark}{i:04d}" for m, i in rows)


def ordinals(group: Whole) -> Whole:
    """0, 1, 2 … within each group, in the order given."""
    return pd.Series(group).groupby(group).cumcount().to_numpy().astype(np.int64)


def words(texts: Iterable[str | None]) -> Texts:
    """An array of texts."""
    listed = list(texts)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def same(text: str | None, size: int) -> Texts:
    """One text many times."""
    return np.full(size, text, dtype=object)


def either(condition: Flags, yes: Texts | str | None, no: Texts | str | None) -> Texts:
    """Texts chosen row by row."""
    array: npt.NDArray[np.object_] = np.empty(len(condition), dtype=object)
    array[:] = no
    array[condition] = yes[condition] if isinstance(yes, np.ndarray) else yes
    return array
