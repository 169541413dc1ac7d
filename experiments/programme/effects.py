"""What one decision of a type causes on average: the planted effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.programme import offers
from experiments.programme.chance import Floats
from experiments.programme.people import Truth
from experiments.programme.state import Life
from experiments.worlds import EFFECT_TYPES, World
from features.entities import OFFER_TYPES

ACTION_SHARE = 0.4
"""Chance to answer an action, relative to that of using an offer."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one decision of a type causes on average, against doing nothing."""

    purchase: float
    """Change of the chance of at least one basket in the window."""
    baskets: float
    """Change of the number of baskets."""
    margin: float
    """Change of margin (currency), before the cost of the offer itself."""
    response: float
    """Chance that it is accepted, caused or not."""


def true_effect(truth: Truth, candidate_type: str, *, world: World, window_days: float | None = None) -> Effect:
    """The mean effect over all members of the truth, under `respond`.

    Args:
        truth: Whose.
        candidate_type: A type of offer or action; any other has no effect.
        world: The world of the truth.
        window_days: Days in which outcomes are counted; at least those of the world's reward window (the default), in
            which all that is caused happens.

    Raises:
        ValueError: If `window_days` is shorter than the reward window.
    """
    length = counted_days(world, window_days)
    if candidate_type not in EFFECT_TYPES:
        return Effect(0.0, 0.0, 0.0, 0.0)
    column = EFFECT_TYPES.index(candidate_type)
    lift, drop, uses = truth.lift[:, column], truth.drop[:, column], truth.uses[:, column]
    none = np.exp(-length / truth.gap_days)
    none_later = np.exp(-(length - world.window_days) / truth.gap_days)
    planned = 1 - np.exp(-world.window_days / truth.gap_days)
    purchase = lift * none - drop * (none_later - none)
    baskets = lift - drop * world.window_days / truth.gap_days
    answers = uses * planned * (1 - drop) if candidate_type in OFFER_TYPES else ACTION_SHARE * uses
    response = lift + (1 - lift) * answers
    margin = baskets * truth.impulse_margin
    return Effect(*(float(value.mean()) for value in (purchase, baskets, margin, response)))


def counted_days(world: World, window_days: float | None) -> float:
    """Days in which outcomes are counted: those given, or the world's reward window.

    Raises:
        ValueError: If they are fewer than those in which effects happen.
    """
    length = world.window_days if window_days is None else window_days
    if length < world.window_days:
        raise ValueError(f"window_days={length}: effects take up to {world.window_days} days; count at least as many")
    return length


def caused(life: Life) -> tuple[Floats, Floats, int]:
    """Sums over a block's decisions drawn by lot: effects on purchase and on baskets by type, and how many they are."""
    who = life.shelf.truth
    member, arm = life.log.wholes("decided", "member", "arm")
    probability, natural, reach = life.log.columns("decided", "probability", "natural", "reach")
    (came,) = life.log.columns("passed", "came")
    lot = np.isfinite(probability)
    member, arm, natural, reach, came = member[lot], arm[lot], natural[lot], reach[lot], came[lot]
    kept = 1 - offers.of_arm(life.world, who.drop[member], arm)
    lift, drop = reach[:, None] * who.lift[member], who.drop[member]
    purchase: Floats = (lift * (1 - natural[:, None]) - drop * natural[:, None]).sum(axis=0)
    baskets: Floats = (lift - drop * (came / kept)[:, None]).sum(axis=0)
    return purchase, baskets, len(member)


def by_decision(life: Life) -> dict[str, Floats]:
    """One entry for each decision of a block drawn by lot: who, when, with which chance, and what it caused.

    Returns:
        `member` (place in the block), `at` (days), `contacted` (0 or 1), `chance` of being contacted, and `effect` on
        baskets in the window, as it stands after the contacts before; 0 where nothing was done.
    """
    who = life.shelf.truth
    member, arm = life.log.wholes("decided", "member", "arm")
    at, probability, natural, reach, warm = life.log.columns("decided", "at", "probability", "natural", "reach", "warm")
    lot = np.isfinite(probability)
    lift, drop = (offers.of_arm(life.world, table[member], arm) for table in (who.lift, who.drop))
    nothing = np.array([life.world.arms[0].cold, life.world.arms[0].warm])
    found = {
        "member": member.astype(np.float64),
        "at": at,
        "contacted": (arm > 0).astype(np.float64),
        "chance": 1.0 - nothing[warm.astype(np.int64)],
        "effect": reach * lift - drop * natural,
    }
    return {name: values[lot] for name, values in found.items()}
