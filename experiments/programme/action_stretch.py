"""A stretch in which actions instead of offers are drawn by lot, so that what every type of action causes can be read.

It stands beside the frozen histories and changes none of them: members are those of the truth, and what they do after
each draw is what `respond` says. The chances hang on how often a member shops, as a policy's would.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
import orjson
import pandas as pd

from experiments.programme.people import Truth
from experiments.programme.responses import respond
from experiments.programme.typed import Desk, typed, words
from experiments.worlds import EFFECT_TYPES, World
from features.entities import OFFER_TYPES

ACTIONS: tuple[str, ...] = tuple(kind for kind in EFFECT_TYPES if kind not in OFFER_TYPES)
"""Every type of action that may have an effect."""
NOTHING = "do_nothing"
_OFTEN, _SELDOM = 0.40, 0.28
"""Chance of doing nothing for members who shop often, and for those who do not."""
_SLOPE = 0.5
"""The last type is so much likelier than the first for the one kind of members, and less likely for the other."""


def chances(world: World, who: Truth) -> tuple[tuple[str, ...], np.ndarray]:
    """Types with doing nothing first, and each member's chances of them, (n_members, n_types); rows sum to one."""
    often = who.gap_days < world.gap_median
    lean = np.linspace(-_SLOPE, _SLOPE, len(ACTIONS))
    weight = 1.0 + np.where(often[:, None], lean, -lean)
    nothing = np.where(often, _OFTEN, _SELDOM)
    actions = (1.0 - nothing)[:, None] * weight / weight.sum(axis=1, keepdims=True)
    return (NOTHING, *ACTIONS), np.column_stack([nothing, actions])


def randomised_actions(
    world: World, who: Truth, *, begins: datetime, windows: int, seed: int
) -> Mapping[str, pd.DataFrame]:
    """Draw an action or nothing for every member in each of `windows` reward windows, and let members answer.

    Args:
        world: the world of the truth.
        who: the members.
        begins: when the first window opens (aware).
        windows: how many, one after the other.
        seed: same seed, same rows.

    Returns:
        Typed tables `decisions` (with all chances), `purchases`, `offer_events` and `engagements`.
    """
    types, table = chances(world, who)
    rng = np.random.default_rng([seed, 0xAC7])
    upto = np.cumsum(table, axis=1)
    said = [orjson.dumps(dict(zip(types, row, strict=True))).decode() for row in table.tolist()]
    parts = []
    for window in range(windows):
        chosen = np.minimum((rng.random(len(table))[:, None] >= upto).sum(axis=1), len(types) - 1)
        at = np.full(len(table), window * world.window_days)
        parts.append(_decided(Desk(begins, np.inf, rng), who, window, chosen, types, table, said, at))
    decided = pd.concat(parts, ignore_index=True)
    answers = respond(who, decided.assign(at=decided["occurred_at"]), world=world, seed=seed)
    return {"decisions": decided, **answers}


def closes_at(world: World, begins: datetime, windows: int) -> datetime:
    """When the last window has closed and everything is known."""
    return begins + timedelta(days=world.window_days * windows + 1)


def _decided(
    desk: Desk,
    who: Truth,
    window: int,
    chosen: np.ndarray,
    types: tuple[str, ...],
    table: np.ndarray,
    said: list[str],
    at: np.ndarray,
) -> pd.DataFrame:
    n = len(chosen)
    kinds = words(types[one] for one in chosen.tolist())
    probability = table[np.arange(n), chosen]
    return typed(
        "decisions",
        desk,
        at,
        at,
        decision_id=words(f"{member}-A{window:03d}" for member in who.member_ids.tolist()),
        member_id=who.member_ids,
        family="action",
        placement="stretch",
        rank=1,
        candidate_id=kinds,
        candidate_type=kinds,
        probability=probability,
        slate_probability=probability,
        propensities=words(said),
        mode="explore",
        policy_version="stretch",
        learnable=True,
    )
