"""The tables of a journal, and how one batch of rows gets into them: the SQL of one commit.

Rows are written in few statements with many values each: every statement gives the interpreter lock away once, and
getting it back beside a busy event loop is what a commit would otherwise wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import apsw

from serving import burning
from serving.journal_rows import (
    BurnRow,
    Counts,
    DecisionRow,
    EventRow,
    Kept,
    Outcome,
    RequestRow,
    SettleRow,
    SweepRow,
    VoidRow,
    Work,
)
from serving.reservations import settling, sqlite
from serving.sql_rows import as_json as _json
from serving.sql_rows import insert as _insert

REQUEST_LIFE_US = 24 * 3600 * 1_000_000
"""For how long a `request_id` keeps its answer, in microseconds."""

SCHEMA = """
create table if not exists events(
  seq integer primary key autoincrement, event_id text not null unique, member_id text not null,
  received_at integer not null, payload blob not null);
create index if not exists events_by_member on events(member_id, seq);
create table if not exists decisions(
  seq integer primary key autoincrement, decision_id text not null unique, member_id text not null,
  family text not null, at integer not null, period_key text unique, learnable integer not null, payload blob not null);
create index if not exists decisions_by_member on decisions(member_id, at);
create table if not exists requests(
  request_id text primary key, body_hash blob not null, decision_id text not null, at integer not null) without rowid;
create table if not exists contacts(
  member_id text not null, at integer not null, decision_id text not null, candidate_id text not null,
  candidate_type text not null, family text not null, channel text not null,
  primary key(member_id, at, decision_id, candidate_id)) without rowid;
create table if not exists exposures(
  member_id text not null, experiment text not null, variant text not null, at integer not null,
  primary key(member_id, experiment)) without rowid;
create table if not exists consents(
  member_id text not null, purpose text not null, given integer not null, at integer not null,
  primary key(member_id, purpose)) without rowid;
create table if not exists reactions(
  member_id text not null, at integer not null, kind text not null, decision_id text not null,
  candidate_id text not null, channel text not null, value real,
  primary key(member_id, at, kind, decision_id, candidate_id)) without rowid;
