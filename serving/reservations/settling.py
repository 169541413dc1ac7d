"""What becomes of a reservation in the journal's SQLite file: committed, released, or expired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import apsw

from serving.reservations.contract import (
    CAPS_KEPT_US,
    Balance,
    Given,
    Settled,
    Swept,
    balance,
    refusal,
    safety,
)
from serving.sql_rows import as_json


def find(connection: apsw.Connection, reservation_id: str) -> Settled:
    """How a reservation stands; without a state and with the reason UNKNOWN where there is none."""
    row = connection.execute(FIND, (reservation_id,)).fetchone()
    if row is None:
        return Settled(reservation_id, None, "UNKNOWN")
    return Settled(reservation_id, row[0], None, row[1], row[2], row[3])


FIND = "select state, decision_id, candidate_id, expires_at from reservations where reservation_id = ?"


def _rows(connection: apsw.Connection, sql: str, *values: object) -> list[Any]:
    return connection.execute(sql, values).fetchall()  # type: ignore[arg-type, unused-ignore]


def newest(
    connection: apsw.Connection, member_id: str, decision_id: str | None, candidate_id: str | None
) -> str | None:
    """The reservation that a redemption is about, by decision, or by candidate: the newest that is still open."""
    sql = """select reservation_id from reservations where (?1 is null or decision_id = ?1)
      and (?2 is null or candidate_id = ?2) and (?1 is not null or (member_id = ?3 and ?2 is not null))
      order by state = 'open' desc, at desc limit 1"""
    row = connection.execute(sql, (decision_id, candidate_id, member_id)).fetchone()
    return row[0] if row else None


def commit(connection: apsw.Connection, reservation_id: str, at: int, given: Given, *, fact: bool = False) -> Settled:
    """See `Reservations.commit`; the caller holds the transaction."""
    found = find(connection, reservation_id)
    reason = None if fact and found.state else refusal(found, at)
    if reason or found.state == "committed":
        return replace(found, reason=reason)
    try:
        with connection:  # a savepoint: all budgets of the reservation, or none
            for draw in _rows(connection, _DRAWN, reservation_id):
                _spend(connection, reservation_id, found, _Drawn(*draw), given, fact=fact)
            connection.execute(_STATE, ("committed", at, reservation_id))
    except _OverBudgetError:
        return replace(found, reason="OVER_BUDGET")
    return replace(found, state="committed")


class _OverBudgetError(Exception):
    """A commitment beyond what was set aside does not fit."""


class _Drawn(NamedTuple):
    budget_id: str
    unit: str
    amount: int
    sure: int
    most: int
    face: int
    hard: int


_DRAWN = "select budget_id, unit, amount, sure, most, face, hard from draws where reservation_id = ? order by budget_id"


def _spend(
    connection: apsw.Connection, name: str, found: Settled, draw: _Drawn, given: Given, *, fact: bool
) -> None:  # fmt: skip
    said = given.of(draw.unit)
    taken = draw.face if said is None else said
    limit = draw.amount if draw.hard and taken > draw.most and not fact else None
    spent = taken + (draw.sure if found.state == "released" else 0)
    sql = _COMMIT_OPEN if found.state == "open" else _COMMIT_LATE
    connection.execute(sql, (name, draw.budget_id, spent, limit))
    if not connection.changes():
        raise _OverBudgetError
    connection.execute("update draws set taken = ? where reservation_id = ? and budget_id = ?", (taken, name, draw[0]))


_STATE = "update reservations set state = ?, settled_at = ? where reservation_id = ?"
_LESS = """open_count = open_count - d.holds, open_most = open_most - d.most,
  open_mean = case when open_count <= d.holds then 0 else open_mean - d.mean end,
  open_variance = case when open_count <= d.holds then 0 else max(open_variance - d.variance, 0) end,
  open_third = case when open_count <= d.holds then 0 else open_third - d.third end, tight = 0"""
"""What is no longer open; where nothing is, rounding errors of the moments end too."""
_ONE = "(select *, 1 as holds from draws where reservation_id = ?1) d"
_SAME = "budget_use.budget_id = d.budget_id and budget_use.period = d.period"
_COMMIT_OPEN = f"""update budget_use set spent = spent + ?3, {_LESS} from {_ONE} where {_SAME} and d.budget_id = ?2
  and (?4 is null or spent + ?3 + open_most - d.most <= ?4)"""
_COMMIT_LATE = f"update budget_use set spent = spent + ?3 from {_ONE} where {_SAME} and d.budget_id = ?2 and ?4 is null"


def release(connection: apsw.Connection, reservation_id: str, at: int) -> Settled:
    """See `Reservations.release`; the caller holds the transaction."""
    found = find(connection, reservation_id)
    if found.state not in ("open", "committed"):
        return found
    connection.execute(_GIVE_BACK if found.state == "open" else _ROLL_BACK, (reservation_id,))
    connection.execute("delete from cap_uses where reservation_id = ?", (reservation_id,))
    connection.execute(_STATE, ("released", at, reservation_id))
    return replace(found, state="released")


_GIVE_BACK = f"update budget_use set spent = spent - d.sure, {_LESS} from {_ONE} where {_SAME}"
_ROLL_BACK = f"""update budget_use set spent = spent - d.sure - coalesce(d.taken, 0), tight = 0 from {_ONE}
  where {_SAME}"""


def sweep(connection: apsw.Connection, at: int, limit: int = 1000) -> Swept:
    """See `Reservations.sweep`; the caller holds the transaction."""
    sql = "select reservation_id, state from reservations where matured = 0 and expires_at <= ? order by expires_at"
    over = connection.execute(f"{sql} limit ?", (at, limit)).fetchall()
    if not over:
        return Swept(0)
    opened = as_json([name for name, state in over if state == "open"])
    connection.execute(_EXPIRE, (opened,))
    for budget_id, *sums in _rows(connection, _MATURED, as_json([name for name, _ in over])):
        _learn(connection, budget_id, *sums)
    settled = "update reservations set state = 'expired', settled_at = ? where reservation_id in"
    connection.execute(f"{settled} (select value from json_each(?))", (at, opened))
    done = "update reservations set matured = 1 where reservation_id in (select value from json_each(?))"
    connection.execute(done, (as_json([name for name, _ in over]),))
    connection.execute("delete from cap_uses where at < ?", (at - CAPS_KEPT_US,))
    return Swept(len(over), sum(state == "open" for _, state in over))


_EXPIRE = f"""update budget_use set {_LESS} from (select budget_id, period, count(*) as holds, sum(most) as most,
    sum(mean) as mean, sum(variance) as variance, sum(third) as third from draws
    where reservation_id in (select value from json_each(?)) group by budget_id, period) d where {_SAME}"""
_MATURED = """select budget_id, sum(mean), sum(coalesce(taken, 0)), sum(face), count(*) from draws
  join reservations using (reservation_id) where mean > 0 and state != 'released'
  and reservation_id in (select value from json_each(?)) group by budget_id"""


def _learn(
    connection: apsw.Connection, budget_id: str, expected: float, taken: float, faces: float, matured: int
) -> None:  # fmt: skip
    """Add what matured to what a budget knows of its responses, and have all its periods use it."""
    sql = """insert into calibration(budget_id, expected, taken, faces, matured) values (?, ?, ?, ?, ?)
      on conflict(budget_id) do update set expected = expected + excluded.expected, taken = taken + excluded.taken,
      faces = faces + excluded.faces, matured = matured + excluded.matured
      returning expected, taken, faces, matured"""
    (known,) = _rows(connection, sql, budget_id, expected, taken, faces, matured)
    factor = safety(*known)
    connection.execute("update calibration set safety = ? where budget_id = ?", (factor, budget_id))
    connection.execute("update budget_use set safety = ? where budget_id = ?", (factor, budget_id))


def balances(connection: apsw.Connection) -> list[Balance]:
    """See `Reservations.balances`."""
    return [balance(row) for row in _rows(connection, BALANCES)]


BALANCES = """select budget_id, period, spent, open_count, open_most, open_mean, open_variance, open_third, safety,
  granted, refused, tight from budget_use order by budget_id, period"""


def void(connection: apsw.Connection, decision_id: str) -> None:
    """Give back all that a decision reserved which never left."""
    sql = "select reservation_id, at from reservations where decision_id = ?"
    for name, at in _rows(connection, sql, decision_id):
        release(connection, name, at)


def redeem(
    connection: apsw.Connection,
    member_id: str,
    at: int,
    decision_id: str | None,
    candidate_id: str | None,
    given: Given,
) -> None:
    """Commit the reservation that a redemption is about, if there is one: it has happened, so nothing is refused."""
    name = newest(connection, member_id, decision_id, candidate_id)
    if name is not None:
        commit(connection, name, at, given, fact=True)
