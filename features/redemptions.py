"""Redeemed points, taken from a member's lots first in, first out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from features.border import finish
from features.tables import POINTS

_LAW_ORDER = {"earn": 0, "adjust": 1, "reverse": 2, "expire": 3}


@dataclass(slots=True)
class _Lot:
    lot_id: str
    expires_at: Any
    left: float


def spend_first_in_first_out(entries: pd.DataFrame, redemptions: pd.DataFrame) -> pd.DataFrame:
    """Put redemptions into a ledger that has none; later reversals and expiries of a lot shrink to what it still holds.

    The lot that was earned first is used first. A redemption gives one entry for each lot it draws on, with the id
    `redeem:<entry_id>:<lot_id>`; what exceeds the points there are is left out.

    Args:
        entries: The table of points, without redemptions.
        redemptions: Columns `entry_id, member_id, points` (> 0), `occurred_at, known_at`.

    Returns:
        The whole ledger, sorted by member, time and entry.
    """
    touched = entries["member_id"].isin(redemptions["member_id"])
    redeems = redemptions.assign(type="redeem", lot_id=None, source="derived")
    mixed = pd.concat([entries[touched], redeems], ignore_index=True)
    mixed["order"] = mixed["type"].map(_LAW_ORDER).fillna(4)
    mixed = mixed.sort_values(["member_id", "occurred_at", "order", "entry_id"])
    rows = [row for _, ledger in mixed.groupby("member_id", sort=True) for row in _replayed(ledger.to_dict("records"))]
    parts = [entries[~touched], *([pd.DataFrame(rows)] if rows else [])]
    everything = pd.concat(parts, ignore_index=True).sort_values(["member_id", "occurred_at", "entry_id"])
    return finish(everything, POINTS)


def _replayed(ledger: list[dict[Any, Any]]) -> Iterator[dict[Any, Any]]:
    """One member's entries in the order of time, redemptions spread over the lots, nothing below zero."""
    lots: dict[str, _Lot] = {}
    for entry in ledger:
        if entry["type"] == "redeem":
            yield from _drawn(entry, lots)
        elif entry["points"] > 0:
            lot = lots.setdefault(entry["lot_id"], _Lot(entry["lot_id"], entry["expires_at"], 0.0))
            lot.left += entry["points"]
            yield entry
        else:
            yield from _shrunk(entry, lots)


def _drawn(entry: dict[Any, Any], lots: dict[str, _Lot]) -> Iterator[dict[Any, Any]]:
    wanted = entry["points"]
    for lot in lots.values():
        taken = min(wanted, lot.left)
        if taken > 0:
            lot.left -= taken
            wanted -= taken
            own_id = f"redeem:{entry['entry_id']}:{lot.lot_id}"
            yield entry | {"entry_id": own_id, "points": -taken, "lot_id": lot.lot_id, "expires_at": lot.expires_at}


def _shrunk(entry: dict[Any, Any], lots: dict[str, _Lot]) -> Iterator[dict[Any, Any]]:
    lot = lots.get(entry["lot_id"])
    taken = min(-entry["points"], lot.left if lot else 0.0)
    if lot and taken > 0:
        lot.left -= taken
        yield entry | {"points": -taken}
