"""Have the members' features changed since models learned from them: which one, how, and since when.

The population stability index of Siddiqi 2006, "Credit Risk Scorecards", over tenths of the baseline and one bin for
missing values: Σ (share now − share then)·ln(share now ÷ share then). Below 0.1 is usual, 0.2 and above is a shift.
Without any change it is about χ²·(1/n + 1/m) with one degree of freedom less than there are bins (Yurdakul 2018), so a
small sample must exceed what chance alone gives 99 times in 100 as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import behavior
from features.entities import Programme

Level = Literal["steady", "watch", "shifted", "broken"]
WATCH, SHIFTED = 0.1, 0.2
BROKEN_MISSING = 0.25
"""A feature that so many more members lack than before, or that is suddenly the same for all, is broken."""
OWN_DOING = frozenset({"offers"})
"""Families that say what the programme itself did: the same for all in a month without a campaign, and not broken."""
ACTIVE_DAYS = 365
_TENTHS = np.linspace(0.0, 1.0, 11)[1:-1]
_HALF = 0.5
"""Added to each count, so that an empty bin has a logarithm."""
_CHANCE = dict(enumerate((0, 0, 6.6, 9.2, 11.3, 13.3, 15.1, 16.8, 18.5, 20.1, 21.7, 23.2)))
"""Bins → the 99th percentile of χ² with one degree of freedom less."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shift:
    """One feature at the last moment beside the baseline."""

    feature: str
    family: str
    level: Level
    since: datetime | None
    """The moment from which on it has been `shifted` or `broken` without a break; None if it is not."""
    psi: float
    chance: float
    """What the index exceeds once in a hundred times where nothing has changed."""
    median_before: float
    median_now: float
    missing_before: float
    """Share of members without a value."""
    missing_now: float

    def sentence(self) -> str:
        """For people: what changed, how, since when."""
        when = f" since {self.since:%Y-%m-%d}" if self.since else ""
        return (
            f"{self.feature} ({self.family}) {self.level}{when}: median {self.median_before:,.4g} became "
            f"{self.median_now:,.4g}, missing {self.missing_before:.0%} became {self.missing_now:.0%}, "
            f"stability index {self.psi:.2f}"
        )


def stability(before: Values, now: Values) -> tuple[float, float]:
    """The population stability index of two samples, and what chance alone gives once in a hundred times.

    >>> same = np.arange(1000.0)
    >>> stability(same, same)[0]
    0.0
    """
    edges = np.unique(np.quantile(before[~np.isnan(before)], _TENTHS)) if (~np.isnan(before)).any() else np.empty(0)
    first, second = (_counts(values, edges) for values in (before, now))
    used = (first + second) > 0
    first, second = first[used] + _HALF, second[used] + _HALF
    one, other = first / first.sum(), second / second.sum()
    index = float(np.sum((other - one) * np.log(other / one)))
    chance = _CHANCE[int(used.sum())] * (1.0 / max(len(before), 1) + 1.0 / max(len(now), 1))
    return index, chance


def _counts(values: Values, edges: Values) -> Values:
    missing = np.isnan(values)
    inside = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
    return np.append(inside, missing.sum()).astype(np.float64)


def shifts(
    baseline: pd.DataFrame, moments: Sequence[tuple[datetime, pd.DataFrame]], families: Mapping[str, Sequence[str]]
) -> tuple[Shift, ...]:
    """Every feature at the last moment beside the baseline, the worst first.

    Args:
        baseline: features of members then, float64 with NaN for missing.
        moments: (moment, features of members at that moment), oldest first; at least one.
        families: family → its features, all of them columns.
    """
    found = []
    for family, names in families.items():
        for name in names:
            before = baseline[name].to_numpy(np.float64)
            found.append(
                _shift(name, family, before, [(at, frame[name].to_numpy(np.float64)) for at, frame in moments])
            )
    order: dict[Level, int] = {"broken": 0, "shifted": 1, "watch": 2, "steady": 3}
    return tuple(sorted(found, key=lambda one: (order[one.level], -one.psi, one.feature)))


