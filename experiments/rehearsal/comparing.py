"""Policies beside each other: totals with intervals, and the gain over the best of the others, paired by member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.programme.chance import Floats

DRAWS = 2_000
TOTALS = (
    "earned", "earned_told", "margin", "discounts", "gifts", "contacts", "liability", "money", "points", "messages",
    "given", "answered", "baskets",
)  # fmt: skip
SHARES = ("fading",)
"""Means over members; the others are sums."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def summary(by_policy: Mapping[str, pd.DataFrame], seed: int) -> dict[str, dict[str, Estimated]]:
    """Policy → figure → its value and interval; accounts have one row for each member, the same for all policies."""
    drawn = weights(len(next(iter(by_policy.values()))), seed)
    found: dict[str, dict[str, Estimated]] = {}
    for name, rows in by_policy.items():
        totals = {what: _estimated(rows[what].to_numpy(), drawn, 1.0) for what in TOTALS}
        shares = {what: _estimated(rows[what].to_numpy(), drawn, 1.0 / len(rows)) for what in SHARES}
        found[name] = {**totals, **shares}
    return found


def gain(by_policy: Mapping[str, pd.DataFrame], ours: str, other: str, seed: int, what: str = "earned") -> Estimated:
    """What one policy has more of than another; members are drawn anew together with both their months."""
    drawn = weights(len(by_policy[ours]), seed)
    return _estimated((by_policy[ours][what] - by_policy[other][what]).to_numpy(), drawn, 1.0)


def best(by_policy: Mapping[str, pd.DataFrame], baselines: tuple[str, ...]) -> str:
    """The baseline that earned most. Chosen by what it is compared on, which is in its favour."""
    return max(baselines, key=lambda name: float(by_policy[name]["earned"].sum()))


def weights(members: int, seed: int, draws: int = DRAWS) -> Floats:
    """How often each member is drawn, (draws, members)."""
    rng = np.random.default_rng((seed, 17))
    return rng.multinomial(members, np.full(members, 1.0 / members), size=draws).astype(np.float64)


def _estimated(values: Floats, drawn: Floats, scale: float) -> Estimated:
    spread = drawn @ values * scale
    low, high = np.quantile(spread, [0.025, 0.975])
    return Estimated(float(values.sum() * scale), float(low), float(high))
