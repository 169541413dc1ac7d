"""Training frames: which members at which cut-offs, and what became of them.

A cut-off is a moment in the past. Features know only what was known then; the label looks at the horizon that follows.
A label window never overlaps the slice on which something is chosen later: see `cuts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd

_WARM_UP_DAYS = 30
"""A cut-off this close to the first purchase has nothing behind it."""


class HistoryTooShortError(ValueError):
    """There is not enough history to learn at one time and to judge at a later one."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Cut-offs of one fit: trees learn at `learn`, probabilities are calibrated at the later `calibrate`."""

    learn: tuple[datetime, ...]
    calibrate: datetime

    @property
    def every(self) -> tuple[datetime, ...]:
        """All of them, oldest first."""
        return (*self.learn, self.calibrate)


def cuts(at: datetime, begins: datetime, horizon_days: int, count: int, every_days: int) -> Cuts:
    """Cut-offs for a model that stands at `at`: every label window is closed by then.

    `calibrate` is one horizon before `at`, the youngest of `learn` one horizon before that, the others every
    `every_days` earlier, at most `count`. No label that trees learn from
    overlaps the window they are calibrated on.

    Raises:
        HistoryTooShortError: there is no room for even one cut-off to learn at.
    """
    horizon = timedelta(days=horizon_days)
    first = begins + timedelta(days=_WARM_UP_DAYS)
    calibrate = at - horizon
    wanted = [calibrate - horizon - timedelta(days=every_days * i) for i in range(count)]
    learn = tuple(sorted(moment for moment in wanted if moment >= first))
    if not learn:
        days = max(0, (at - begins).days)
        raise HistoryTooShortError(
            f"a horizon of {horizon_days} days needs {2 * horizon_days + _WARM_UP_DAYS} days of history, there are "
            f"{days} (from {begins:%Y-%m-%d} on); load more history or set churn.horizon_days to at most "
            f"{max(1, (days - _WARM_UP_DAYS) // 2)} in training.yaml"
        )
    return Cuts(learn, calibrate)


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
        Columns member_id, at, churned (no purchase within the horizon), sorted by at, member_id.
    """
    counted = _counted(tables, ats, horizon_days, known_by)
    recent = counted["last_us"] > counted["at_us"] - max_lapse_days * _DAY
    frame = counted[recent].sort_values(["at_us", "member_id"], ignore_index=True)
    return pd.DataFrame(
        {
            "member_id": frame["member_id"].astype(str),
            "at": _times(frame["at_us"]),
            "churned": (frame["after"] == 0).to_numpy(dtype=bool),
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
  count(*) filter (where occurred_us > at_us and occurred_us <= at_us + $horizon and known_us <= $known_by) as after
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


def _times(microseconds: pd.Series) -> pd.Series:
    return pd.to_datetime(microseconds, unit="us", utc=True).astype("datetime64[us, UTC]")
