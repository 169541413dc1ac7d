"""What a member holds by the tables, for redemptions: read from the table of points when somebody redeems."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from features import history
from features.border import finish
from features.ledger.burns import EVENT, settled
from features.ledger.redeeming import Lot, lots_from
from features.table_files import as_arrow, table_path
from features.tables import POINTS

TRIES = 5


class MovingError(RuntimeError):
    """The tables were replaced again and again while they were read."""


class Held(NamedTuple):
    """A member's points by the tables, and how far the tables go."""

    lots: tuple[Lot, ...]
    watermark: int
    """The position of the journal that the tables contain."""
    known: frozenset[str]
    """Events among the rows: while tables are replaced they are ahead of their position for a moment."""


Row = tuple[str, float, datetime, datetime | None]
_COLUMNS = ["entry_id", "type", "source", "lot_id", "points", "occurred_at", "expires_at"]


def held(tables: Path, ids: tuple[str, ...], at: datetime) -> Held:
    """What the member with these ids holds at a moment.

    Raises:
        MovingError: no two looks at the tables agreed; try again.
    """
    path = table_path(tables, "points")
    for _ in range(TRIES):
        before = _mark(tables, path)
        rows, known = _rows(path, ids, before)
        if _mark(tables, path) == before:
            return Held(lots_from(rows, at), before[0], known)
    raise MovingError("the tables are being replaced; try again in a second")


Mark = tuple[int, str, int]


def _mark(tables: Path, path: Path) -> Mark:
    """Position, tables, and which file it is."""
    inode = path.stat().st_ino if path.exists() else 0
    return history.watermark(tables) or 0, history.fingerprint(tables), inode


@lru_cache(maxsize=4096)
def _rows(path: Path, ids: tuple[str, ...], _: Mark) -> tuple[tuple[Row, ...], frozenset[str]]:
    """Entries in the order of time, and the events among them; kept as long as the tables stay what they are."""
    if not path.exists():
        return (), frozenset()
    found = pq.read_table(path, filters=[("member_id", "in", list(ids))])
    rows = sorted(found.select(_COLUMNS).to_pylist(), key=lambda row: (row["occurred_at"], row["entry_id"]))
    known = frozenset(row["entry_id"] for row in rows if row["source"] == EVENT)
    issued = {row["lot_id"] for row in rows if row["type"] in ("earn", "adjust")}
    if any(row["lot_id"] not in issued for row in rows):
        frame = finish(found.to_pandas(), POINTS)
        frame = settled(frame, frame["occurred_at"].max()).sort_values(["occurred_at", "entry_id"])
        rows = as_arrow(frame, POINTS).select(_COLUMNS).to_pylist()
    return tuple((row["lot_id"], row["points"], row["occurred_at"], row["expires_at"]) for row in rows), known
