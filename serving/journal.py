"""The journal: every event that was acknowledged and every decision that left, in one SQLite file.

Several processes may use one journal (the service, an outbound campaign); each has one writing thread. Reading happens
on the caller's thread, through a connection of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import apsw
import orjson

from serving import reactions
from serving.journal_rows import (
    BurnRow,
    Counts,
    DecisionRow,
    EventRow,
    Kept,
    RequestRow,
    SettleRow,
    SweepRow,
    VoidRow,
)
from serving.journal_sql import REQUEST_LIFE_US
from serving.reservations import settling
from serving.reservations.contract import Balance, Settled, balance
from serving.snapshot import Contact, Reaction
from serving.tickets import JournalError, LateError, Ticket
from serving.writer import Writer

__all__ = [
    "Counts",
    "DecisionRow",
    "EventRow",
    "Journal",
    "JournalError",
    "Kept",
    "LateError",
    "Memory",
    "RequestRow",
    "StoredDecision",
    "StoredEvent",
    "Ticket",
    "VoidRow",
]

OLDEST_SAFE_SQLITE = (3, 51, 3)
"""Before this, two connections that write and checkpoint at the same instant could corrupt the log."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it lies in the journal; `seq` grows in the order of acceptance."""

    seq: int
    event_id: str
    member_id: str
    received_at: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as it lies in the journal."""

    seq: int
    decision_id: str
    member_id: str
    family: str
    at: int
    learnable: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What the journal remembers of one member."""

    contacts: tuple[Contact, ...]
    """Offers and actions, oldest first."""
    exposures: Mapping[str, str]
    """Experiment → the variant the member was first exposed to."""
    consents: Mapping[str, bool]
    """Purposes to which the member has consented or objected through events."""
    reactions: tuple[Reaction, ...] = ()
    """What came back beside answers, oldest first."""

    def joined(self, other: Memory) -> Memory:
        """The memory of two ids of one member: an objection under either holds, and so does the first exposure."""
        contacts = sorted((*self.contacts, *other.contacts), key=lambda contact: contact.at)
        both = {**other.consents, **self.consents}
        consents = {
            purpose: yes and other.consents.get(purpose, True) and self.consents.get(purpose, True)
            for purpose, yes in both.items()
        }
        came = sorted((*self.reactions, *other.reactions), key=lambda reaction: reaction.at)
        return Memory(tuple(contacts), {**other.exposures, **self.exposures}, consents, tuple(came))


_MEMORY = """
select 0, at, candidate_id, candidate_type, family, channel, decision_id, 0 from contacts
  where member_id = ? and at >= ?
union all select 1, at, experiment, variant, '', '', '', 0 from exposures where member_id = ?
union all select 2, given, purpose, '', '', '', '', 0 from consents where member_id = ?
union all select 3, at, kind, candidate_id, '', channel, decision_id, value from reactions
  where member_id = ? and at >= ?
"""
_DECISION = "seq, decision_id, member_id, family, at, learnable, payload"
_EVENT = "seq, event_id, member_id, received_at, payload"


