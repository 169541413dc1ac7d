"""One redemption, worked out before it is promised: from which lots its points come, or why it cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pandas as pd

from features.ledger.rules import SpendingRule

Code = Literal["CHANNEL_CLOSED", "WRONG_AMOUNT", "BELOW_MINIMUM", "WRONG_STEP", "NOT_ENOUGH_POINTS"]
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lot:
    """What one lot holds right now."""

    lot_id: str
    points: float
    issued_at: datetime
    expires_at: datetime | None = None
    """None: never."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Points taken from one lot."""

    lot_id: str
    points: float
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A redemption that can be promised."""

    channel: str
    points: float
    value: float
    """What the member gets for it, money."""
    cost: float
    """What it costs us, money."""
    draws: tuple[Draw, ...]
    """In the order of use; they add up to `points`."""
    balance: float
    """What is left afterwards."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not, as a code for systems and a sentence for people."""

    code: Code
    text: str


def redeem(
    lots: Iterable[Lot], points: float, channel: SpendingRule | None, at: datetime, cost_per_point: float = 0.0
) -> Redemption | Refused:
    """Take points from the lots that expire soonest, all or nothing.

    Args:
        lots: The member's lots; those that are empty or out of time do not count.
        points: How many.
        channel: The rule of the channel; None where points cannot be used there.
        at: The moment.
        cost_per_point: The programme's, for channels that name none.
    """
    usable = in_order(lots, at)
    balance = sum(lot.points for lot in usable)
    if channel is None:
        return Refused("CHANNEL_CLOSED", "points cannot be used for that; earning.yaml names the channels")
    refused = _amount_fault(points, channel)
    if refused is None and points > balance:
        refused = Refused("NOT_ENOUGH_POINTS", f"{points:g} points are asked for and there are {balance:g}")
    if refused is not None:
        return refused
    draws: list[Draw] = []
    wanted = points
    for lot in usable:
        taken = min(wanted, lot.points)
        if taken > 0:
            draws.append(Draw(lot.lot_id, taken, lot.expires_at))
            wanted -= taken
    unit = cost_per_point if channel.cost_per_point is None else channel.cost_per_point
    return Redemption(
        channel.channel, points, points * channel.value_per_point, points * unit, tuple(draws), balance - points
    )


def in_order(lots: Iterable[Lot], at: datetime) -> list[Lot]:
    """Those that hold points which can be used at a moment, in the order of use."""
    usable = [lot for lot in lots if lot.points > 0 and (lot.expires_at is None or lot.expires_at > at)]
    return sorted(usable, key=lambda lot: (lot.expires_at or _NEVER, lot.issued_at, lot.lot_id))


def _amount_fault(points: float, channel: SpendingRule) -> Refused | None:
    if not (points > 0 and points == int(points)):
        return Refused("WRONG_AMOUNT", f"{points:g} is no number of points; write a whole number above 0")
    if points < channel.min_points:
        least = f"{points:g} points are fewer than the {channel.min_points} that {channel.channel} begins with"
        return Refused("BELOW_MINIMUM", least)
    if points % channel.step:
        return Refused("WRONG_STEP", f"{points:g} points are no multiple of {channel.step}, as {channel.channel} asks")
    return None


def restore(redemption: Redemption, lots: Iterable[Lot], at: datetime) -> tuple[Draw, ...]:
    """What returns to which lot when a redemption is rolled back at `at`; out of time, points do not come back.

    Args:
        redemption: As it was promised.
        lots: The member's lots of now, for their times; lots that are not among them keep the time of the draw.
        at: The moment of the roll-back.
    """
    ends = {lot.lot_id: lot.expires_at for lot in lots}
    now = (Draw(draw.lot_id, draw.points, ends.get(draw.lot_id, draw.expires_at)) for draw in redemption.draws)
    return tuple(draw for draw in now if draw.expires_at is None or draw.expires_at > at)


def lots_of(entries: pd.DataFrame, at: datetime) -> tuple[Lot, ...]:
    """One member's lots at a moment, from rows of the table of points; see `lots_from`."""
    rows = entries.sort_values(["occurred_at", "entry_id"])
    ends = rows["expires_at"].astype(object).where(rows["expires_at"].notna(), None)
    return lots_from(zip(rows["lot_id"], rows["points"], rows["occurred_at"], ends, strict=True), at)


def lots_from(rows: Iterable[tuple[str, float, datetime, datetime | None]], at: datetime) -> tuple[Lot, ...]:
    """One member's lots at a moment, in the order of use.

    Redemptions that an event told of without saying from which lot (their lot is their own) are taken from the lots
    that expire soonest.

    Args:
        rows: Lot, points, when and when they expire, of each entry, in the order of time.
        at: The moment; later entries do not count.
    """
    lots: dict[str, Lot] = {}
    for lot_id, points, when, ends in rows:
        if when > at:
            continue
        lot = lots.get(lot_id)
        if lot is None:
            lots[lot_id] = Lot(lot_id, float(points), when, ends)
        else:
            last = max((one for one in (lot.expires_at, ends) if one is not None), default=None)
            lots[lot_id] = Lot(lot_id, lot.points + float(points), lot.issued_at, last)
    owed = -sum(lot.points for lot in lots.values() if lot.points < 0)
    kept = []
    for lot in in_order(lots.values(), at):
        taken = min(owed, lot.points)
        owed -= taken
        if lot.points > taken:
            kept.append(Lot(lot.lot_id, lot.points - taken, lot.issued_at, lot.expires_at))
    return tuple(kept)
