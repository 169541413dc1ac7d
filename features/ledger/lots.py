"""Lots through time, from the table of points: what each held at each age, and which are open now."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.ledger.liability import Counts, Floats, Whole

STEPS = 12
"""Steps of age in the life of most lots."""
BY_LOTS, BY_POINTS = (0.25, 0.5, 0.75), (1 / 3, 2 / 3)
"""Where members are parted by what they held: small holders are many, large ones hold most points."""
BUCKETS = 200
"""Members are drawn anew in so many groups."""
MOST_MEMBERS = 30_000
"""Hazards are taken from so many members, drawn by lot where there are more."""
_DAY_MS = 86_400_000.0


def open_lots(entries: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """The lots that hold points at a moment.

    Args:
        entries: The table of points; redemptions name their lot.
        at: The moment; later entries do not count.

    Returns:
        Columns `member_id, lot_id, points, age_days, days_left` (infinite for never) and `balance`, all that the
        member holds.
    """
    past = entries[entries["occurred_at"] <= at]
    lots = past.groupby(["member_id", "lot_id"], as_index=False).agg(
        points=("points", "sum"), issued=("occurred_at", "min"), expires_at=("expires_at", "max")
    )
    moment = pd.Timestamp(at)
    lots = lots[(lots["points"] > 0) & ~(lots["expires_at"] <= moment)].reset_index(drop=True)
    lots["age_days"] = (moment - lots["issued"]).dt.total_seconds() / 86_400
    lots["days_left"] = ((lots["expires_at"] - moment).dt.total_seconds() / 86_400).fillna(np.inf)
    lots["balance"] = lots.groupby("member_id")["points"].transform("sum")
    return lots.drop(columns=["issued", "expires_at"])


def counted(entries: pd.DataFrame, at: datetime, life_days: float, seed: int = 0) -> Counts:
    """Points at risk and redeemed at each age of their lots, up to a moment.

    Args:
        entries: The table of points; redemptions name their lot.
        at: The moment; what follows is not looked at.
        life_days: How long most lots live; its twelfth part is a step of age.
        seed: Of the drawing of members and of their groups.
    """
    past = _of_some_members(entries[entries["occurred_at"] <= at], seed)
    step = life_days / STEPS
    times = _ms(past["occurred_at"])
    lot, lot_ids = pd.factorize(past["lot_id"])
    member, member_ids = pd.factorize(past["member_id"], sort=True)
    n = len(lot_ids)
    born = np.full(n, np.inf)
    np.minimum.at(born, lot, times)
    ends = np.full(n, -np.inf)
    np.maximum.at(ends, lot, _ms(past["expires_at"]))
    ends[~np.isfinite(ends)] = np.inf
    owner = np.zeros(n, dtype=np.int64)
    owner[lot] = member
    moments = born[:, None] + np.arange(STEPS + 1)[None, :] * step * _DAY_MS
    points = past["points"].to_numpy(dtype=np.float64)
    redeemed = np.where(past["type"].to_numpy() == "redeem", -points, 0.0)
    held = _sums(lot, times, points, np.arange(n), moments)
    gone = np.diff(_sums(lot, times, redeemed, np.arange(n), moments), axis=1)
    balance = _sums(member, times, points, owner, moments)[:, :-1]
    alive = np.clip((ends[:, None] - moments[:, :-1]) / (step * _DAY_MS), 0.0, 1.0)
    whole = moments[:, 1:] <= _ms(pd.Series([pd.Timestamp(at)]))[0]
    risk = np.where(whole, np.maximum(held[:, :-1], 0.0) * alive, 0.0)
    gone = np.where(whole & (risk > 0), np.maximum(gone, 0.0), 0.0)
    edges = _edges(balance, risk)
    group = np.searchsorted(edges, balance, side="right")
    bucket = buckets(member_ids, seed)[owner]
    return Counts(step, edges, *(_tabled(table, group, bucket, len(edges) + 1) for table in (risk, gone)))


def buckets(members: Any, seed: int) -> Whole:
    """(n,): the group, below `BUCKETS`, with which each member is drawn anew; it hangs on nothing but id and seed."""
    return np.array([zlib.crc32(f"{seed}:{member}".encode()) % BUCKETS for member in members], dtype=np.int64)


def balances_before(entries: pd.DataFrame, redemptions: pd.DataFrame) -> Floats:
    """(n,): what each member held just before a redemption.

    Args:
        entries: A ledger.
        redemptions: Columns `member_id, occurred_at`.
    """
    ids = {member: number for number, member in enumerate(pd.unique(entries["member_id"]))}
    key, times = entries["member_id"].map(ids).to_numpy(dtype=np.int64), _ms(entries["occurred_at"])
    values = entries["points"].to_numpy(dtype=np.float64)
    spent = entries["type"].to_numpy() == "redeem"
    wanted = redemptions["member_id"].map(ids).fillna(-1).to_numpy(dtype=np.int64)
    moments = _ms(redemptions["occurred_at"])[:, None]
    others = _sums(key[~spent], times[~spent], values[~spent], wanted, moments)
    before = others + _sums(key[spent], times[spent], values[spent], wanted, moments - 1)
    found: Floats = np.where(wanted >= 0, before[:, 0], 0.0)
    return found


def _of_some_members(entries: pd.DataFrame, seed: int) -> pd.DataFrame:
    members = np.sort(entries["member_id"].unique().astype(str))
    if len(members) <= MOST_MEMBERS:
        return entries
    some = np.random.default_rng(seed).choice(members, MOST_MEMBERS, replace=False)
    return entries[entries["member_id"].isin(some)]


def _ms(times: pd.Series[Any]) -> Floats:
    """Milliseconds since 1970; NaN for no time."""
    found = times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ms]")
    values = found.astype("int64").to_numpy(dtype=np.float64)
    return np.where(found.isna().to_numpy(), -np.inf, values)


def _sums(key: Whole, times: Floats, values: Floats, wanted: Whole, moments: Floats) -> Floats:
    """The sum of `values` of each wanted key up to each moment, (len(wanted), n_moments)."""
    if not len(key):
        return np.zeros(moments.shape)
    low = float(times.min())
    span = float(max(times.max(), moments.max()) - low) + 2.0
    order = np.lexsort((times, key))
    placed = key[order] * span + (times[order] - low)
    total = np.concatenate([[0.0], np.cumsum(values[order])])
    first = np.searchsorted(key[order], wanted, side="left")
    upto = np.searchsorted(placed, wanted[:, None] * span + (moments - low), side="right")
    found: Floats = total[upto] - total[first][:, None]
    return found


def _edges(balance: Floats, risk: Floats) -> Floats:
    """Balances that cut the lots at risk into four equal parts, and their points into three."""
    weight, held = risk[risk > 0], balance[risk > 0]
    if not len(held):
        return np.empty(0)
    order = np.argsort(held, kind="stable")
    share = np.cumsum(weight[order])
    by_points = np.searchsorted(share / share[-1], BY_POINTS)
    return np.unique(np.concatenate([np.quantile(held, BY_LOTS, method="lower"), held[order][by_points]]))


def _tabled(values: Floats, group: Whole, bucket: Whole, groups: int) -> Floats:
    """(n_buckets, n_groups, landmark, age): the values of each later age by the group at the landmark."""
    table = np.zeros((BUCKETS, groups, STEPS, STEPS))
    for mark in range(STEPS):
        cell = bucket * groups + group[:, mark]
        for age in range(mark, STEPS):
            sums = np.bincount(cell, weights=values[:, age], minlength=BUCKETS * groups)
            table[:, :, mark, age] = sums.reshape(BUCKETS, groups)
    return table
