"""An answer leaves when its decision is in the journal: at once for a caller, in batches for a campaign."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

from serving.contract import Envelope, FamilyName
from serving.engine import Call, Engine, Plan, call
from serving.journal import Journal, JournalError, Kept, LateError
from serving.journal_rows import DecisionRow

MANY_LATE_S = 1.0
CROWDED = 1_000
"""So many works before the journal, and another one is late without having been tried."""
TRIES = 8
"""So often a call is decided anew because something could not be reserved; each time without what stood in the way."""
GROUP = 500
"""Decisions of a campaign that are committed together."""


async def deliver(engine: Engine, asked: Call) -> dict[str, Any]:
    """One answer. Whatever the journal does, it comes in time.

    Raises:
        RefusedError: 409 where the request id belongs to another body.
    """
    try:
        for _ in range(TRIES):
            plan = engine.plan(asked)
            outcome = await _kept(engine, plan)
            if outcome is None or outcome.how != "refused":
                return plan.answer if outcome is None else _settled(engine, plan, outcome)
            asked = without(asked, outcome)
    except JournalError:
        pass
    return given_up(engine, asked)


def without(asked: Call, outcome: Kept) -> Call:
    """The call to decide again, without what could not be reserved."""
    return replace(
        asked, refused=asked.refused.union(outcome.refused), drawn_before=asked.drawn_before or outcome.decision_id
    )


async def _kept(engine: Engine, plan: Plan) -> Kept | None:
    """What the journal says of a plan; None where it need not be asked."""
    journal, loop = engine.journal, asyncio.get_running_loop()
    if plan.row is not None:
        (outcome,) = await _within(journal, [plan.row], loop, journal.patience)
        return outcome
    if plan.request is not None:
        # The answer stands in the journal already; should the note of this request be late, it still stands.
        with contextlib.suppress(LateError):
            return cast(Kept, await journal.submit_request(plan.request, loop).within(journal.patience))
    return None


async def _within(
    journal: Journal, rows: Sequence[DecisionRow], loop: asyncio.AbstractEventLoop, seconds: float
) -> tuple[Kept, ...]:
    if journal.waiting > CROWDED:
        raise LateError("too much waits for the journal")
    return cast(tuple[Kept, ...], await journal.submit_decisions(rows, loop).within(seconds))


def _settled(engine: Engine, plan: Plan, outcome: Kept) -> dict[str, Any]:
    if outcome.how == "stored":
        return plan.answer
    return engine.again(plan.call, outcome.how == "repeat", outcome.decision_id)


def given_up(engine: Engine, asked: Call) -> dict[str, Any]:
    """The static answer. The journal gets to know it if it can; nobody waits for that."""
    plan = engine.plan_static(asked)
    if plan.row is not None and engine.journal.waiting <= CROWDED:
        with contextlib.suppress(JournalError):
            engine.journal.submit_decisions([plan.row])
    return plan.answer


async def deliver_many(engine: Engine, asked: Sequence[Call], pause_every: int = 8) -> list[dict[str, Any]]:
    """Answers for many members, in order; other callers get their turn in between."""
    plans: list[Plan | None] = []
    for number, one in enumerate(asked):
        try:
            plans.append(engine.plan(one))
        except JournalError:
            plans.append(None)
        if number % pause_every == pause_every - 1:
            await asyncio.sleep(0)
    rows = [plan.row for plan in plans if plan is not None and plan.row is not None]
    try:
        seconds = max(MANY_LATE_S, engine.journal.patience)
        outcomes = iter(await _within(engine.journal, rows, asyncio.get_running_loop(), seconds) if rows else ())
    except JournalError:
        return [given_up(engine, one) for one in asked]
    kept = [None if plan is None or plan.row is None else next(outcomes) for plan in plans]
    return [await _one_of_many(engine, *of) for of in zip(asked, plans, kept, strict=True)]


async def _one_of_many(engine: Engine, asked: Call, plan: Plan | None, kept: Kept | None) -> dict[str, Any]:
    if plan is None:
        return given_up(engine, asked)
    if kept is not None and kept.how == "refused":
        return await deliver(engine, without(asked, kept))
    return plan.answer if kept is None else _settled(engine, plan, kept)


def decide_many(
    engine: Engine, member_ids: Iterable[str], family: FamilyName, asked: Envelope, at: float
) -> Iterator[dict[str, Any]]:
    """A whole campaign through the same decisions and the same journal, for a process without an event loop.

    Run again within its period it gives the same answers and counts nobody twice.

    Args:
        engine: from `serving.house.open_house`.
        member_ids: whom to decide for.
        family: what to decide.
        asked: channel, placements and all else that holds for everybody; its `request_id` is not used.
        at: epoch seconds of the programme clock.

    Raises:
        JournalError: a batch could not be kept; what was yielded before is in the journal.
    """
    waiting = iter(member_ids)
    plain = asked.model_copy(update={"request_id": None})
    while chunk := list(islice(waiting, GROUP)):
        calls = [call(family, member_id, plain, at, b"") for member_id in chunk]
        yield from _decided(engine, calls)


def _decided(engine: Engine, calls: Sequence[Call], tries: int = TRIES) -> list[dict[str, Any]]:
    """Answers in order; those whose reservations were refused are decided again, all together."""
    plans = [engine.plan(one) for one in calls]
    rows = [plan.row for plan in plans if plan.row is not None]
    outcomes = iter(engine.journal.append_decisions(rows) if rows else ())
    kept = [None if plan.row is None else next(outcomes) for plan in plans]
    again = [
        without(one, how) for one, how in zip(calls, kept, strict=True) if how is not None and how.how == "refused"
    ]
    later = iter([] if not again else _decided(engine, again, tries - 1) if tries > 1 else _all_given_up(engine, again))
    return [
        plan.answer if how is None else next(later) if how.how == "refused" else _settled(engine, plan, how)
        for plan, how in zip(plans, kept, strict=True)
    ]


def _all_given_up(engine: Engine, calls: Sequence[Call]) -> list[dict[str, Any]]:
    return [given_up(engine, one) for one in calls]