def _shift(name: str, family: str, before: Values, moments: Sequence[tuple[datetime, Values]]) -> Shift:
    levels = [_level(before, values, may_rest=family in OWN_DOING) for _, values in moments]
    since: datetime | None = None
    for (at, _), level in zip(reversed(moments), reversed(levels), strict=True):
        if level not in ("shifted", "broken"):
            break
        since = at
    now = moments[-1][1]
    index, chance = stability(before, now)
    return Shift(
        name, family, levels[-1], since, index, chance, _median(before), _median(now), _missing(before), _missing(now)
    )


def _level(before: Values, now: Values, *, may_rest: bool) -> Level:
    same_for_all = not may_rest and _commonest(before) < 0.9 and _commonest(now) > 0.995
    if same_for_all or _missing(now) - _missing(before) >= BROKEN_MISSING:
        return "broken"
    index, chance = stability(before, now)
    if index < max(WATCH, chance):
        return "steady"
    return "shifted" if index >= max(SHIFTED, chance) else "watch"


def _missing(values: Values) -> float:
    return float(np.isnan(values).mean()) if len(values) else 0.0


def _median(values: Values) -> float:
    return float(np.nanmedian(values)) if (~np.isnan(values)).any() else float("nan")


def _commonest(values: Values) -> float:
    """Share of the commonest value among those that are known; 1 where none is."""
    known = values[~np.isnan(values)]
    return float(np.unique(known, return_counts=True)[1].max() / known.size) if known.size else 1.0


def watch(
    tables: Path,
    programme: Programme,
    baseline: Sequence[datetime],
    now: datetime,
    every_days: int = 7,
    most_moments: int = 8,
    members: int = 2000,
) -> tuple[Shift, ...]:
    """The features of active members (who bought within `ACTIVE_DAYS`) at the baseline and every week since.

    Args:
        tables: folder of the typed tables.
        programme: its rules.
        baseline: the moments a model learned at; their members are taken together.
        now: the last moment, after the baseline.
        every_days: between two moments looked at.
        most_moments: looked at, the last ones.
        members: at most so many at each moment, always the same ones.
    """
    moments = sorted(_moments(max(baseline), now, every_days, most_moments))
    names = behavior.names(programme)
    pairs = pd.concat([_active(tables, at, members) for at in sorted({*baseline, *moments})], ignore_index=True)
    found = behavior.historical(tables, pairs, programme)
    of = dict(list(found.groupby("at")[list(names)]))
    empty = found.iloc[:0][list(names)]
    then = pd.concat([of.get(pd.Timestamp(at), empty) for at in baseline], ignore_index=True)
    return shifts(then, [(at, of.get(pd.Timestamp(at), empty)) for at in moments], behavior.by_family(programme))


def _moments(begin: datetime, now: datetime, every_days: int, most: int) -> Iterator[datetime]:
    at = now
    while at > begin and most > 0:
        yield at
        at, most = at - timedelta(days=every_days), most - 1
    if now <= begin:
        yield now


_ACTIVE = """
select member_id from read_parquet($file)
where quantity > 0 and occurred_at <= $at and known_at <= $at and occurred_at > $at - to_days($days)
group by member_id order by hash(member_id), member_id limit $members
"""


def _active(tables: Path, at: datetime, members: int) -> pd.DataFrame:
    file = str(tables / "purchases.parquet")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = connection.execute(_ACTIVE, {"file": file, "at": at, "days": ACTIVE_DAYS, "members": members}).fetchall()
    ids = pd.Series([row[0] for row in rows], dtype="object")
    return pd.DataFrame({"member_id": ids, "at": pd.Series([at] * len(ids), dtype="datetime64[us, UTC]")})
