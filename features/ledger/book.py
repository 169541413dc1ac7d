"""One member's lots through time: what is issued, redeemed, taken back and expires, and what is owed.

The lot that expires soonest is used first, which is first in first out where all lots live equally long. A return takes
back what its lot still holds. What was already spent of it is taken from the other open lots in the same order, as if
the basket had never been; what they do not hold is a debt that the next lots settle the moment they are issued. Points
of a redemption that is rolled back return to their lots, and expire at once where the lot's time is over meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import Any, Literal

Kind = Literal["earn", "adjust", "reverse", "expire", "redeem", "restore"]
_ORDER: dict[Kind, int] = {"earn": 0, "adjust": 1, "reverse": 2, "expire": 3, "redeem": 4, "restore": 5}
_NEVER = datetime.max.replace(tzinfo=UTC)
Entry = dict[str, Any]
"""A row of the table of points."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Something that asks for points to move; the book says what moves."""

    kind: Kind
    entry_id: str
    at: datetime
    known_at: datetime
    points: float
    """How many, > 0; an adjustment may take away with a negative number."""
    lot_id: str | None = None
    """Of which lot; a redemption without one draws on the lots in order."""
    expires_at: datetime | None = None
    restores: str | None = None
    """The redemption that is rolled back."""
    share: float | None = None
    """Redeem this share of what there is, in whole points, in the place of `points`."""


@dataclass(slots=True)
class _Lot:
    lot_id: str
    at: datetime
    known_at: datetime
    expires_at: datetime | None
    left: float = 0.0
    spent: float = 0.0
    """Redeemed, and not rolled back."""
    claimed: float = 0.0
    """Of what was spent, what a return has asked back already."""

    def order(self) -> tuple[datetime, datetime, str]:
        return (self.expires_at or _NEVER, self.at, self.lot_id)


@dataclass(slots=True)
class _Debt:
    entry_id: str
    points: float
    known_at: datetime


@dataclass(slots=True)
class _Book:
    lots: dict[str, _Lot] = field(default_factory=dict)
    debts: list[_Debt] = field(default_factory=list)
    drawn: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def open_lots(self, at: datetime) -> list[_Lot]:
        return sorted(
            (lot for lot in self.lots.values() if lot.left > 0 and (lot.expires_at is None or lot.expires_at > at)),
            key=_Lot.order,
        )


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a member's movements."""

    entries: tuple[Entry, ...]
    """Signed entries without `member_id` and `source`, in the order of time."""
    debt: float
    """Points asked back that no lot has held so far."""


def play(movements: Iterable[Movement], upto: datetime) -> Played:
    """Carry out one member's movements in the order of time, whatever their order here; expiry comes by itself.

    Args:
        movements: Of one member; each `entry_id` counts once. Reversals name their lot.
        upto: Lots that expire after this moment are still open, and later movements are left out.

    Returns:
        The entries, of which no lot is ever overdrawn: for each lot and stretch of time
        opening + issued − redeemed − expired − reversed = closing, where a roll-back is a negative redemption.
    """
    given = {one.entry_id: one for one in movements if one.at <= upto}
    due = [*given.values(), *_expiries(given.values(), upto)]
    due.sort(key=lambda one: (one.at, _ORDER[one.kind], one.entry_id))
    book = _Book()
    entries: list[Entry] = []
    for one in due:
        entries.extend(_MOVES[one.kind](book, one))
    return Played(tuple(entries), sum(debt.points for debt in book.debts))


def _expiries(given: Iterable[Movement], upto: datetime) -> list[Movement]:
    ends: dict[str, Movement] = {}
    for one in given:
        if one.kind in ("earn", "adjust") and one.expires_at and one.lot_id and one.expires_at <= upto:
            known = max(one.expires_at, one.known_at)
            ends[one.lot_id] = Movement("expire", f"expire:{one.lot_id}", one.expires_at, known, 0.0, one.lot_id)
    return list(ends.values())


