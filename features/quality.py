"""How complete and how fresh the tables are, and what was set aside on the way into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd

from features.tables import TABLES


@dataclass(frozen=True, slots=True)
class TableState:
    """One typed table as it lies there."""

    name: str
    rows: int
    first: datetime | None
    """When the oldest row happened; None for a table without rows."""
    last: datetime | None
    delay_days: float
    """Days from happening to being known, for the slowest twentieth of the rows at least; NaN without rows."""

    def age_days(self, now: datetime) -> float:
        """Days since its newest row happened; NaN without rows."""
        return (now - self.last).total_seconds() / 86_400 if self.last else float("nan")


def tables(folder: Path) -> Iterator[TableState]:
    """Every typed table that is there."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name in TABLES:
            file = folder / f"{name}.parquet"
            if file.exists():
                row = connection.execute(_STATE, {"file": str(file)}).fetchone()
                assert row is not None
                rows, first, last, delay = row
                yield TableState(name, rows, _moment(first), _moment(last), float("nan") if delay is None else delay)


_STATE = """
select count(*), epoch_us(min(occurred_at)), epoch_us(max(occurred_at)),
    quantile_cont((epoch_us(known_at) - epoch_us(occurred_at)) / 8.64e10, 0.95)
from read_parquet($file)
"""


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else datetime.fromtimestamp(microseconds / 1e6, UTC)


def set_aside(quarantine: Path) -> pd.DataFrame:
    """How many cells were at fault in all loads: columns `file`, `column`, `rule`, `rows`, most rows first."""
    columns = ["file", "column", "rule"]
    parts = [pd.read_csv(path, usecols=columns, dtype=str) for path in sorted(quarantine.glob("*.csv"))]
    every = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype=str)
    counted = every.groupby(columns, dropna=False).size().rename("rows").reset_index()
    return counted.sort_values(["rows", "rule"], ascending=[False, True], ignore_index=True)
