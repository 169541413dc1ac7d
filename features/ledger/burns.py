"""Ledgers with redemptions: from rows to movements, through the book, and back to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from features.border import finish
from features.ledger.book import Movement, play
from features.table_files import as_arrow, read_frame, replacing
from features.tables import POINTS

DERIVED = "derived"
EVENT = "event"
"""The `source` of entries that the service was told of."""

_BURNS = "inferred/burns.parquet"
_WISH = ("entry_id", "member_id", "points", "occurred_at", "known_at", "restores")


def remember(tables_dir: Path, points: pd.DataFrame) -> pd.DataFrame:
    """The redemptions that events told of, those of earlier times included, kept beside the tables.

    Spreading a redemption over lots takes the place of the row it came with; the file holds the rows as they came.

    Returns:
        Columns `entry_id, member_id, points` (> 0), `occurred_at, known_at` and `restores`: the redemption that a row
        rolls back, null where it is one.
    """
    path = tables_dir / _BURNS
    new = points[(points["source"] == EVENT) & (points["type"] == "redeem")]
    if new.empty and not path.exists():
        return _wishes(new)
    old = read_frame(path, [column.name for column in POINTS.columns]) if path.exists() else new[:0]
    rows = finish(pd.concat([new, old]).drop_duplicates("entry_id").sort_values("entry_id"), POINTS)
    if len(rows) > len(old):
        with replacing(path) as tmp:
            pq.write_table(as_arrow(rows, POINTS), tmp)
    return _wishes(rows)


def _wishes(rows: pd.DataFrame) -> pd.DataFrame:
    restores = rows["lot_id"].where(rows["points"] > 0, None)
    return rows.assign(points=rows["points"].abs(), restores=restores)[list(_WISH)]


def movements(
    lots: pd.DataFrame, changes: pd.DataFrame, redemptions: pd.DataFrame | None, given: pd.DataFrame | None
) -> Mapping[str, list[Movement]]:
    """What each member's book is to carry out.

    Args:
        lots: Columns `member_id, kind, entry_id, points, lot_id, expires_at, at, known_at`.
        changes: The same columns, for what returns take back.
        redemptions: As `features.points.derive` takes them.
        given: Rows of the table of points that came from elsewhere.
    """
    frames = [lots, changes]
    if redemptions is not None and len(redemptions):
        restores = redemptions["restores"] if "restores" in redemptions else pd.Series(None, index=redemptions.index)
        kind = restores.isna().map({True: "redeem", False: "restore"})
        frames.append(
            redemptions.assign(
                kind=kind, restores=restores, lot_id=None, expires_at=None, at=redemptions["occurred_at"]
            )
        )
    if given is not None and len(given):
        frames.append(given.assign(kind=given["type"], at=given["occurred_at"]))
    found: dict[str, list[Movement]] = {}
    for frame in frames:
        for row in frame.to_dict("records"):
            found.setdefault(str(row["member_id"]), []).append(movement(row))
    return found


def movement(row: Mapping[Any, Any]) -> Movement:
    """One row with `kind` and `at` as a movement; missing values become None."""
    lot, expires, restores, share = (row.get(name) for name in ("lot_id", "expires_at", "restores", "share"))
    return Movement(
        kind=row["kind"],
        entry_id=row["entry_id"],
        at=row["at"],
        known_at=row["known_at"],
        points=row["points"],
        lot_id=None if pd.isna(lot) else lot,
        expires_at=None if pd.isna(expires) else expires,
        restores=None if pd.isna(restores) else restores,
        share=None if pd.isna(share) else share,
    )


def played(
    entries: pd.DataFrame, by_member: Mapping[str, Sequence[Movement]], upto: datetime, outside: frozenset[str]
) -> pd.DataFrame:
    """The entries of all members, those in `by_member` from their book; sorted by member, time and entry.

    Args:
        entries: Of the members who need no book.
        by_member: The movements of the others.
        upto: Until when the books are kept.
        outside: Ids of entries that are left out, because they lie elsewhere already.
    """
    rows = [
        {**entry, "member_id": member, "source": DERIVED}
        for member, moves in by_member.items()
        for entry in play(moves, upto).entries
        if entry["entry_id"] not in outside
    ]
    everything = pd.concat([entries, finish(pd.DataFrame(rows), POINTS)] if rows else [entries], ignore_index=True)
    return finish(everything.sort_values(["member_id", "occurred_at", "entry_id"]), POINTS)


def settled(entries: pd.DataFrame, upto: datetime) -> pd.DataFrame:
    """A ledger in which every redemption names the lots it came from.

    A redemption that the service was told of lies in a lot of its own until the ledger is computed anew; here it is
    taken from the member's lots that expire soonest. Rows of members without such redemptions stay as they are.

    Args:
        entries: The table of points.
        upto: Lots that expire after this moment are still open.
    """
    issued = entries["type"].isin(["earn", "adjust"])
    orphans = frozenset(entries["lot_id"]) - frozenset(entries.loc[issued, "lot_id"])
    if not orphans:
        return entries
    concerned = entries["member_id"].isin(entries.loc[entries["lot_id"].isin(orphans), "member_id"])
    some = entries[concerned & (entries["type"] != "expire")]
    free = some["lot_id"].isin(orphans)
    back = (some["type"] == "redeem") & (some["points"] > 0)
    moves = some.assign(
        kind=some["type"].where(~back, "adjust").where(~(back & free), "restore"),
        restores=some["lot_id"].where(back & free, None),
        at=some["occurred_at"],
        lot_id=some["lot_id"].where(~free, None),
        points=some["points"].where(some["type"].isin(["earn", "adjust"]), some["points"].abs()),
    )
    by_member = {
        str(name): [movement(row) for row in rows.to_dict("records")] for name, rows in moves.groupby("member_id")
    }
    return played(entries[~concerned], by_member, upto, frozenset())