def _earn(book: _Book, one: Movement) -> Iterator[Entry]:
    lot_id = one.lot_id or one.entry_id
    lot = book.lots.setdefault(lot_id, _Lot(lot_id, one.at, one.known_at, one.expires_at))
    lot.expires_at = lot.expires_at or one.expires_at  # an adjustment may come before the lot itself
    taken = max(one.points, -lot.left)
    if taken:
        lot.left += taken
        yield _entry(one.kind, one.entry_id, lot, taken, one.at, one.known_at)
    yield from _arrived(book, lot, one)


def _arrived(book: _Book, lot: _Lot, one: Movement) -> Iterator[Entry]:
    """Points that came into a lot pay what is owed; what is out of time already expires at once."""
    yield from _settle(book, lot, one)
    if lot.left > 0 and lot.expires_at is not None and lot.expires_at <= one.at:
        yield _entry("expire", f"expire:{one.entry_id}:{lot.lot_id}", lot, -lot.left, one.at, one.known_at)
        lot.left = 0.0


def _settle(book: _Book, lot: _Lot, why: Movement) -> Iterator[Entry]:
    """Let a lot pay what is owed, the oldest debt first, now that `why` brought points or a debt."""
    for debt in book.debts:
        taken = min(debt.points, lot.left)
        if taken > 0:
            lot.left -= taken
            debt.points -= taken
            known = max(debt.known_at, lot.known_at, why.at)
            yield _entry("reverse", f"{debt.entry_id}@{lot.lot_id}:{why.entry_id}", lot, -taken, why.at, known)
    book.debts = [debt for debt in book.debts if debt.points > 0]


def _reverse(book: _Book, one: Movement) -> Iterator[Entry]:
    lot = book.lots.get(one.lot_id or "")
    if lot is None:
        return
    taken = min(lot.left, one.points)
    if taken > 0:
        lot.left -= taken
        yield _entry("reverse", one.entry_id, lot, -taken, one.at, one.known_at)
    owed = min(one.points - taken, lot.spent - lot.claimed)
    if owed <= 0:
        return
    lot.claimed += owed
    debt = _Debt(one.entry_id, owed, one.known_at)
    book.debts.append(debt)
    for other in book.open_lots(one.at):
        yield from _settle(book, other, one)


def _expire(book: _Book, one: Movement) -> Iterator[Entry]:
    lot = book.lots[one.lot_id or ""]
    if lot.left > 0:
        yield _entry("expire", one.entry_id, lot, -lot.left, one.at, max(one.at, lot.known_at))
        lot.left = 0.0


def _redeem(book: _Book, one: Movement) -> Iterator[Entry]:
    there = [lot for lot in book.open_lots(one.at) if one.lot_id in (None, lot.lot_id)]
    wanted = one.points if one.share is None else floor(one.share * sum(lot.left for lot in there))
    for lot in there:
        taken = min(wanted, lot.left)
        if taken > 0:
            lot.left -= taken
            lot.spent += taken
            wanted -= taken
            book.drawn.setdefault(one.entry_id, []).append((lot.lot_id, taken))
            yield _entry("redeem", f"redeem:{one.entry_id}:{lot.lot_id}", lot, -taken, one.at, one.known_at)


def _restore(book: _Book, one: Movement) -> Iterator[Entry]:
    """Give a redemption's points back to its lots, those drawn on last first."""
    wanted = one.points
    drawn = book.drawn.get(one.restores or "", [])
    while drawn and wanted > 0:
        lot_id, taken = drawn.pop()
        back, lot = min(taken, wanted), book.lots[lot_id]
        if taken > back:
            drawn.append((lot_id, taken - back))
        wanted -= back
        lot.left += back
        lot.spent -= back
        yield _entry("redeem", f"restore:{one.entry_id}:{lot_id}", lot, back, one.at, one.known_at)
        yield from _arrived(book, lot, one)


_MOVES = {
    "earn": _earn,
    "adjust": _earn,
    "reverse": _reverse,
    "expire": _expire,
    "redeem": _redeem,
    "restore": _restore,
}


def _entry(kind: str, entry_id: str, lot: _Lot, points: float, at: datetime, known_at: datetime) -> Entry:
    return {
        "entry_id": entry_id,
        "type": kind,
        "points": points,
        "lot_id": lot.lot_id,
        "expires_at": lot.expires_at,
        "occurred_at": at,
        "known_at": known_at,
    }
