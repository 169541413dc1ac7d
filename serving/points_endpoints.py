"""Points over HTTP: redeemed while the caller waits, or refused with the reason; and rolled back."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from features.border import BorderError
from serving import points_held, problems
from serving.endpoints import EVENT_SECONDS, Reply, Request, asked
from serving.journal_rows import BurnRow, Burnt
from serving.problems import Fault, refuse
from serving.redemptions import PointsRedeemRequest, PointsReleaseRequest


async def redeem(request: Request) -> Reply:
    """Use points, all or nothing; 409 says why not."""
    said = await asked(request, PointsRedeemRequest)
    if said.request_id is None:
        redemption_id = f"pts-{request.house.new_id()}"
    else:
        redemption_id = f"pts-{_digest(said.request_id)[:24]}"
    programme = request.house.watch.present().rulebook.catalog.programme
    return await _settle(
        request, redemption_id, said.request_id,
        body_hash=_digest([request.name, said.points, said.channel]),
        points=said.points,
        rule=programme.earning.channel(said.channel),
        cost_per_point=programme.points.cost_per_point,
    )  # fmt: skip


async def release(request: Request) -> Reply:
    """Roll a redemption back: its points return to their lots, but for those whose time is over. Again is the same."""
    said = await asked(request, PointsReleaseRequest)
    return await _settle(request, said.redemption_id, None, roll_back=True)


def _digest(value: object) -> str:
    return hashlib.blake2b(orjson.dumps(value), digest_size=16).hexdigest()


async def _settle(request: Request, redemption_id: str, request_id: str | None, **more: Any) -> Reply:
    house = request.house
    present = house.watch.present()
    member_id = present.cards.owner(request.name)
    ids = (member_id, *present.cards.others.get(member_id, ()))
    at = datetime.fromtimestamp(house.now(), UTC)
    try:
        held = await asyncio.to_thread(points_held.held, house.ws.tables, ids, at)
    except (points_held.MovingError, BorderError, OSError) as error:
        raise refuse(503, f"the table of points could not be read: {error}", retry_after="1") from None
    programme = present.rulebook.catalog.programme
    row = BurnRow(
        redemption_id, member_id, ids, at, held.lots, held.watermark, held.known, programme.points.expiry_days, **more
    )
    ticket = house.journal.submit_settlement(row, asyncio.get_running_loop())
    return _reply(row, cast(Burnt, await ticket.within(EVENT_SECONDS)), request_id, programme.currency)


def _reply(row: BurnRow, found: Burnt, request_id: str | None, currency: str) -> Reply:
    if found.how == "conflict":
        rule = "the same request_id with another body"
        raise refuse(409, rule, Fault("request_id", rule, problems.shown(request_id)))
    if found.how == "unknown":
        why = f"redemption {row.redemption_id} of member {row.member_id} is not known"
        raise refuse(404, why, Fault("redemption_id", "UNKNOWN", row.redemption_id))
    if found.refused is not None:
        raise refuse(409, found.refused.text, Fault("points", found.refused.code, f"{row.points:g}"))
    event = found.redemption
    said = event["redemption"]
    answer = {
        "redemption_id": event["event_id"],
        "member_id": event["member_id"],
        "state": found.how,
        "channel": said["channel"],
        "points": event["value"],
        "value": round(said["value"], 4),
        "currency": currency,
        "balance": said["balance"],
        "lots": [{"lot_id": lot, "points": points, "expires_at": _z(ends)} for lot, points, ends in event["draws"]],
        "redeemed_at": _z(event["occurred_at"]),
    }
    return Reply(200, orjson.dumps(answer))


def _z(text: str | None) -> str | None:
    return None if text is None else datetime.fromisoformat(text).isoformat(timespec="seconds").replace("+00:00", "Z")
