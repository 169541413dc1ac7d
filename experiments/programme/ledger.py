"""Points of one block: a lot for each basket, used first-in-first-out, expiring by the programme's rule.

A member's points lie on one axis: lot *l* is the stretch (end[l−1], end[l]], and everything below `used` is gone
(redeemed or expired). Points that a coming return will take back never enter the axis: they are earned, held and
reversed inside their own lot, so no lot is ever overdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments.programme.chance import Floats, Log, Whole
from experiments.worlds import World

SMALLEST = 500.0
"""Points that may be redeemed at a time; more goes in hundreds."""


@dataclass(slots=True)
class Ledger:
    """Mutable while a block lives; arrays (n,) and (n, capacity)."""

    expiry_days: float
    count: Whole
    used: Floats
    live: Whole
    """First lot that has not expired."""
    soon: Whole
    """First lot that does not expire within 30 days."""
    year: Whole
    """First basket inside the tier window."""
    time: Floats
    end: Floats
    spent: Floats
    """Cumulative qualifying spend."""
    log: Log = field(default_factory=Log)


def ledger(world: World, members: int) -> Ledger:
    """Nobody has a point yet."""

    def zeros() -> Whole:
        return np.zeros(members, dtype=np.int64)

    wide = np.zeros((members, 32))
    return Ledger(
        float(world.points.expiry_days),
        zeros(),
        np.zeros(members),
        zeros(),
        zeros(),
        zeros(),
        wide,
        wide.copy(),
        wide.copy(),
    )


def expire(book: Ledger, rows: Whole, at: Floats) -> None:
    """Lots of `rows` older than the rule at `at` lose what is left of them; logged as of the moment they expired."""
    before = at - book.expiry_days
    while True:
        lot = book.live[rows]
        due = (lot < book.count[rows]) & (book.time[rows, np.minimum(lot, book.time.shape[1] - 1)] <= before)
        if not due.any():
            return
        rows, before, lot = rows[due], before[due], lot[due]
        end = book.end[rows, lot]
        left = np.maximum(end - np.maximum(book.used[rows], _below(book.end, rows, lot)), 0)
        gone = left > 0
        book.log.add(
            "expire",
            member=rows[gone],
            lot=lot[gone],
            points=left[gone],
            at=book.time[rows, lot][gone] + book.expiry_days,
        )
        book.used[rows] = np.maximum(book.used[rows], end)
        book.live[rows] = lot + 1


def balance(book: Ledger, rows: Whole) -> Floats:
    """Points that can be redeemed, (len(rows),)."""
    return _below(book.end, rows, book.count[rows]) - book.used[rows]


def expiring(book: Ledger, rows: Whole, at: Floats) -> Floats:
    """Points of `rows` that expire within 30 days after `at`."""
    _advance(book, book.soon, rows, at - book.expiry_days + 30)
    return np.maximum(_below(book.end, rows, book.soon[rows]) - book.used[rows], 0)


def tier(book: Ledger, world: World, rows: Whole, at: Floats) -> Whole:
    """Index of the tier that the spend inside its window reaches at `at`, before the basket of the moment."""
    _advance(book, book.year, rows, at - world.tiers[0].window_days)
    spend = _below(book.spent, rows, book.count[rows]) - _below(book.spent, rows, book.year[rows])
    return np.searchsorted(np.array([t.min_spend for t in world.tiers]), spend, side="right") - 1


def earn(book: Ledger, rows: Whole, at: Floats, points: Floats, spend: Floats) -> Whole:
    """Open one lot for each of `rows`; gives the lots' ordinals."""
    lot = book.count[rows]
    if len(lot) and lot.max() + 1 >= book.time.shape[1]:
        for name in ("time", "end", "spent"):
            old = getattr(book, name)
            setattr(book, name, np.concatenate([old, np.zeros_like(old)], axis=1))
    book.time[rows, lot] = at
    book.end[rows, lot] = _below(book.end, rows, lot) + points
    book.spent[rows, lot] = _below(book.spent, rows, lot) + spend
    book.count[rows] = lot + 1
    return lot


def redeem(book: Ledger, rows: Whole, at: Floats, basket: Whole, points: Floats) -> None:
    """Take `points` (no more than the balance) from the oldest lots."""
    start = book.used[rows]
    book.used[rows] = start + points
    book.log.add("redeem", member=rows, basket=basket, at=at, start=start, points=points)


def splits(book: Ledger) -> tuple[Whole, Whole, Floats]:
    """Every redemption cut at the ends of the lots: (redemption's ordinal in the log, lot, points)."""
    member, start, points = book.log.columns("redeem", "member", "start", "points")
    if not len(member):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    rows = member.astype(np.int64)
    width = book.time.shape[1]
    span = book.end.max() + 1.0
    filled = np.arange(width)[None, :] < book.count[:, None]
    edges = (np.where(filled, book.end, span) + np.arange(len(book.end))[:, None] * span).ravel()
    first = np.searchsorted(edges, start + rows * span, side="right") - rows * width
    last = np.searchsorted(edges, start + points + rows * span, side="left") - rows * width
    pieces = last - first + 1
    which = np.repeat(np.arange(len(rows)), pieces)
    lot = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    low = np.maximum(_below(book.end, rows[which], lot), start[which])
    taken = np.minimum(book.end[rows[which], lot], (start + points)[which]) - low
    some = taken > 0
    return which[some], lot[some], taken[some]


def _below(table: Floats, rows: Whole, lot: Whole) -> Floats:
    return np.where(lot > 0, table[rows, np.maximum(lot - 1, 0)], 0.0)


def _advance(book: Ledger, pointer: Whole, rows: Whole, before: Floats) -> None:
    while True:
        here = pointer[rows]
        on = (here < book.count[rows]) & (book.time[rows, np.minimum(here, book.time.shape[1] - 1)] <= before)
        if not on.any():
            return
        rows, before = rows[on], before[on]
        pointer[rows] += 1
