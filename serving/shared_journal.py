"""A journal whose budgets lie in PostgreSQL, shared with the journals of other machines.

A decision reserves there first, and is written here with what came of it. The two are no one commit, so that each crash
between has its cure, and every cure is the same work as always, done again:

- reserved, and the decision never kept (a kill, another decision had the period, the caller got another answer): the
  process gives it back as soon as it knows, and after `UNSURE_S` whoever sweeps for the same journal does;
- redeemed by an event, and PostgreSQL never told: redemptions are told in the journal's order, how far is kept there,
  and telling twice changes nothing.

While PostgreSQL is away, what draws on budgets is refused and everything else goes on; the caps of members are then
kept by the journal alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import apsw
import orjson
import psycopg

from serving.events import Event, redeemed
from serving.journal import Journal, JournalError
from serving.journal_rows import BurnRow, DecisionRow, SettleRow
from serving.reservations.contract import Balance, Claim, Settled
from serving.reservations.postgres import PostgresReservations
from serving.tickets import AwayError, Ticket, settle

AT_ONCE = 4
"""Connections of a process that reserve at the same time."""
TIDY_S = 0.2
AGAIN_S = 1.0
"""After PostgreSQL was away, it is asked again so late."""
UNSURE_S = 300.0
"""Longer than anybody waits for a commit of the journal."""
TOLD_AT_ONCE = 1_000
Work = Callable[[PostgresReservations], None]
_LOG = logging.getLogger("tessera.serving")


class SharedJournal(Journal):
    """See `Journal`; `url` is PostgreSQL's.

    Raises:
        JournalError: see `Journal`. PostgreSQL may be away.
    """

    patience = 0.200

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path)
        self._url = f"{url}{'&' if '?' in url else '?'}options=-cstatement_timeout%3D2000"
        self._keeper = _name(path)
        self._works: SimpleQueue[tuple[Work, Ticket | None] | None] = SimpleQueue()
        self._stop = threading.Event()
        self._away_until = 0.0
        self._known_away = False
        self._balances: list[Balance] | None = None
        self._sweep_at: int | None = None
        self._now = 0
        self._handed: list[Ticket] = []
        self._lost: list[str] = []
        self._handed_lock = threading.Lock()
        self._threads = [threading.Thread(target=self._go_on, name=f"budgets-{n}", daemon=True) for n in range(AT_ONCE)]
        self._threads.append(threading.Thread(target=self._tidy_on, name="budgets-tidy", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Reserve what waits, then write, sync and stop."""
        self._stop.set()
        for _ in range(AT_ONCE):
            self._works.put(None)
        for thread in self._threads:
            thread.join()
        super().close()

    @property
    def waiting(self) -> int:
        """How many works wait for their reservation or their commit."""
        return super().waiting + self._works.qsize()

    def submit_decisions(self, rows: Sequence[DecisionRow], loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """See `Journal.submit_decisions`; those that need a budget reserve first."""
        if all(row.claim is None for row in rows):
            return super().submit_decisions(rows, loop)
        ticket = Ticket(tuple(rows), durable=False, loop=loop)
        self._works.put((lambda store: self._reserve(store, ticket), ticket))
        return ticket

    def submit_settlement(self, row: SettleRow | BurnRow, loop: asyncio.AbstractEventLoop | None = None) -> Ticket:
        """See `Journal.submit_settlement`; reservations are settled in PostgreSQL."""
        if isinstance(row, BurnRow):
            return super().submit_settlement(row, loop)
        ticket = Ticket(row, durable=True, loop=loop)
        self._works.put((lambda store: _settle(store, row, ticket), ticket))
        return ticket

    def submit_sweep(self, at: int) -> Ticket:
        """See `Journal.submit_sweep`; it is done at the next tidying, and what the journal itself kept is swept too."""
        self._sweep_at = self._now = at
        return super().submit_sweep(at)

    def balances(self) -> list[Balance]:
        """See `Journal.balances`: as PostgreSQL said a moment ago.

        Raises:
            AwayError: it cannot be reached.
        """
        if self._balances is None:
            raise AwayError("the budgets' PostgreSQL cannot be reached")
        return self._balances

    def reservation(self, reservation_id: str) -> Settled:
        """See `Journal.reservation`.

        Raises:
            AwayError: PostgreSQL cannot be reached.
        """
        try:
            store = PostgresReservations(self._url, self._keeper)
            try:
                return store.find(reservation_id)
            finally:
                store.close()
        except psycopg.Error as error:
            raise AwayError(f"the budgets' PostgreSQL cannot be reached: {error}") from error

    def _go_on(self) -> None:
        store: PostgresReservations | None = None
        while (found := self._works.get()) is not None:
            work, ticket = found
            if ticket is not None and ticket.abandoned:
                continue
            try:
                if time.monotonic() < self._away_until:
                    raise psycopg.OperationalError("PostgreSQL was away a moment ago")
                store = self._worked(work, store)
            except psycopg.Error as error:
                self._away(error)
                _closed(store)
                store = None
                if ticket is not None:
                    self._without(ticket, error)
            except JournalError as error:
                if ticket is not None:
                    settle([ticket], error)
        _closed(store)

    def _worked(self, work: Work, store: PostgresReservations | None) -> PostgresReservations:
        """Do a work; over a new connection where the one there was broke while nobody used it. Again is the same."""
        if store is not None:
            try:
                work(store)
            except psycopg.OperationalError:
                _closed(store)
            else:
                return store
        store = PostgresReservations(self._url, self._keeper)
        work(store)
        return store

    def _away(self, error: psycopg.Error) -> None:
        self._away_until = time.monotonic() + AGAIN_S
        if self._known_away:
            return
        self._known_away, self._balances = True, None
        _LOG.error("the budgets' PostgreSQL cannot be reached (%s); what needs a budget is not given", error)

    def _without(self, ticket: Ticket, error: psycopg.Error) -> None:
        """Go on without PostgreSQL: refuse what draws on budgets, settle nothing."""
        if isinstance(ticket.work, tuple):
            with self._handed_lock:  # some of it may have been reserved before the connection broke
                self._lost += [row.decision_id for row in _decisions(ticket) if row.claim is not None]
            self._write(ticket, {row.decision_id: _drawing(row.claim) for row in _decisions(ticket)}, reserved=False)
        else:
            settle([ticket], AwayError(f"the budgets' PostgreSQL cannot be reached: {error}"))

    def _reserve(self, store: PostgresReservations, ticket: Ticket) -> None:
        refused = store.reserve([row.claim for row in _decisions(ticket) if row.claim is not None])
        self._write(ticket, refused, reserved=True)

    def _write(self, ticket: Ticket, refused: dict[str, tuple[str, ...]], *, reserved: bool) -> None:
        """Have the rows written with what came of their claims."""
        rows = []
        for row in _decisions(ticket):
            no = refused.get(row.decision_id, ())
            rows.append(replace(row, claim=None if reserved or no else row.claim, refused=no))
        claimed = {row.decision_id for row in _decisions(ticket) if row.claim is not None and reserved} - refused.keys()
        ticket.work = tuple(rows)
        if claimed:
            with self._handed_lock:
                self._handed.append(ticket)
        try:
            self._writer.put(ticket)
        except JournalError as error:
            settle([ticket], error)

    def _tidy_on(self) -> None:
        store: PostgresReservations | None = None
        while not self._stop.wait(TIDY_S):
            if time.monotonic() < self._away_until:
                continue
            try:
                store = store or PostgresReservations(self._url, self._keeper)
                self._tidy(store)
                self._balances = store.balances()
                self._known_away = False
            except psycopg.Error as error:
                self._away(error)
                _closed(store)
                store = None
            except JournalError as error:
                _LOG.error("budgets could not be tidied: %s", error)
        _closed(store)

    def _tidy(self, store: PostgresReservations) -> None:
        at, self._sweep_at = self._sweep_at, None
        with self._handed_lock:
            over = [one for one in self._handed if one.settled]
            self._handed = [one for one in self._handed if not one.settled]
            self._lost += [name for one in over for name in _lost(one)]
            lost = list(self._lost)
        if lost:
            store.sure((), lost, self._now)
            with self._handed_lock:
                self._lost = self._lost[len(lost) :]
        if at is not None:
            store.sweep(at)
            unsure = store.unsure(UNSURE_S)
            kept = {name for name in unsure if self.find_decision(name) is not None}
            store.sure(kept, [name for name in unsure if name not in kept], at)
        self._tell(store)

    def _tell(self, store: PostgresReservations) -> None:
        """Spend what events say was redeemed: it has happened, so nothing is refused."""
        seq = store.told()
        for event in (rows := self.read_events(seq, TOLD_AT_ONCE)):
            if b'"redeem"' in event.payload:
                said = redeemed(Event.model_validate(orjson.loads(event.payload)))
                name = None if said is None else store.newest(event.member_id, said.decision_id, said.candidate_id)
                if said is not None and name is not None:
                    store.commit(name, event.received_at, said.given, fact=True)
        if rows:
            store.told(rows[-1].seq)


def _decisions(ticket: Ticket) -> list[DecisionRow]:
    work = ticket.work if isinstance(ticket.work, tuple) else ()
    return [row for row in work if isinstance(row, DecisionRow)]


def _drawing(claim: Claim | None) -> tuple[str, ...]:
    """The candidates of a claim that cannot be given without a budget."""
    return tuple(hold.candidate_id for hold in claim.holds if hold.draws and not hold.forced) if claim else ()


def _lost(ticket: Ticket) -> list[str]:
    """The decisions of a settled ticket that were not kept, whatever they reserved."""
    rows = _decisions(ticket)
    if ticket.abandoned or ticket.error is not None or not isinstance(ticket.outcome, tuple):
        return [row.decision_id for row in rows if not row.refused]
    return [
        row.decision_id for row, kept in zip(rows, ticket.outcome, strict=True) if kept.how in ("repeat", "conflict")
    ]


def _settle(store: PostgresReservations, row: SettleRow, ticket: Ticket) -> None:
    if row.how == "release":
        ticket.outcome = store.release(row.reservation_id, row.at)
    else:
        ticket.outcome = store.commit(row.reservation_id, row.at, row.given)
    settle([ticket], None)


def _closed(store: PostgresReservations | None) -> None:
    if store is not None:
        with contextlib.suppress(psycopg.Error):
            store.close()


def _name(path: Path) -> str:
    """The name of a journal, made with it and kept in it."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.execute("create table if not exists keeper(name text not null)")
    connection.execute("insert into keeper select lower(hex(randomblob(8))) where not exists (select 1 from keeper)")
    ((name,),) = connection.execute("select name from keeper").fetchall()
    connection.close()
    return str(name)
