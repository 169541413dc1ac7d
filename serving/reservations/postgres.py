"""Reservations in PostgreSQL, for many processes on many machines; needs the extra `tessera[postgres]`.

The same conditional UPDATE as on SQLite, a budget at a time and always in the same order, so that nobody waits for each
other in a circle: PostgreSQL evaluates its condition again on the row as the transaction before left it. Caps of a
member are counted under the lock of that member's row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import psycopg

from serving.reservations.contract import (
    CAPS_KEPT_US,
    Balance,
    Claim,
    Given,
    Settled,
    Swept,
    Total,
    balance,
    in_the_way,
    refusal,
    safety,
    totals,
)
from serving.reservations.postgres_sql import EXPIRE, LESS, MATURED, NEWEST, PERIOD, RESERVE, SAME, SCHEMA, TELL, UNSURE

T = TypeVar("T")
DEADLOCKS = 5
"""So often a transaction is tried anew."""


class _NoRoomError(Exception):
    """Something of a transaction does not fit; all of it is taken back."""

    def __init__(self, budgets: Sequence[str] = (), keys: Sequence[str] = ()) -> None:
        super().__init__()
        self.budgets, self.keys = tuple(budgets), tuple(keys)


class PostgresReservations:
    """See `Reservations`. One connection; for one thread at a time.

    Args:
        url: such as `postgresql://host/tessera`.
        keeper: whose journal keeps the decisions (`serving.reservations.shared`).
    """

    def __init__(self, url: str, keeper: str = "") -> None:
        self._keeper = keeper
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=2)
        with self._connection.transaction():
            self._connection.execute("select pg_advisory_xact_lock(7283)")  # `create if not exists` is not atomic
            (there,) = self._one("select to_regclass('calibration') is not null")
            if not there:  # making what is there already would wait for everybody who uses it
                self._connection.execute(SCHEMA)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def reserve(self, claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]:
        """See `Reservations.reserve`; every claim is a transaction of its own."""
        refused = {}
        for one in claims:
            try:
                self._whole(partial(self._grant, one))
            except _NoRoomError as full:
                refused[one.decision_id] = in_the_way(one, full.budgets, full.keys)
                self._note(one, full.budgets)
        return refused

    def _whole(self, work: Callable[[], T]) -> T:
        """Run a transaction; again where PostgreSQL ended it because two waited for each other."""
        for _ in range(DEADLOCKS):
            try:
                with self._connection.transaction():
                    return work()
            except psycopg.errors.DeadlockDetected:
                continue
        with self._connection.transaction():
            return work()

    def _grant(self, claim: Claim) -> None:
        run = self._connection.execute
        sql = "insert into claimed(decision_id, keeper) values (%s, %s) on conflict do nothing"
        fresh = run(sql, (claim.decision_id, self._keeper)).rowcount
        if not fresh:
            return
        self._cap(claim)
        for total in totals(claim):
            values = total._asdict()
            if not run(RESERVE, values).rowcount:
                run(PERIOD, (total.budget_id, total.period, total.budget_id))
                if not run(RESERVE, values).rowcount:
                    raise _NoRoomError(budgets=[total.budget_id])
        self._write(claim)

    def _cap(self, claim: Claim) -> None:
        caps = [(hold, cap) for hold in claim.holds if not hold.forced for cap in hold.caps]
        if not caps:
            return
        run = self._connection.execute
        run("insert into cap_members values (%s) on conflict do nothing", (claim.member_id,))
        run("select 1 from cap_members where member_id = %s for update", (claim.member_id,))
        for hold, cap in caps:
            count = "select count(*) from cap_uses where member_id = %s and key = %s and at > %s"
            (used,) = self._one(count, claim.member_id, cap.key, cap.since)
            if used >= cap.count:
                raise _NoRoomError(keys=[cap.key])
            row = (claim.member_id, cap.key, claim.at, hold.reservation_id)
            run("insert into cap_uses(member_id, key, at, reservation_id) values (%s, %s, %s, %s)", row)

    def _write(self, claim: Claim) -> None:
        for hold in claim.holds:
            self._connection.execute(
                "insert into reservations(reservation_id, decision_id, member_id, candidate_id, at, expires_at, state)"
                " values (%s, %s, %s, %s, %s, %s, 'open')",
                (hold.reservation_id, claim.decision_id, claim.member_id, hold.candidate_id, claim.at, hold.expires_at),
            )
            for d in hold.draws:
                self._connection.execute(
                    "insert into draws(reservation_id, budget_id, period, unit, amount, sure, most, face, mean,"
                    " variance, third, hard) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    (hold.reservation_id, d.budget_id, d.period, d.unit, d.amount, d.sure, d.most, d.face, d.mean,
                     d.variance, d.third, d.quantile is None),
                )  # fmt: skip

    def _note(self, claim: Claim, budgets: Sequence[str]) -> None:
        sql = "update budget_use set refused = refused + 1, tight = %s where budget_id = %s and period = %s"
        refusing: list[Total] = [one for one in totals(claim) if one.budget_id in budgets]
        for one in refusing:
            self._connection.execute(sql, (one.amount, one.budget_id, one.period))

    def find(self, reservation_id: str) -> Settled:
        """How a reservation stands; without a state and with the reason UNKNOWN where there is none."""
        return self._find(reservation_id, "")

    def _find(self, reservation_id: str, lock: str) -> Settled:
        sql = f"select state, decision_id, candidate_id, expires_at from reservations where reservation_id = %s {lock}"
        row = self._connection.execute(sql, (reservation_id,)).fetchone()
        return (
            Settled(reservation_id, None, "UNKNOWN") if row is None else Settled(reservation_id, row[0], None, *row[1:])
        )

    def commit(self, reservation_id: str, at: int, given: Given, *, fact: bool = False) -> Settled:
        """See `Reservations.commit`."""
        try:
            return self._whole(partial(self._commit, reservation_id, at, given, fact))
        except _NoRoomError:
            return replace(self.find(reservation_id), reason="OVER_BUDGET")

    def _commit(self, reservation_id: str, at: int, given: Given, fact: bool) -> Settled:
        found = self._find(reservation_id, "for update")
        reason = None if fact and found.state else refusal(found, at)
        if reason or found.state == "committed":
            return replace(found, reason=reason)
        self._spend(found, given, fact=fact)
        self._state(reservation_id, "committed", at)
        return replace(found, state="committed")

    def _spend(self, found: Settled, given: Given, *, fact: bool) -> None:
        sql = "select budget_id, unit, amount, sure, most, face, hard from draws where reservation_id = %s order by 1"
        less = f", {LESS}" if found.state == "open" else ""
        update = f"""update budget_use set spent = spent + %(spent)s {less}
          from (select *, 1 as holds from draws where reservation_id = %(name)s and budget_id = %(budget)s) d
          where {SAME} and (%(limit)s::bigint is null or spent + %(spent)s + open_most - d.most <= %(limit)s)"""
        for budget, unit, amount, sure, most, face, hard in self._all(sql, found.reservation_id):
            said = given.of(unit)
            taken = face if said is None else said
            limit = amount if hard and taken > most and not fact else None
            spent = taken + (sure if found.state == "released" else 0)
            values = {"spent": spent, "name": found.reservation_id, "budget": budget, "limit": limit}
            if not self._connection.execute(update, values).rowcount:
                raise _NoRoomError(budgets=[budget])
            took = "update draws set taken = %s where reservation_id = %s and budget_id = %s"
            self._connection.execute(took, (taken, found.reservation_id, budget))

    def release(self, reservation_id: str, at: int) -> Settled:
        """See `Reservations.release`."""
        return self._whole(partial(self._release, reservation_id, at))

    def _release(self, reservation_id: str, at: int) -> Settled:
        found = self._find(reservation_id, "for update")
        if found.state not in ("open", "committed"):
            return found
        budgets = "select budget_id from draws where reservation_id = %s order by 1"
        back = f"sure, {LESS}" if found.state == "open" else "sure - coalesce(d.taken, 0), tight = 0"
        for (budget,) in self._all(budgets, reservation_id):
            self._connection.execute(
                f"update budget_use set spent = spent - d.{back} from (select *, 1 as holds from draws"
                f" where reservation_id = %s and budget_id = %s) d where {SAME}",
                (reservation_id, budget),
            )
        self._connection.execute("delete from cap_uses where reservation_id = %s", (reservation_id,))
        self._state(reservation_id, "released", at)
        return replace(found, state="released")

    def _state(self, reservation_id: str, state: str, at: int) -> None:
        sql = "update reservations set state = %s, settled_at = %s where reservation_id = %s"
        self._connection.execute(sql, (state, at, reservation_id))

    def sweep(self, at: int, limit: int = 1000) -> Swept:
        """See `Reservations.sweep`; those that somebody settles just now are left for the next."""
        return self._whole(partial(self._sweep, at, limit))

    def _sweep(self, at: int, limit: int) -> Swept:
        over = self._all(
            "select reservation_id, state from reservations where not matured and expires_at <= %s"
            " order by expires_at limit %s for update skip locked",
            at, limit,
        )  # fmt: skip
        if not over:
            return Swept(0)
        names, opened = [name for name, _ in over], [name for name, state in over if state == "open"]
        for budget, period in self._all(
            "select distinct budget_id, period from draws where reservation_id = any(%s) order by 1, 2", opened
        ):
            self._connection.execute(EXPIRE, (opened, budget, period))
        for row in self._all(MATURED, names):
            self._learn(*row)
        run = self._connection.execute
        run(
            "update reservations set state = 'expired', settled_at = %s where reservation_id = any(%s)",
            (at, opened),
        )
        run("update reservations set matured = true where reservation_id = any(%s)", (names,))
        run("delete from cap_uses where at < %s", (at - CAPS_KEPT_US,))
        return Swept(len(over), len(opened))

    def _learn(self, budget_id: str, expected: float, taken: float, faces: float, matured: int) -> None:
        known = self._one(
            """insert into calibration as c (budget_id, expected, taken, faces, matured) values (%s, %s, %s, %s, %s)
            on conflict(budget_id) do update set expected = c.expected + excluded.expected,
            taken = c.taken + excluded.taken, faces = c.faces + excluded.faces, matured = c.matured + excluded.matured
            returning expected, taken, faces, matured""",
            budget_id, expected, float(taken), float(faces), matured,
        )  # fmt: skip
        factor = safety(*known)
        self._connection.execute("update calibration set safety = %s where budget_id = %s", (factor, budget_id))
        self._connection.execute("update budget_use set safety = %s where budget_id = %s", (factor, budget_id))

    def balances(self) -> list[Balance]:
        """See `Reservations.balances`."""
        return [
            balance(row)
            for row in self._all(
                "select budget_id, period, spent, open_count, open_most, open_mean, open_variance, open_third, safety,"
                " granted, refused, tight from budget_use order by budget_id, period"
            )
        ]

    def unsure(self, seconds: float) -> list[str]:
        """Decisions of this keeper that reserved so long ago, and of which nobody said yet that they were kept."""
        return [name for (name,) in self._all(UNSURE, self._keeper, seconds)]

    def sure(self, kept: Collection[str], lost: Collection[str], at: int) -> None:
        """Note which decisions were kept, and give back all that the others reserved."""
        for (name,) in self._all("select reservation_id from reservations where decision_id = any(%s)", list(lost)):
            self.release(name, at)
        self._connection.execute("update claimed set kept = true where decision_id = any(%s)", ([*kept, *lost],))

    def told(self, seq: int | None = None) -> int:
        """How far redemptions that the keeper's journal was told of are known here; `seq` sets it."""
        if seq is not None:
            self._connection.execute(TELL, (self._keeper, seq))
        row = self._one("select seq from told where keeper = %s", self._keeper)
        return int(row[0]) if row else 0

    def newest(self, member_id: str, decision_id: str | None, candidate_id: str | None) -> str | None:
        """The reservation that a redemption is about, by decision, or by candidate: the newest that is still open."""
        values = {"decision": decision_id, "id": candidate_id, "member": member_id}
        found = self._connection.execute(NEWEST, values).fetchone()
        return found[0] if found else None

    def _one(self, sql: str, *values: object) -> Any:
        return self._connection.execute(sql, values).fetchone()

    def _all(self, sql: str, *values: object) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()


@contextmanager
def opened(url: str) -> Iterator[PostgresReservations]:
    """A store that is closed at the end."""
    store = PostgresReservations(url)
    try:
        yield store
    finally:
        store.close()
