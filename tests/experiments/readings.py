"""Readings of a log by textbook means, independent of the code that planted the effects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def baskets_within(decisions: pd.DataFrame, purchases: pd.DataFrame, days: float) -> pd.Series:
    """Baskets of the member of a decision after it and within `days`, in the order of the decisions."""
    sales = purchases[purchases["quantity"] > 0][["member_id", "basket_id", "occurred_at"]].drop_duplicates("basket_id")
    pairs = decisions[["member_id", "occurred_at"]].reset_index(drop=True).reset_index().merge(sales, on="member_id")
    waited = pairs["occurred_at_y"] - pairs["occurred_at_x"]
    inside = pairs[(waited > pd.Timedelta(0)) & (waited <= pd.Timedelta(days=days))]["index"]
    return inside.value_counts().reindex(range(len(decisions)), fill_value=0).astype(float)


def effects(decisions: pd.DataFrame, outcome: pd.Series) -> Mapping[str, tuple[float, float]]:
    """Candidate type → (effect against doing nothing, its standard error): Hájek, clustered by member."""
    kind = decisions["candidate_type"].to_numpy()
    weight = 1 / decisions["probability"].to_numpy(dtype=np.float64)
    y = outcome.to_numpy(dtype=np.float64)

    def arm(name: str) -> tuple[float, pd.Series]:
        own = np.where(kind == name, weight, 0.0)
        mean = float((own * y).sum() / own.sum())
        return mean, pd.Series(own * (y - mean) / own.sum())

    nothing, influence_0 = arm("do_nothing")
    found: dict[str, tuple[float, float]] = {}
    for name in sorted(set(kind) - {"do_nothing"}):
        mean, influence = arm(name)
        by_member = (influence - influence_0).groupby(decisions["member_id"].to_numpy()).sum()
        found[name] = (mean - nothing, float(np.sqrt((by_member**2).sum())))
    return found
