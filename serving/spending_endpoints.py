"""Reservations and budgets over HTTP: validated, committed and rolled back synchronously, with the reason where not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import orjson

from serving.budget_keeper import standing
from serving.endpoints import EVENT_SECONDS, Reply, Request, asked
from serving.house import House
from serving.journal_rows import SettleRow
from serving.problems import Fault, refuse
from serving.reservations.contract import Given, Settled, refusal
from serving.spending import WHY, CommitRequest, HoldRequest, line, settled

Handler = Callable[[Request], Awaitable[Reply]]


async def validate(request: Request) -> Reply:
    """Whether a reservation may be redeemed now; nothing changes."""
    await asked(request, HoldRequest)
    found = await asyncio.to_thread(request.house.journal.reservation, request.name)
    reason = refusal(found, int(request.house.now() * 1e6))
    return _reply(Settled(request.name, found.state, reason) if reason else found)


async def commit(request: Request) -> Reply:
    """Spend what is reserved; answered when it is on disk."""
    said = await asked(request, CommitRequest)
    return await _settle(request, "commit", Given(said.money, said.points))


async def release(request: Request) -> Reply:
    """Give back what is reserved, or was spent by a redemption that is rolled back."""
    await asked(request, HoldRequest)
    return await _settle(request, "release", Given())


async def budgets(request: Request) -> Reply:
    """Every budget: what it has, what is left, and what one more unit would earn."""
    request.admit("caller", "marketer")
    return Reply(200, orjson.dumps({"budgets": lines(request.house)}))


def lines(house: House) -> list[dict[str, Any]]:
    """Every budget as it stands now, as JSON values."""
    present, at = house.watch.present(), house.now()
    balances = house.journal.balances()
    return [
        line(standing(one, balances, at), present.prices.get(one.id, 0.0), at)
        for one in present.rulebook.catalog.budgets
    ]


async def _settle(request: Request, how: Literal["commit", "release"], given: Given) -> Reply:
    house = request.house
    row = SettleRow(request.name, how, int(house.now() * 1e6), given)
    ticket = house.journal.submit_settlement(row, asyncio.get_running_loop())
    return _reply(cast(Settled, await ticket.within(EVENT_SECONDS)))


def _reply(found: Settled) -> Reply:
    if found.reason is None:
        return Reply(200, orjson.dumps(settled(found)))
    status = 404 if found.reason == "UNKNOWN" else 409
    fault = Fault("reservation_id", found.reason, found.reservation_id)
    raise refuse(status, f"reservation {found.reservation_id}: {WHY[found.reason]}", fault)
