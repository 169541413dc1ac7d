"""The best way to use points before they expire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isnan

from features.ledger.rules import SpendingRule


@dataclass(frozen=True, slots=True)
class BestUse:
    """A redemption that saves points from expiry."""

    channel: str
    points: int
    value: float
    """What the member gets for them, money."""
    cost: float
    """What it costs us, money."""


def best_use(
    expiring: float, balance: float, channels: Iterable[SpendingRule], cost_per_point: float
) -> BestUse | None:
    """The channel in which expiring points bring the member most; of equals the one that costs us least.

    A channel takes points in steps from a least amount on; older points go first. So the least amount that uses up
    what expires is taken, or the largest that the balance allows.

    Args:
        expiring: Points that expire soon; NaN is none.
        balance: All points of the member.
        channels: Where points can be used.
        cost_per_point: The programme's, for channels that name none.

    Returns:
        None where no channel takes so few points, or none expire.
    """
    found: list[tuple[tuple[float, float, int, str], BestUse]] = []
    for one in channels:
        points = 0 if isnan(expiring) or isnan(balance) else _amount(expiring, balance, one)
        if points:
            unit = cost_per_point if one.cost_per_point is None else one.cost_per_point
            saved = min(points, expiring) * one.value_per_point
            use = BestUse(one.channel, points, points * one.value_per_point, points * unit)
            found.append(((-round(saved, 9), round(unit, 9), points, one.channel), use))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _amount(expiring: float, balance: float, channel: SpendingRule) -> int:
    if expiring <= 0:
        return 0
    most = floor(balance / channel.step) * channel.step
    least = ceil(channel.min_points / channel.step) * channel.step
    wanted = max(ceil(expiring / channel.step) * channel.step, least)
    return min(wanted, most) if most >= least else 0
