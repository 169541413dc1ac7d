"""Purchases by day: how often, how recently, for how long and for how much each member has bought, as of a moment.

All baskets of one day (UTC) are one purchase, as usual for models of buying: two receipts of an afternoon are not two
decisions to come. A return is no purchase; its money is taken off the member's last purchase day up to it.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from training.bgnbd import Habits

_DAY_US = 86_400_000_000
_LINES = ("member_id", "quantity", "amount", "occurred_at", "known_at")


def summary(purchases: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """What models of buying must know of every member who has bought by `at`, as it was known then.

    Args:
        purchases: lines with member_id, quantity, amount, occurred_at and known_at, as in the table of this name.
        at: the cut.

    Returns:
        One row for each member, by member_id: `frequency` (days with a purchase after the first), `recency` (days from
        the first purchase to the last), `age` (days from the first purchase to `at`) and `spend` (mean money of a
        repeat purchase, returns taken off; NaN without one, or where nothing is left of it).
    """
    lines, ids = _lines(purchases, round(at.timestamp() * 1e6))
    days = _days(lines)
    by_member = days.groupby("member")
    span = by_member["day"].agg(["min", "max", "size"])
    first = by_member["day"].transform("min")
    repeats = days[days["day"] > first].groupby("member")["amount"].mean().reindex(span.index).to_numpy(np.float64)
    return pd.DataFrame(
        {
            "member_id": ids[span.index.to_numpy(np.int64)],
            "frequency": span["size"].to_numpy(np.float64) - 1,
            "recency": (span["max"] - span["min"]).to_numpy(np.float64),
            "age": round(at.timestamp() * 1e6) // _DAY_US - span["min"].to_numpy(np.float64),
            "spend": np.where(repeats > 0, repeats, np.nan),
        }
    )


def habits(found: pd.DataFrame) -> Habits:
    """The columns of `summary` as the BG/NBD model takes them, in days."""
    return Habits.of(*(found[name].to_numpy(np.float64) for name in ("frequency", "recency", "age")))


def _lines(purchases: pd.DataFrame, cut: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Lines known by then (member as a number, day, amount, sale), and the ids of the numbers, sorted."""
    missing = [name for name in _LINES if name not in purchases]
    if missing:
        raise ValueError(f"purchases: column {missing[0]} is missing; give the lines of the table `purchases`")
    occurred, known = (pd.DatetimeIndex(purchases[name]).as_unit("us").asi8 for name in ("occurred_at", "known_at"))
    then = (occurred <= cut) & (known <= cut)
    member, ids = pd.factorize(purchases["member_id"].to_numpy(dtype=object)[then], sort=True)
    lines = pd.DataFrame(
        {
            "member": member,
            "day": occurred[then] // _DAY_US,
            "amount": purchases["amount"].to_numpy(np.float64)[then],
            "sale": purchases["quantity"].to_numpy(np.float64)[then] > 0,
        }
    )
    return lines, np.asarray(ids, dtype=object)


def _days(lines: pd.DataFrame) -> pd.DataFrame:
    """Purchase days (member, day, amount), in order, each with the returns before the next one taken off."""
    sold = lines["sale"].to_numpy(dtype=bool)
    days = lines[sold].groupby(["member", "day"])["amount"].sum().reset_index()
    taken = lines[~sold]
    member, day = days["member"].to_numpy(np.int64), days["day"].to_numpy(np.int64)
    if not len(taken) or not len(days):
        return days
    span = int(lines["day"].max()) + 1
    theirs = taken["member"].to_numpy(np.int64)
    place = np.searchsorted(member * span + day, theirs * span + taken["day"].to_numpy(np.int64), "right") - 1
    known = (place >= 0) & (member[np.maximum(place, 0)] == theirs)
    off = np.bincount(place[known], taken["amount"].to_numpy(np.float64)[known], len(days))
    days["amount"] += off
    return days
