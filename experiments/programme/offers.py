"""Who is sent what: targeted campaigns at first, then a stretch in which it is drawn by lot, window by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.programme.chance import Flags, Floats, Whole
from experiments.programme.people import Truth
from experiments.worlds import EFFECT_TYPES, Arm, World

WARM_DAYS = 45.0
"""A member whose last basket is at most this old is warm."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What one window brings to each member of a block; `arm` is −1 where nothing was decided."""

    arm: Whole
    probability: Floats
    """NaN where it was not drawn by lot."""
    warm: Flags


def chances(world: World, warm: bool) -> dict[str, float]:
    """Offer id → chance in the randomised stretch, for warm or cold members; sums to one."""
    return {arm.offer_id: arm.warm if warm else arm.cold for arm in world.arms}


def effect_column(arm: Arm) -> int:
    """Column of the arm's type in the effect arrays; −1 for doing nothing."""
    return EFFECT_TYPES.index(arm.type) if arm.type in EFFECT_TYPES else -1


def by_lot(world: World, allowed: Flags, warm: Flags, rng: np.random.Generator) -> Sent:
    """One arm for each member who may be decided about, with the stated chances."""
    uniform = rng.random(len(allowed))
    table = np.array([[arm.cold, arm.warm] for arm in world.arms])
    upto = np.cumsum(table, axis=0)
    arm = np.minimum((uniform[:, None] >= upto[:, warm.astype(np.int64)].T).sum(axis=1), len(world.arms) - 1)
    probability = table[arm, warm.astype(np.int64)]
    return Sent(np.where(allowed, arm, -1), np.where(allowed, probability, np.nan), warm)


def by_campaign(world: World, truth: Truth, allowed: Flags, warm: Flags, rng: np.random.Generator) -> Sent:
    """The marketer's own choice: mostly members who bought lately and like a bargain. Naive comparisons mislead."""
    wish = 0.8 * truth.thrift + 1.2 * warm + rng.normal(size=len(allowed))
    chosen = allowed & (wish > 1.0)
    arm = 1 + rng.integers(len(world.arms) - 1, size=len(allowed))
    return Sent(np.where(chosen, arm, -1), np.full(len(allowed), np.nan), warm)


def of_arm(world: World, table: Floats, arm: Whole) -> Floats:
    """Each member's own value of an effect array for the arm they got; 0 for nothing."""
    columns = np.array([effect_column(a) for a in world.arms])[np.maximum(arm, 0)]
    value = table[np.arange(len(arm)), np.maximum(columns, 0)]
    return np.where((arm >= 0) & (columns >= 0), value, 0.0)
