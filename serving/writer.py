"""The one thread of a process that writes to the journal: group commit, then one sync for everybody who waits for it.

Committing and syncing are two steps. A commit puts rows into the write-ahead log through the kernel, where they outlive
the process; a decision needs no more before its answer leaves. An event waits for the sync that follows its commit, and
one sync serves all events committed before it began. So a slow disk makes events slow and leaves decisions alone.
Between processes the kernel's file lock decides whose turn it is: SQLite's own busy handler starves writers.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import apsw

from serving.journal_rows import DecisionRow, VoidRow
from serving.journal_sql import SCHEMA, commit
from serving.reservations import sqlite
from serving.tickets import JournalError, Ticket, seal, settle

APART_S = 0.002
"""Works of an event loop wait for each other until so many seconds after the last ones went,"""
TOGETHER_S = 0.005
"""and never longer than this, however long the loop's turn takes."""
GROUP = 256
"""At most this many works go into one commit."""
SYNC_EVERY = 0.25
"""Seconds within which a committed decision is synced."""
CHECKPOINT_PAGES = 2_000
"""So many new pages (4 KiB) in the log are worth copying into the file."""
RESTART_PAGES = 16_000
"""A log of this length is cut: the writer waits once for the copying, and begins it anew."""


class Writer:
    """Owns the writing connection, its thread and the syncing thread of one process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[Ticket | None] = SimpleQueue()
        self._lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._connection = _open(path, self._lock)
        self._wal = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC)
        self._soon: list[Ticket] = []
        self._since = self._handed_over = 0.0
        self._waiting: list[Ticket] = []
        self._dirty = threading.Condition()
        self._unsynced = False
        self._stopping = False
        self._pages = 0
        self._copied = 0
        self._restart_log = False
        self._connection.set_wal_hook(self._count_pages)
        self.broken: str | None = None
        self.failing: str | None = None
        """Why the last commit failed; None once one went well."""
        self.sync_seconds: list[float] = []
        self._thread = threading.Thread(target=self._write_loop, name="journal-writer", daemon=True)
        self._syncer = threading.Thread(target=self._sync_loop, name="journal-sync", daemon=True)
        self._thread.start()
        self._syncer.start()

    @property
    def waiting(self) -> int:
        """How many works have not been committed yet."""
        return self._queue.qsize() + len(self._soon)

    def put(self, ticket: Ticket) -> None:
        """Hand over a work; its ticket is settled by and by.

        Raises:
            JournalError: the journal is closed, or stopped acknowledging because the disk failed.
        """
        if self.broken:
            raise JournalError(self.broken)
        self._queue.put(ticket)

    def put_soon(self, ticket: Ticket, loop: asyncio.AbstractEventLoop) -> None:
        """The same from an event loop: works that come soon after each other go into one commit.

        Every commit costs some changes of thread. The first work after a pause goes at the end of the loop's turn.

        Raises:
            JournalError: see `put`.
        """
        if self.broken:
            raise JournalError(self.broken)
        if self._soon and self._soon[0].loop is not loop:
            self._hand_over()
        self._soon.append(ticket)
        if len(self._soon) == 1:
            self._since = loop.time()
            loop.call_at(max(self._handed_over + APART_S, self._since), self._hand_over)
        elif loop.time() - self._since >= TOGETHER_S:
            self._hand_over()

    def _hand_over(self) -> None:
        together, self._soon = self._soon, []
        if together and together[0].loop is not None:
            self._handed_over = together[0].loop.time()
        for ticket in together:
            self._queue.put(ticket)

    def close(self) -> None:
        """Write and sync what waits, then stop."""
        if self._stopping:
            return
        self._hand_over()
        self._queue.put(None)
        self._thread.join()
        with self._dirty:
            self._stopping = True
            self._dirty.notify()
        self._syncer.join()
        self.broken = self.broken or "the journal is closed"
        self._connection.close()
        os.close(self._wal)
        os.close(self._lock)

    def _write_loop(self) -> None:
        open_for_work = True
        while open_for_work:
            first = self._queue.get()
            group = [first] if first else []
            open_for_work = first is not None and self._gather(group)
            if group:
                self._write(group)

    def _gather(self, group: list[Ticket]) -> bool:
        while len(group) < GROUP:
            try:
                ticket = self._queue.get_nowait()
            except Empty:
                return True
            if ticket is None:
                return False
            group.append(ticket)
        return True

    def _write(self, group: Sequence[Ticket]) -> None:
        try:
            with _Turn(self._lock):
                # Whose caller could not wait until it was our turn got another answer by now.
                group = [ticket for ticket in group if not ticket.abandoned]
                outcomes = commit(self._connection, [ticket.work for ticket in group]) if group else []
                self._take_back(seal([ticket for ticket in group if not ticket.durable]))
        except apsw.ConstraintError as error:
            if len(group) == 1:
                return settle(group, JournalError(f"the journal refused a row: {error}"))
            for ticket in group:
                self._write([ticket])
            return None
        except (apsw.Error, OSError) as error:
            self.failing = f"the journal could not write: {error}; is the disk full or gone?"
            return settle(group, JournalError(self.failing))
        self.failing = None
        for ticket, outcome in zip(group, outcomes, strict=True):
            ticket.outcome = outcome
        self._after_commit(group)
        return None

    def _take_back(self, orphans: Sequence[Ticket]) -> None:
        """Take back the decisions whose callers were told that it is too late while they were being written."""
        rows = [row for ticket in orphans if isinstance(ticket.work, tuple) for row in ticket.work]
        voids = [VoidRow(row.decision_id) for row in rows if isinstance(row, DecisionRow)]
        try:
            if voids:
                commit(self._connection, voids)
        except apsw.Error:
            for void in voids:
                self._queue.put(Ticket(void, durable=False))

    def _after_commit(self, group: Sequence[Ticket]) -> None:
        with self._dirty:
            self._unsynced = True
            durable = [ticket for ticket in group if ticket.durable]
            if durable:
                self._waiting.extend(durable)
                self._dirty.notify()
        settle([ticket for ticket in group if not ticket.durable], None)
        if self._restart_log:
            self._restart_log = False
            self._checkpoint(self._connection, apsw.SQLITE_CHECKPOINT_RESTART)

    def _sync_loop(self) -> None:
        checkpointer = apsw.Connection(str(self._path))
        checkpointer.pragma("journal_mode")  # a connection that never read does not know that there is a log
        due = time.monotonic() + SYNC_EVERY
        while True:
            with self._dirty:
                while not (self._waiting or self._stopping or (self._unsynced and time.monotonic() >= due)):
                    self._dirty.wait(SYNC_EVERY)
                waiting, self._waiting = self._waiting, []
                unsynced, self._unsynced = self._unsynced, False
                stopping = self._stopping
            if unsynced or waiting:
                self._sync(waiting)
                due = time.monotonic() + SYNC_EVERY
                self._shorten(checkpointer)
            if stopping:
                checkpointer.close()
                return

    def _sync(self, waiting: Sequence[Ticket]) -> None:
        began = time.perf_counter()
        try:
            os.fdatasync(self._wal)
        except OSError as error:
            # After a failed sync the kernel may have thrown the pages away: nothing more can be promised.
            self.broken = f"the disk failed to sync ({error}); nothing is acknowledged until the service starts again"
            return settle(waiting, JournalError(self.broken))
        self.sync_seconds.append(time.perf_counter() - began)
        del self.sync_seconds[:-1000]
        return settle(waiting, None)

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._pages:
            self._copied = 0
        self._pages = pages
        return apsw.SQLITE_OK

    def _shorten(self, connection: apsw.Connection) -> None:
        if self._pages - self._copied < CHECKPOINT_PAGES:
            return
        self._copied = self._checkpoint(connection, apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._restart_log = self._pages > RESTART_PAGES

    def _checkpoint(self, connection: apsw.Connection, mode: int) -> int:
        try:
            _, copied = connection.wal_checkpoint(mode=mode)
        except apsw.Error:
            return self._copied  # busy with a reader or another process: the next one will do it
        return int(copied)


class _Turn:
    """The kernel's lock on the journal, held for one commit."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)


def _open(path: Path, lock: int) -> apsw.Connection:
    try:
        with _Turn(lock):
            connection = apsw.Connection(str(path))
            connection.set_busy_timeout(5000)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.execute(SCHEMA)
            sqlite.prepare(connection)
            connection.pragma("user_version", 1)
            connection.pragma("synchronous", "normal")
            connection.pragma("journal_size_limit", RESTART_PAGES * 4096)
            connection.wal_autocheckpoint(0)
    except apsw.Error as error:
        raise JournalError(f"{path.name}: {error}; restore it from a backup or move it away to start anew") from error
    _sync_folder(path.parent)
    return connection


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
