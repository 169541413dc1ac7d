"""How likely the points that expire next are used anyway."""

from __future__ import annotations

from math import inf

import numpy as np

from features.ledger.liability import RedemptionModel, redemption_chance
from features.states import COLUMNS, State

DAY_US = 86_400_000_000


def used_anyway(model: RedemptionModel, state: State, at: float, points: float) -> float | None:
    """The chance that the points a member would use next are redeemed before they expire even without the offer.

    Args:
        model: By age of lot and balance.
        state: The member's.
        at: Epoch seconds.
        points: How many would be used: from the lots that expire soonest.

    Returns:
        The mean over these points, 0..1; None for a member without points.
    """
    lots = _lots(state, round(at * 1e6))
    balance, left, weights = sum(lot[2] for lot in lots), points, []
    for _, _, held in lots:
        weights.append(min(held, max(left, 0.0)))
        left -= held
    if not sum(weights):
        return None
    ages, days, _ = (np.array(column, dtype=np.float64) for column in zip(*lots, strict=True))
    chances = redemption_chance(model, ages, days, float(balance))
    return float(np.average(chances, weights=weights))


def _lots(state: State, at_us: int) -> list[tuple[float, float, float]]:
    """(age in days, days left, points) of the lots that hold points, those that expire soonest first."""
    held: dict[int, list[float]] = {}
    names = ("occurred_us", "lot", "points", "expires_us")
    for when, lot, points, expires in zip(*(state.columns[COLUMNS["points", name]] for name in names), strict=True):
        if when <= at_us:
            one = held.setdefault(int(lot), [float(when), inf, 0.0])
            one[2] += points
            if expires == expires and expires:
                one[1] = float(expires) if one[1] == inf else max(one[1], float(expires))
    alive = sorted((one for one in held.values() if one[2] > 0 and one[1] > at_us), key=lambda one: (one[1], one[0]))
    return [((at_us - born) / DAY_US, (ends - at_us) / DAY_US, points) for born, ends, points in alive]
