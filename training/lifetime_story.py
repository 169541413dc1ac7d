"""What BG/NBD and gamma-gamma together say of members: from features, as serving can, and as their authors do.

Both are fitted as of a cut-off from all who had bought by then. The authors' way counts purchases by day
(`training.purchase_days`) and takes the money of a repeat purchase as what its lines earned; it is the yardstick that a
lifetime-value model has to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.learned.lifetime import HABITS, MONTHS
from training import bgnbd, gamma_gamma, purchase_days
from training.bgnbd import Buying, Habits
from training.gamma_gamma import Spending

Vector = NDArray[np.float64]
_YEAR_DAYS = 365.0
_STEP_DAYS = 30.0
"""Money is discounted as of the middle of steps of at most this long."""
_AGES = np.array([0, 1, 3, 7, 14, 21, 30, 45, 60, 80, 100, 130, 160, 200, 250, 310, 380, 470, 580, 720, 900, 1096.0])
"""Points of the table; features look back three years."""
_PER_OCTAVE = 3
"""Points of the table for every doubling of the frequency."""


class TooFewBuyersError(ValueError):
    """Nobody brought anything after the cut-offs, or hardly anybody stands there."""


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """Both models as of one cut-off, and the table that spares serving their special functions."""

    buying: Buying
    spending: Spending
    frequency: Vector
    age: Vector
    purchases: Vector
    """(3, n_frequencies, n_ages): see `features.learned.lifetime.Lifetime`."""


def story(part: pd.DataFrame, days: int, discount: float) -> Story:
    """Fitted on the features of `features.learned.lifetime.HABITS` at one cut-off; whoever never bought is left out.

    Raises:
        TooFewBuyersError: nobody has bought, all did so at the cut-off itself, or nobody paid anything.
    """
    part = part[part["lifetime_baskets"] > 0]
    baskets, age, recency, spend = (part[name].to_numpy(np.float64) for name in HABITS)
    whole_age = np.ceil(age)
    last = np.where(baskets > 1, np.clip(np.round(age - recency), 0.0, whole_age), 0.0)
    with _said():
        buying = bgnbd.fit(Habits.of(baskets - 1, last, whole_age), starts=1)
        spending = gamma_gamma.fit(baskets, spend / baskets, starts=1)
    top = max(float(baskets.max()), 2.0)
    octaves = np.exp2(np.arange(0, np.log2(top) + 1 / _PER_OCTAVE, 1 / _PER_OCTAVE))
    frequency = np.unique(np.round(np.append(octaves, top))) - 1
    x, t = (grid.ravel() for grid in np.meshgrid(frequency, _AGES, indexing="ij"))
    horizons = (float(days), *(months * _YEAR_DAYS / 12 for months in MONTHS))

    def so_far(horizon: float) -> Vector:
        return bgnbd.while_there(buying, x, t, horizon)

    to_come = np.array([discounted(so_far, horizon, discount) for horizon in horizons])
    table = np.log(np.maximum(to_come, 1e-9)).reshape(len(horizons), len(frequency), len(_AGES))
    return Story(buying, spending, frequency, _AGES, table)


def discounted(so_far: Callable[[float], Vector], horizon: float, discount: float) -> Vector:
    """What comes within a horizon of days, each step worth less by how far its middle lies ahead.

    Args:
        so_far: days ahead → all that is to come by then.
        horizon: days.
        discount: by which a year later is less worth, as a share.
    """
    ends = np.linspace(0.0, horizon, max(1, int(np.ceil(horizon / _STEP_DAYS))) + 1)
    grown = np.array([np.zeros_like(so_far(horizon)), *(so_far(float(end)) for end in ends[1:])])
    worth = (1 + discount) ** (-(ends[1:] + ends[:-1]) / 2 / _YEAR_DAYS)
    found: Vector = worth @ np.diff(grown, axis=0)
    return found


def as_published(lines: pd.DataFrame, at: datetime, days: int, discount: float) -> pd.Series:
    """The authors' forecast for every member: discounted purchases by day × what a purchase is expected to earn.

    Args:
        lines: purchases as `training.purchase_days.summary` takes them, `amount` being what a line earned.
        at: the cut.
        days: the horizon.
        discount: as for `story`.

    Returns:
        Money by member_id.

    Raises:
        TooFewBuyersError: nobody came back and paid by then.
    """
    found = purchase_days.summary(lines, at)
    habits = purchase_days.habits(found)
    with _said():
        buying = bgnbd.fit(habits)
        spending = gamma_gamma.fit(found["frequency"].to_numpy(np.float64), found["spend"].to_numpy(np.float64))
    frequency, spend = found["frequency"].to_numpy(np.float64), found["spend"].to_numpy(np.float64)
    a_time = gamma_gamma.expected(spending, frequency, spend)
    times = discounted(lambda horizon: bgnbd.expected(buying, habits, horizon), float(days), discount)
    return pd.Series(times * a_time, index=found["member_id"])


@contextmanager
def _said() -> Iterator[None]:
    """A fit that has nothing to go by is a history that cannot carry this model."""
    try:
        yield
    except ValueError as nothing:
        raise TooFewBuyersError(f"lifetime: {nothing}") from nothing