"""
"""`seq` grows over both tables together: one position says how far somebody has read."""


def commit(connection: apsw.Connection, works: Sequence[Work]) -> list[Outcome]:
    """Write all works in one transaction, in order; all of them or (by exception) none."""
    connection.execute("begin immediate")
    try:
        outcomes = _write_all(connection, works)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
    return outcomes


def _write_all(connection: apsw.Connection, works: Sequence[Work]) -> list[Outcome]:
    events = [row for work in works if isinstance(work, tuple) for row in work if isinstance(row, EventRow)]
    decisions = [row for work in works if isinstance(work, tuple) for row in work if isinstance(row, DecisionRow)]
    fresh = _write_events(connection, events)
    requests = _Requests(connection, works)
    kept = iter(_write_decisions(connection, decisions, requests))
    outcomes = [_outcome(connection, work, fresh, kept, requests) for work in works]
    requests.flush()
    return outcomes


def _outcome(
    connection: apsw.Connection, work: Work, fresh: set[str], kept: Iterator[Kept], requests: _Requests
) -> Outcome:
    if not isinstance(work, tuple):
        return _single(connection, work, requests)
    if work and isinstance(work[0], DecisionRow):
        return tuple(next(kept) for _ in work)
    ids = [row.event_id for row in work if isinstance(row, EventRow)]
    new = fresh.intersection(ids)
    fresh -= new
    return Counts(len(new), len(ids) - len(new))


def _single(
    connection: apsw.Connection, work: RequestRow | VoidRow | SettleRow | SweepRow | BurnRow, requests: _Requests
) -> Outcome:
    if isinstance(work, RequestRow):
        return requests.claim(work)
    if isinstance(work, BurnRow):
        return burning.carry_out(connection, work, _next_seq(connection))
    if isinstance(work, SweepRow):
        return settling.sweep(connection, work.at)
    if isinstance(work, SettleRow):
        if work.how == "release":
            return settling.release(connection, work.reservation_id, work.at)
        return settling.commit(connection, work.reservation_id, work.at, work.given)
    _void(connection, work.decision_id)
    return None


_CHANGES = ("score", "resolved")
"""Reactions after which the first decision of a period is not given again: they change what may be given."""
_LONGEST_PERIOD_US = 31 * 86_400_000_000
_END_PERIODS = "update decisions set period_key = null where member_id = ? and at >= ? and period_key is not null"


def _write_events(connection: apsw.Connection, rows: Sequence[EventRow]) -> set[str]:
    if not rows:
        return set()
    known = set(_known(connection, "select event_id from events where event_id in", [row.event_id for row in rows]))
    fresh = {row.event_id: row for row in reversed(rows) if row.event_id not in known}
    new = [row for row in rows if fresh.get(row.event_id) is row]
    start = _next_seq(connection)
    values = [(start + n, r.event_id, r.member_id, r.received_at, r.payload) for n, r in enumerate(new)]
    _insert(connection, "insert into events(seq, event_id, member_id, received_at, payload)", values)
    given = [(r.member_id, purpose, int(yes), r.received_at) for r in new for purpose, yes in r.consents.items()]
    _insert(connection, "insert or replace into consents(member_id, purpose, given, at)", given)
    _insert(
        connection,
        "insert or ignore into reactions(member_id, at, kind, decision_id, candidate_id, channel, value)",
        [
            (r.member_id, one.at, one.kind, one.decision_id, one.candidate_id, one.channel, one.value)
            for r in new
            for one in r.reactions
        ],
    )
    for member_id, at in {(r.member_id, one.at) for r in new for one in r.reactions if one.kind in _CHANGES}:
        connection.execute(_END_PERIODS, (member_id, at - _LONGEST_PERIOD_US))
    for row in new:
        if row.redeemed is not None:
            said = row.redeemed
            settling.redeem(connection, row.member_id, row.received_at, said.decision_id, said.candidate_id, said.given)
    return set(fresh)


def _next_seq(connection: apsw.Connection) -> int:
    last = connection.execute("select max(seq) from sqlite_sequence").fetchone()
    return int(last[0] or 0) + 1 if last else 1


def _write_decisions(connection: apsw.Connection, rows: Sequence[DecisionRow], requests: _Requests) -> list[Kept]:
    if not rows:
        return []
    owners, start = _standing(connection, [row.period_key for row in rows if row.period_key])
    kept = [_keep(row, owners, requests) for row in rows]
    new = [row for row, outcome in zip(rows, kept, strict=True) if outcome.how == "stored"]
    refused = sqlite.reserve(connection, [row.claim for row in new if row.claim is not None])
    refused |= {row.decision_id: row.refused for row in new if row.refused}
    if refused:
        requests.forget(refused)
        new = [_drawn_only(row) if row.decision_id in refused else row for row in new]
        # What would repeat a decision that was refused in this very commit is to be decided again as well.
        kept = [
            Kept("refused", one.decision_id, refused[one.decision_id]) if one.decision_id in refused else one
            for one in kept
        ]
    _insert_decisions(connection, new, start)
    return kept


def _drawn_only(row: DecisionRow) -> DecisionRow:
    """A decision that was drawn but is not given: it has no period, no contacts, and takes nobody's place."""
    return replace(row, period_key=None, contacts=(), supersedes=None)


def _standing(connection: apsw.Connection, keys: Sequence[str]) -> tuple[dict[str, str], int]:
    """Period → the decision that has it, and the position that comes next, in one statement."""
    owners: dict[str, str] = {}
    last = 0
    for key, decision_id, seq in connection.execute(_STANDING, (_json(keys),)):
        if key is None:
            last = seq
        else:
            owners[key] = decision_id
    return owners, int(last or 0) + 1


_STANDING = """
select period_key, decision_id, 0 from decisions where period_key in (select value from json_each(?))
union all select null, '', max(seq) from sqlite_sequence
"""


