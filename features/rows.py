"""The online store as plain SQLite: one row of bytes for each member and view. Serving reads it without Feast.

`features.row_store` puts the same rows behind Feast's interface. A row never gives way to an older one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

import apsw

from features.relations import microseconds

_SCHEMA = """
    create table if not exists rows (
        member_id text not null, view text not null, event_us integer not null, blob blob not null,
        unique (member_id, view)
    ) strict
"""
_UPSERT = """
    insert into rows (member_id, view, event_us, blob) values (?, ?, ?, ?)
    on conflict (member_id, view) do update set event_us = excluded.event_us, blob = excluded.blob
    where excluded.event_us >= rows.event_us
"""
_ROWS_AT_ONCE = 5_000
_BUSY_MS = 5_000


class Rows:
    """Rows in one SQLite file; made if absent. It may be used from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection().execute(_SCHEMA)

    def read(self, view: str, member_id: str) -> tuple[bytes, float] | None:
        """The member's bytes in a view with their event time (epoch seconds), or None."""
        query = "select blob, event_us from rows where member_id = ? and view = ?"
        for blob, event_us in self._connection().execute(query, (member_id, view)):
            return blob, event_us / 1e6
        return None

    def read_many(self, views: Sequence[str], member_id: str) -> dict[str, tuple[bytes, float]]:
        """View → bytes and event time (epoch seconds); a view without a row for the member is left out."""
        query = "select view, blob, event_us from rows where member_id = ?"
        found = self._connection().execute(query, (member_id,))
        return {view: (blob, event_us / 1e6) for view, blob, event_us in found if view in views}

    def read_members(self, view: str, member_ids: Sequence[str]) -> dict[str, tuple[bytes, float]]:
        """Member id → bytes and event time, for one view; members without a row are left out."""
        found: dict[str, tuple[bytes, float]] = {}
        for member_id in member_ids:
            row = self.read(view, member_id)
            if row is not None:
                found[member_id] = row
        return found

    def members(self, view: str) -> list[str]:
        """Every member with a row in a view, in the order of ids."""
        query = "select member_id from rows where view = ? order by member_id"
        return [member_id for (member_id,) in self._connection().execute(query, (view,))]

    def write(self, view: str, rows: Iterable[tuple[str, bytes, datetime]]) -> int:
        """Write member id, bytes and event time; a row gives way only to one at least as new.

        Returns:
            How many rows were given.
        """
        connection = self._connection()
        waiting = iter(rows)
        written = 0
        while chunk := [(member, view, microseconds(at), blob) for member, blob, at in islice(waiting, _ROWS_AT_ONCE)]:
            with connection:
                connection.executemany(_UPSERT, chunk)
            written += len(chunk)
        return written

    def delete(self, view: str, member_ids: Sequence[str] | None = None) -> None:
        """Take a view's rows out; None means all of them."""
        connection = self._connection()
        with connection:
            if member_ids is None:
                connection.execute("delete from rows where view = ?", (view,))
            else:
                keys = [(view, member_id) for member_id in member_ids]
                connection.executemany("delete from rows where view = ? and member_id = ?", keys)

    def close(self) -> None:
        """Close this thread's connection; the next use opens it again."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    def _connection(self) -> apsw.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(_BUSY_MS)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            self._local.connection = connection
        return connection
