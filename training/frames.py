"""Training frames: which members at which cut-offs, and what became of them.

A cut-off is a moment in the past. Features know only what was known then; labels look at what followed, up to the time
at which the model stands. What is chosen with labels is chosen on members whose labels were not learned from, and what
a model is worth is judged at a cut-off at which it could have stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

_WARM_UP_DAYS = 30
"""A cut-off this close to the first purchase has nothing behind it."""
_SHORTEST = timedelta(days=7)
"""A cut-off that less follows teaches nothing."""


class HistoryTooShortError(ValueError):
    """There is not enough history to learn at one time and to judge at a later one."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Cut-offs of one fit: the whole horizon after `learn` and `calibrate` is known, after `recent` a part of it."""

    learn: tuple[datetime, ...]
    calibrate: datetime
    """The youngest whose horizon is closed."""
    recent: tuple[datetime, ...] = ()
    """Younger ones: what is known of them teaches shorter horizons."""

    @property
    def every(self) -> tuple[datetime, ...]:
        """All of them, oldest first."""
        return (*self.learn, self.calibrate, *self.recent)


def cuts(at: datetime, begins: datetime, horizon_days: int, count: int, every_days: int) -> Cuts:
    """Cut-offs for a model that stands at `at`.

    `calibrate` is one horizon before `at`, those of `learn` every `every_days` earlier, at most `count`; those of
    `recent` lie as far apart between `calibrate` and `at`, at most 2.

    Raises:
        HistoryTooShortError: there is no room for a cut-off to learn at beside the one to calibrate at.
    """
    horizon, step = timedelta(days=horizon_days), timedelta(days=every_days)
    first = begins + timedelta(days=_WARM_UP_DAYS)
    calibrate = at - horizon
    learn = tuple(moment for i in range(count, 0, -1) if (moment := calibrate - i * step) >= first)
    if not learn:
        days, need = max(0, (at - begins).days), _WARM_UP_DAYS + every_days
        raise HistoryTooShortError(
            f"a horizon of {horizon_days} days needs {horizon_days + need} days of history before the time at which a "
            f"model stands, there are {days} (from {begins:%Y-%m-%d} on); load more history or set churn.horizon_days "
            f"to at most {max(1, days - need)} in training.yaml"
        )
    recent = tuple(moment for i in (1, 2) if (moment := calibrate + i * step) < at - _SHORTEST)
    return Cuts(learn, calibrate, recent)


def begins(tables: Path) -> datetime:
    """When the first purchase of this history happened.

    Raises:
        HistoryTooShortError: nobody has bought anything.
    """
    file = tables / "purchases.parquet"
    row = _query("select epoch_us(min(occurred_at)) from read_parquet($file)", file=str(file)) if file.exists() else []
    if not row or row[0][0] is None:
        raise HistoryTooShortError(f"{file.name}: no purchase in it; load a history first (`tessera ingest`)")
    return datetime.fromtimestamp(row[0][0] / 1e6, UTC)


def labelled(
    tables: Path, ats: Sequence[datetime], horizon_days: int, max_lapse_days: int, known_by: datetime | None = None
) -> pd.DataFrame:
    """Who could churn at each cut-off, and who did.

    Eligible is who had bought at all, and within `max_lapse_days` before the cut-off, as known then: those who have
    been gone for longer are lapsed already, and a model would only be praised for saying so.

    Args:
        tables: folder of the typed tables.
        ats: the cut-offs.
        horizon_days: buying nothing for this long is churn.
        max_lapse_days: see above.
        known_by: labels rest on what was known by then; None takes all that is known.

    Returns:
        Columns member_id, at, churned (no purchase within the horizon), next_days (to the next purchase, NaN where
        none is known), followed_days (for how long what followed is known; ∞ with `known_by` None), sorted by at,
        member_id.
    """
    counted = _counted(tables, ats, horizon_days, known_by)
    recent = counted["last_us"] > counted["at_us"] - max_lapse_days * _DAY
    frame = counted[recent].sort_values(["at_us", "member_id"], ignore_index=True)
    return pd.DataFrame(
        {
            "member_id": frame["member_id"].astype(str),
            "at": _times(frame["at_us"]),
            "churned": (frame["after"] == 0).to_numpy(dtype=bool),
            "next_days": (frame["next_us"] - frame["at_us"]).to_numpy(dtype=np.float64) / _DAY,
            "followed_days": np.full(len(frame), np.inf) if known_by is None else _until(frame["at_us"], known_by),
        }
    )


def denominators(tables: Path, ats: Sequence[datetime], horizon_days: int, max_lapse_days: int) -> pd.DataFrame:
    """How many members stand behind each cut-off.

    Returns:
        One row per cut-off: at, bought_before (members), lapsed (of these, left out), eligible, churned, churn_rate.
    """
    counted = _counted(tables, ats, horizon_days)
    counted["eligible"] = counted["last_us"] > counted["at_us"] - max_lapse_days * _DAY
    counted["churned"] = counted["eligible"] & (counted["after"] == 0)
    table = counted.groupby("at_us", sort=True).agg(
        bought_before=("member_id", "size"), eligible=("eligible", "sum"), churned=("churned", "sum")
    )
    table.insert(1, "lapsed", table["bought_before"] - table["eligible"])
    table["churn_rate"] = table["churned"] / table["eligible"]
    table.insert(0, "at", _times(table.index.to_series()))
    return table.reset_index(drop=True)


_DAY = 86_400_000_000

_COUNTED = """
with baskets as (
  select distinct member_id, epoch_us(occurred_at) as occurred_us, epoch_us(known_at) as known_us
  from read_parquet($file) where quantity > 0
), cut as (select unnest($ats::bigint[]) as at_us)
select member_id, at_us,
  max(occurred_us) filter (where occurred_us <= at_us and known_us <= at_us) as last_us,
  count(*) filter (where occurred_us > at_us and occurred_us <= at_us + $horizon and known_us <= $known_by) as after,
  min(occurred_us) filter (where occurred_us > at_us and known_us <= $known_by) as next_us
from baskets cross join cut
group by member_id, at_us
having last_us is not null
"""
"""A return is no purchase. The label may know what arrived late; who was eligible may not."""
_FOREVER = 2**62


def _counted(
    tables: Path, ats: Sequence[datetime], horizon_days: int, known_by: datetime | None = None
) -> pd.DataFrame:
    values = {
        "file": str(tables / "purchases.parquet"),
        "ats": [round(moment.timestamp() * 1e6) for moment in ats],
        "horizon": horizon_days * _DAY,
        "known_by": _FOREVER if known_by is None else round(known_by.timestamp() * 1e6),
    }
    with duckdb.connect() as connection:
        frame: pd.DataFrame = connection.execute(_COUNTED, values).df()
    return frame


def _query(sql: str, **values: object) -> list[tuple[int | None, ...]]:
    with duckdb.connect() as connection:
        rows: list[tuple[int | None, ...]] = connection.execute(sql, values).fetchall()
    return rows


def _until(at_us: pd.Series, known_by: datetime) -> NDArray[np.float64]:
    return (known_by.timestamp() * 1e6 - at_us.to_numpy(dtype=np.float64)) / _DAY


def _times(microseconds: pd.Series) -> pd.Series:
    return pd.to_datetime(microseconds, unit="us", utc=True).astype("datetime64[us, UTC]")
