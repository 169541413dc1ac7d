"""Work on its way into the journal, and how those who wait are told: a thread blocks, an event loop is called."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Sequence

from serving.journal_rows import Outcome, Work

_FATE = threading.Lock()
"""Held while a ticket is given up or sealed, so that it is never both."""


class JournalError(RuntimeError):
    """The journal could not keep something; nothing of it was acknowledged."""


class LateError(JournalError):
    """The journal did not answer in time; it may still be well."""


class AwayError(JournalError):
    """The store of reservations cannot be reached; the journal itself may be well."""


class Ticket:
    """One work on its way into the journal. `outcome` or `error` is there once it is settled."""

    __slots__ = ("abandoned", "bell", "durable", "error", "future", "loop", "outcome", "settled", "work")

    def __init__(self, work: Work, *, durable: bool, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.work = work
        self.durable = durable
        self.loop = loop
        self.future: asyncio.Future[Outcome] | None = loop.create_future() if loop else None
        self.bell = None if loop else threading.Event()
        self.outcome: Outcome = None
        self.error: JournalError | None = None
        self.settled = False
        self.abandoned = False

    async def within(self, seconds: float) -> Outcome:
        """The outcome, waited for at most `seconds` (on the ticket's own event loop).

        Raises:
            LateError: it took longer. The work is dropped, and a decision that is kept after all is taken back before
                anything else is written, so that the journal does not claim what the caller never got.
            JournalError: it was not kept.
        """
        if self.loop is None or self.future is None:
            raise JournalError("this ticket belongs to no event loop; use wait()")
        alarm = self.loop.call_later(seconds, self._expire)
        try:
            return await self.future
        finally:
            alarm.cancel()

    def _expire(self) -> None:
        with _FATE:
            if self.settled or self.future is None or self.future.done():
                return
            self.abandoned = True
        self.future.set_exception(LateError("the journal is late"))

    def wait(self, timeout: float | None = None) -> Outcome:
        """Block until settled (for threads without an event loop).

        Raises:
            JournalError: it was not kept, or not within `timeout` seconds.
        """
        if self.bell is None or not self.bell.wait(timeout):
            raise JournalError(f"the journal did not answer within {timeout} s; look at the disk")
        if self.error:
            raise self.error
        return self.outcome


def seal(tickets: Sequence[Ticket]) -> list[Ticket]:
    """From now on nobody gives these up, because they are kept; returns those that were given up before."""
    with _FATE:
        for ticket in tickets:
            ticket.settled = True
        return [ticket for ticket in tickets if ticket.abandoned]


def settle(tickets: Sequence[Ticket], error: JournalError | None) -> None:
    """Tell everybody who waits, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        ticket.error = error
        ticket.settled = True
        if ticket.loop is not None:
            by_loop[ticket.loop].append(ticket)
        elif ticket.bell is not None:
            ticket.bell.set()
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, theirs)
        except RuntimeError:  # the loop was closed: nobody is left to be told
            continue


def _resolve(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        future = ticket.future
        if future is None or future.done():
            continue
        if ticket.error:
            future.set_exception(ticket.error)
        else:
            future.set_result(ticket.outcome)