def _keep(row: DecisionRow, owners: dict[str, str], requests: _Requests) -> Kept:
    owner = owners.get(row.period_key, row.decision_id) if row.period_key else row.decision_id
    if owner == row.supersedes:
        owner = row.decision_id
    if row.request_id:
        claimed = requests.claim(RequestRow(row.request_id, row.body_hash, owner, row.at))
        if claimed.how != "stored":
            return claimed
    if owner != row.decision_id:
        return Kept("repeat", owner)
    if row.period_key:
        owners[row.period_key] = row.decision_id
    return Kept("stored", row.decision_id)


def _insert_decisions(connection: apsw.Connection, rows: Sequence[DecisionRow], start: int) -> None:
    for row in rows:
        if row.supersedes:
            connection.execute("update decisions set period_key = null where decision_id = ?", (row.supersedes,))
    _insert(
        connection,
        "insert into decisions(seq, decision_id, member_id, family, at, period_key, learnable, payload)",
        [
            (start + n, r.decision_id, r.member_id, r.family, r.at, r.period_key, int(r.learnable), r.payload)
            for n, r in enumerate(rows)
        ],
    )
    _insert(
        connection,
        "insert or ignore into contacts(member_id, at, decision_id, candidate_id, candidate_type, family, channel)",
        [
            (r.member_id, r.at, r.decision_id, c.candidate_id, c.candidate_type, c.family, c.channel)
            for r in rows
            for c in r.contacts
        ],
    )
    _insert(
        connection,
        "insert or ignore into exposures(member_id, experiment, variant, at)",
        [(r.member_id, experiment, variant, r.at) for r in rows for experiment, variant in r.exposures.items()],
    )


def _void(connection: apsw.Connection, decision_id: str) -> None:
    connection.execute("update decisions set period_key = null, learnable = 0 where decision_id = ?", (decision_id,))
    connection.execute(
        "delete from contacts where (member_id, at, decision_id) in "
        "(select member_id, at, decision_id from decisions where decision_id = ?)",
        (decision_id,),
    )
    connection.execute("delete from requests where decision_id = ?", (decision_id,))
    settling.void(connection, decision_id)


class _Requests:
    """Which requests are answered already, those of this batch included."""

    def __init__(self, connection: apsw.Connection, works: Sequence[Work]) -> None:
        self._connection = connection
        self._rows: dict[str, tuple[bytes, str, int]] = {}
        self._new: dict[str, RequestRow] = {}
        ids = list(_request_ids(works))
        if ids:
            sql = "select request_id, body_hash, decision_id, at from requests where request_id in"
            for row in connection.execute(f"{sql} (select value from json_each(?))", (_json(ids),)):
                self._rows[row[0]] = (row[1], row[2], row[3])

    def claim(self, row: RequestRow) -> Kept:
        """Bind the request to its decision unless it is bound already and not yet 24 hours old."""
        known = self._rows.get(row.request_id)
        if known is None or row.at - known[2] > REQUEST_LIFE_US:
            self._rows[row.request_id] = (row.body_hash, row.decision_id, row.at)
            self._new[row.request_id] = row
            return Kept("stored", row.decision_id)
        return Kept("repeat" if known[0] == row.body_hash else "conflict", known[1])

    def forget(self, decisions: Collection[str]) -> None:
        """Unbind the requests of these decisions: they are not given."""
        gone = [name for name, row in self._new.items() if row.decision_id in decisions]
        for name in gone:
            del self._new[name], self._rows[name]

    def flush(self) -> None:
        _insert(
            self._connection,
            "insert or replace into requests(request_id, body_hash, decision_id, at)",
            [(r.request_id, r.body_hash, r.decision_id, r.at) for r in self._new.values()],
        )


def _request_ids(works: Iterable[Work]) -> Iterator[str]:
    for work in works:
        rows = work if isinstance(work, tuple) else (work,)
        for row in rows:
            if isinstance(row, DecisionRow | RequestRow) and row.request_id:
                yield row.request_id


def _known(connection: apsw.Connection, sql: str, ids: Sequence[str]) -> list[str]:
    return [row[0] for row in connection.execute(f"{sql} (select value from json_each(?))", (_json(ids),))]
