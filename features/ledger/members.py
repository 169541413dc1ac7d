"""What members spent and which tier that reaches, at one moment: for reports by tier."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from features.entities import Programme


def tiers(purchases: pd.DataFrame, programme: Programme, at: datetime) -> pd.Series:
    """The tier of everybody who ever bought.

    Args:
        purchases: Columns `member_id, amount, occurred_at`.
        programme: Its tiers and their windows.
        at: The moment; spend of that moment and younger than a tier's window counts.

    Returns:
        Tier ids, indexed by member.
    """
    past = purchases[purchases["occurred_at"] <= at]
    found = pd.Series(programme.tiers[0].id, index=pd.Index(sorted(past["member_id"].unique()), name="member_id"))
    for tier in programme.tiers[1:]:
        since = pd.Timestamp(at) - pd.Timedelta(days=tier.window_days)
        spend = past[past["occurred_at"] > since].groupby("member_id")["amount"].sum()
        reached = spend.index[spend >= tier.min_spend]
        found.loc[reached] = tier.id
    return found.rename("tier")