class Journal:
    """Open the journal at `path`, making it if there is none.

    Raises:
        JournalError: the file is no journal, is damaged, or SQLite is older than is safe.
    """

    patience = 0.020
    """A decision that is not in the journal after so many seconds gives way to the static answer."""

    def __init__(self, path: Path) -> None:
        version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
        if version < OLDEST_SAFE_SQLITE:
            raise JournalError(f"SQLite {apsw.sqlite_lib_version()} can corrupt the journal; install apsw >= 3.51.3")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._writer = Writer(path)
        self._local = threading.local()

    @property
    def healthy(self) -> bool:
        """Whether rows are still acknowledged."""
        return self._writer.broken is None

    @property
    def trouble(self) -> str | None:
        """Why rows are not acknowledged, for good or since the last commit; None while they are."""
        return self._writer.broken or self._writer.failing

    @property
    def waiting(self) -> int:
        """How many works wait for their commit."""
        return self._writer.waiting

    @property
    def sync_seconds(self) -> Sequence[float]:
        """How long the last syncs took."""
        return tuple(self._writer.sync_seconds)

    def close(self) -> None:
        """Write, sync and stop. What is handed in afterwards is refused."""
        self._writer.close()

    def submit_events(self, rows: Sequence[EventRow], loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """Hand in events; the ticket settles to `Counts` once they are on disk."""
        return self._put(Ticket(tuple(rows), durable=True, loop=loop))

    def submit_decisions(self, rows: Sequence[DecisionRow], loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """Hand in decisions; the ticket settles to a tuple of `Kept` once they outlive this process."""
        return self._put(Ticket(tuple(rows), durable=False, loop=loop))

    def submit_request(self, row: RequestRow, loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """Hand in a request that was answered with a decision that stood; the ticket settles to `Kept`."""
        return self._put(Ticket(row, durable=False, loop=loop))

    def submit_settlement(self, row: SettleRow | BurnRow, loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """Hand in a reservation, or points, to be settled; the ticket gets `Settled` or `Burnt` once it is on disk."""
        return self._put(Ticket(row, durable=True, loop=loop))

    def submit_sweep(self, at: int) -> Ticket:
        """Have reservations that expired before `at` (microseconds) let go; the ticket settles to `Swept`."""
        return self._put(Ticket(SweepRow(at), durable=False))

    def balances(self) -> list[Balance]:
        """What was taken from every budget in every period."""
        return [balance(row) for row in self._all(settling.BALANCES)]

    def reservation(self, reservation_id: str) -> Settled:
        """How a reservation stands; with the reason UNKNOWN where there is none."""
        row = self._first(settling.FIND, (reservation_id,))
        return (
            Settled(reservation_id, None, "UNKNOWN") if row is None else Settled(reservation_id, row[0], None, *row[1:])
        )

    def _put(self, ticket: Ticket) -> Ticket:
        if ticket.loop is None:
            self._writer.put(ticket)
        else:
            self._writer.put_soon(ticket, ticket.loop)
        return ticket

    def append_events(self, rows: Sequence[EventRow], timeout: float = 30.0) -> Counts:
        """Write events and wait until they are on disk."""
        return cast(Counts, self.submit_events(rows).wait(timeout))

    def append_decisions(self, rows: Sequence[DecisionRow], timeout: float = 30.0) -> tuple[Kept, ...]:
        """Write decisions and wait until they outlive this process."""
        return cast(tuple[Kept, ...], self.submit_decisions(rows).wait(timeout))

    def find_request(self, request_id: str, at: int) -> tuple[bytes, str] | None:
        """The body's hash and the decision of a request made within 24 hours before `at` (microseconds)."""
        row = self._first("select body_hash, decision_id, at from requests where request_id = ?", (request_id,))
        return (row[0], row[1]) if row and at - row[2] <= REQUEST_LIFE_US else None

    def find_period(self, period_key: str) -> StoredDecision | None:
        """The first decision of this period, if it was made."""
        return self._decision("period_key = ?", period_key)

    def find_decision(self, decision_id: str) -> StoredDecision | None:
        """The decision with this id."""
        return self._decision("decision_id = ?", decision_id)

    def _decision(self, where: str, value: str) -> StoredDecision | None:
        row = self._first(f"select {_DECISION} from decisions where {where}", (value,))
        return _stored(row) if row else None

    def memory(self, member_id: str, since: int) -> Memory:
        """What was decided for the member since then (microseconds), and what they said about consent."""
        contacts: list[tuple[str, Contact]] = []
        exposures: dict[str, str] = {}
        consents: dict[str, bool] = {}
        came: list[reactions.Stored] = []
        values = (member_id, since, member_id, member_id, member_id, since)
        for kind, at, one, two, family, channel, decision_id, value in self._all(_MEMORY, values):
            if kind == 0:
                contacts.append((decision_id, Contact(at / 1e6, one, two, family, channel)))
            elif kind == 1:
                exposures[one] = two
            elif kind == 2:
                consents[one] = bool(at)
            else:
                came.append(reactions.Stored(at / 1e6, one, decision_id, two, channel, value))
        contacts.sort(key=lambda pair: pair[1].at)
        if not came:
            return Memory(tuple(contact for _, contact in contacts), exposures, consents)
        return Memory(reactions.answered(contacts, came), exposures, consents, reactions.others(contacts, came))

    def read_events(self, after_seq: int = 0, limit: int = 1000) -> list[StoredEvent]:
        """Events accepted after `after_seq`, in order."""
        rows = self._all(f"select {_EVENT} from events where seq > ? order by seq limit ?", (after_seq, limit))
        return [StoredEvent(*row) for row in rows]

    def events_of(self, member_ids: Iterable[str], after_seq: int = 0) -> list[StoredEvent]:
        """All events of these members accepted after `after_seq`, in order."""
        rows = self._all(
            f"select {_EVENT} from events where member_id in (select value from json_each(?)) and seq > ? order by seq",
            (orjson.dumps(list(member_ids)).decode(), after_seq),
        )
        return [StoredEvent(*row) for row in rows]

    def read_decisions(self, after_seq: int = 0, limit: int = 1000) -> list[StoredDecision]:
        """Decisions made after `after_seq`, in order."""
        sql = f"select {_DECISION} from decisions where seq > ? order by seq limit ?"
        return [_stored(row) for row in self._all(sql, (after_seq, limit))]

    def decisions_of(self, member_id: str, since: int = 0) -> list[StoredDecision]:
        """The member's decisions since then (microseconds), oldest first."""
        sql = f"select {_DECISION} from decisions where member_id = ? and at >= ? order by at, seq"
        return [_stored(row) for row in self._all(sql, (member_id, since))]

    def last_seq(self) -> int:
        """The position of what was written last, event or decision; 0 if nothing was."""
        row = self._first("select max(seq) from sqlite_sequence")
        return int(row[0] or 0) if row else 0

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return list(self._reader().execute(sql, values))
        except apsw.Error as error:
            raise JournalError(f"the journal could not be read: {error}") from error

    def _first(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        try:
            return self._reader().execute(sql, values).fetchone()
        except apsw.Error as error:
            raise JournalError(f"the journal could not be read: {error}") from error

    def _reader(self) -> apsw.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(5)
            self._local.connection = connection
        return connection


def _stored(row: Any) -> StoredDecision:
    return StoredDecision(row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6])
