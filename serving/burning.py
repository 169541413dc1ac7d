"""Points that are redeemed while somebody waits: checked and written in one transaction of the journal's one writer.

A redemption is an event of type `points_burn` that also says from which lots it took, and a roll-back another that
names it. Both are found again by an id that follows from the request, so that asking again is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import apsw
import orjson

from features.ledger.purse import Purse
from features.ledger.redeeming import Draw, Lot, Redemption, Refused, redeem, restore
from serving.journal_rows import BurnRow, Burnt
from serving.sql_rows import as_json

BACK = ".back"
"""What the id of a roll-back adds to that of its redemption."""
_SINCE = "select payload from events where member_id in (select value from json_each(?)) and seq > ? order by seq"


def carry_out(connection: apsw.Connection, row: BurnRow, seq: int) -> Burnt:
    """Redeem or roll back; the caller holds the transaction. `seq` is the position of the event it writes."""
    before = _event(connection, row.redemption_id)
    if row.roll_back:
        return _roll_back(connection, row, before, seq)
    if before is not None:
        if before.get("body_hash") != row.body_hash:
            return Burnt("conflict")
        back = _event(connection, row.redemption_id + BACK)
        return Burnt("redeemed" if back is None else "released", before)
    purse = Purse(row.lots)
    for event in _rows(connection, row):
        _replay(purse, event, row.life_days)
    found = redeem(purse.lots(), row.points, row.rule, row.at, row.cost_per_point)
    if isinstance(found, Refused):
        return Burnt("refused", refused=found)
    event = _written(row, found)
    _insert(connection, seq, event, row)
    return Burnt("redeemed", event)


def _roll_back(connection: apsw.Connection, row: BurnRow, before: Mapping[str, Any] | None, seq: int) -> Burnt:
    if before is None or "redemption" not in before or before["member_id"] not in row.ids:
        return Burnt("unknown")
    name = row.redemption_id + BACK
    if _event(connection, name) is None:
        said = before["redemption"]
        draws = _draws(before)
        whole = Redemption(said["channel"], before["value"], said["value"], said["cost"], draws, said["balance"])
        given = restore(whole, (), row.at)
        event = {
            "event_id": name,
            "type": "points_burn",
            "member_id": row.member_id,
            "value": before["value"],
            "occurred_at": row.at.astimezone(UTC).isoformat(),
            "restores": row.redemption_id,
            "draws": _listed(given),
        }
        _insert(connection, seq, event, row)
    return Burnt("released", before)


def _rows(connection: apsw.Connection, row: BurnRow) -> Iterable[dict[str, Any]]:
    for (payload,) in connection.execute(_SINCE, (as_json(row.ids), row.watermark)):
        if b'"points_' in payload:
            event = orjson.loads(payload)
            if event["type"] in ("points_earn", "points_burn") and event["event_id"] not in row.known:
                yield event


def _replay(purse: Purse, event: Mapping[str, Any], life_days: int) -> None:
    when, points = datetime.fromisoformat(event["occurred_at"]), float(event["value"])
    if event["type"] == "points_earn":
        purse.put(Lot(event["event_id"], points, when, when + timedelta(days=life_days)))
    elif "restores" in event:
        for draw in _draws(event):
            purse.put(Lot(draw.lot_id, draw.points, when, draw.expires_at))
    elif "redemption" in event:
        purse.take(_draws(event))
    else:
        purse.burn(points, when)


def _written(row: BurnRow, found: Redemption) -> dict[str, Any]:
    return {
        "event_id": row.redemption_id,
        "type": "points_burn",
        "member_id": row.member_id,
        "value": found.points,
        "occurred_at": row.at.astimezone(UTC).isoformat(),
        "properties": {"channel": found.channel},
        "redemption": {
            "channel": found.channel,
            "value": found.value,
            "cost": found.cost,
            "balance": found.balance,
        },
        "draws": _listed(found.draws),
        "body_hash": row.body_hash,
    }


def _listed(draws: Iterable[Draw]) -> list[list[Any]]:
    return [[one.lot_id, one.points, one.expires_at.isoformat() if one.expires_at else None] for one in draws]


def _draws(event: Mapping[str, Any]) -> tuple[Draw, ...]:
    return tuple(Draw(lot, points, datetime.fromisoformat(at) if at else None) for lot, points, at in event["draws"])


def _event(connection: apsw.Connection, event_id: str) -> dict[str, Any] | None:
    row = connection.execute("select payload from events where event_id = ?", (event_id,)).fetchone()
    return None if row is None else dict(orjson.loads(row[0]))


def _insert(connection: apsw.Connection, seq: int, event: Mapping[str, Any], row: BurnRow) -> None:
    values = (seq, event["event_id"], row.member_id, round(row.at.timestamp() * 1e6), orjson.dumps(event))
    connection.execute(_INSERT, values)


_INSERT = "insert into events(seq, event_id, member_id, received_at, payload) values (?, ?, ?, ?, ?)"
