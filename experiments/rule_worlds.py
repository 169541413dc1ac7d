"""Other rules in a simulated programme whose members respond to points.

They come sooner when points are about to expire, and stay longer the more they hold (docs/simulator.md). The same
people live under both rules.

The simulator knows how long points live and the rates and thresholds of tiers; it knows no other earning rules.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd

from experiments import rule_change
from experiments.rule_change import Side
from experiments.simulate import simulate
from experiments.worlds import World
from features.entities import Programme


def lived(
    world: World, programme: Programme, members: int, days: int, at: datetime, since: datetime, seed: int
) -> tuple[Side, pd.Series[Any]]:
    """What comes of a programme's rules in a world.

    Returns:
        The ledger, and the margin of each member's purchases after `since`, money, indexed by member: quantity times
        the product's margin, less discounts.
    """
    ruled = replace(world, tiers=programme.tiers, points=programme.points)
    tables = simulate(ruled, members=members, products=200, days=days, ends_at=at, seed=seed)
    recent = tables["purchases"][tables["purchases"]["occurred_at"] > since]
    unit = recent["product_id"].map(tables["products"].set_index("product_id")["unit_margin"])
    margin = (recent["quantity"] * unit - recent["discount"]).groupby(recent["member_id"]).sum()
    side = rule_change.side_of(tables["points"], tables["purchases"], programme, at, since, seed)
    return side, margin


def responding(
    world: World, now: Programme, new: Programme, members: int, days: int, at: datetime, since: datetime, seed: int
) -> pd.DataFrame:
    """What the new rules change where members respond, margin of sales included (`rule_change.compare`).

    Args:
        world: how strongly members respond; in the world `none` they do not.
        now: the rules there are.
        new: the rules thought of.
        members: how many live.
        days: how long they live.
        at: when it ends (aware).
        since: flows and margins count from here.
        seed: same seed, same people.
    """
    (first, sold), (other, sold_new) = (lived(world, one, members, days, at, since, seed) for one in (now, new))
    labels = pd.DataFrame({"tier": first.tier})
    return rule_change.compare(first, other, labels, seed, (sold, sold_new))
