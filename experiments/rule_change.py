"""What other rules of earning and expiry would have changed: the same purchases, both ledgers, paired by member.

Purchases, engagements and the moments of redemption are those of the history, so this is the effect on the books, not
on what members do. How many points are redeemed at those moments is assumed, twice: the same points (as far as there
are enough), or the same share of what the member then holds. Hazards by age of lot are taken anew from each ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import points
from features.entities import Programme
from features.ledger import liability, lots, members, outlook
from features.ledger.liability import Counts, Floats
from features.ledger.outlook import Interval

Assumption = Literal["same points", "same share"]
ASSUMPTIONS: tuple[Assumption, ...] = ("same points", "same share")
Flags = NDArray[np.bool_]
DRAWS = 200
FLOWS = ("issued", "redeemed", "expired")


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What both rules are applied to."""

    purchases: pd.DataFrame
    engagements: pd.DataFrame
    products: pd.DataFrame
    redemptions: pd.DataFrame
    """What members redeemed: `entry_id, member_id, points` (> 0), `occurred_at, known_at`."""
    at: datetime
    since: datetime
    """Flows are those after this moment."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One set of rules, applied."""

    programme: Programme
    entries: pd.DataFrame
    held: pd.DataFrame
    """Open lots, of `features.ledger.lots.open_lots`."""
    counts: Counts
    flows: pd.DataFrame
    """By member: `issued, redeemed, expired` points after `since`; `fresh` is what was redeemed of lots issued then."""
    tier: pd.Series[Any]
    born_after: frozenset[str]
    """Open lots issued after `since`."""


def redemptions_of(entries: pd.DataFrame) -> pd.DataFrame:
    """What members redeemed, a row for each member and moment, whatever lots it came from."""
    some = entries[entries["type"] == "redeem"]
    found = some.groupby(["member_id", "occurred_at"], as_index=False).agg(
        points=("points", "sum"), known_at=("known_at", "max")
    )
    found["points"] = -found["points"]
    found = found[found["points"] > 0].reset_index(drop=True)
    return found.assign(entry_id=[f"past-{row}" for row in range(len(found))])


def apply(past: Past, programme: Programme, audience: Mapping[str, frozenset[str]], seed: int) -> Side:
    """The ledger that a programme's rules would have made of the past."""
    entries = points.derive(
        past.purchases, programme, past.at, past.redemptions,
        engagements=past.engagements, products=past.products, audience=audience,
    )  # fmt: skip
    return side_of(entries, past.purchases, programme, past.at, past.since, seed)


def side_of(
    entries: pd.DataFrame, purchases: pd.DataFrame, programme: Programme, at: datetime, since: datetime, seed: int
) -> Side:
    """A ledger with what is compared of it."""
    held = lots.open_lots(entries, at)
    born = entries[entries["points"] > 0].groupby("lot_id")["occurred_at"].min()
    fresh = frozenset(born.index[born > since])
    counts = lots.counted(entries, at, programme.points.expiry_days, seed)
    tier = members.tiers(purchases, programme, at)
    return Side(programme, entries, held, counts, _flows(entries, since, fresh), tier, fresh)


def _flows(entries: pd.DataFrame, since: datetime, fresh: frozenset[str]) -> pd.DataFrame:
    recent = entries[entries["occurred_at"] > since]
    kinds = {"issued": recent["type"].isin(["earn", "adjust"]), "expired": recent["type"] == "expire"}
    spent = recent["type"] == "redeem"
    kinds |= {"redeemed": spent, "fresh": spent & recent["lot_id"].isin(fresh)}
    signs = {"issued": 1.0}
    sums = {
        name: signs.get(name, -1.0) * recent[which].groupby("member_id")["points"].sum()
        for name, which in kinds.items()
    }
    return pd.DataFrame(sums).fillna(0.0)


def in_shares(past: Past, side: Side) -> Past:
    """The same past where each redemption takes the share of the balance that it took under `side`'s rules."""
    wishes = past.redemptions
    held = lots.balances_before(side.entries, wishes)
    share = np.divide(wishes["points"].to_numpy(), held, out=np.ones(len(wishes)), where=held > 0)
    other = wishes.assign(share=np.clip(share, 0.0, 1.0))
    return Past(past.purchases, past.engagements, past.products, other, past.at, past.since)


def compare(
    now: Side,
    new: Side,
    labels: pd.DataFrame,
    seed: int,
    sales: tuple[pd.Series[Any], pd.Series[Any]] | None = None,
) -> pd.DataFrame:
    """What changes, for all members and by each label.

    Args:
        now: the rules there are.
        new: the rules thought of.
        labels: indexed by member; every column parts the members (`tier`, `value`, `lifecycle`).
        seed: of the intervals, in which members are drawn anew, the same for both rules.
        sales: margin of each member's purchases in the stretch under the two rules, where these change purchases.

    Returns:
        Index (`by`, `group`); `members`; `<flow>_now`, `<flow>_new` in points; `liability_*`, `breakage_*`; and
        `margin` in money with its interval: less what the points issued in the stretch cost, redeemed so far or
        expected to be; `<name>` is the change, `<name>_low` and `<name>_high` its 95 % interval.
    """
    ids = labels.index
    for side in (now, new):
        ids = ids.union(side.flows.index).union(pd.Index(side.held["member_id"].unique()))
    bucket = lots.buckets(ids, seed)
    picks = liability.picks(lots.BUCKETS, DRAWS, seed)
    money = [_money(side, ids, picks) for side in (now, new)]
    if sales is not None:
        for part, earned in zip(money, sales, strict=True):
            part.cost[:] -= earned.reindex(ids).fillna(0.0).to_numpy(dtype=np.float64)
    rows = {}
    for by, group, inside in _groups(labels.reindex(ids)):
        flows = {
            f"{name}_{which}": float(side.flows[name].reindex(ids).fillna(0.0)[inside].sum())
            for name in FLOWS
            for which, side in (("now", now), ("new", new))
        }
        rows[by, group] = {"members": int(inside.sum()), **flows, **_changes(money, bucket, picks, inside)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["by", "group"])


@dataclass(frozen=True, slots=True, eq=False)
class _Money:
    """By member, with the model and with each of its draws: (1 + draws, n_members)."""

    owed: Floats
    """Liability."""
    left: Floats
    """Points that will never be redeemed, of the open ones."""
    cost: Floats
    """Of the points issued in the stretch."""
    open: Floats
    """(n_members,): open points."""


def _money(side: Side, ids: pd.Index[Any], picks: Floats) -> _Money:
    models = [liability.fitted(side.counts), *(liability.fitted(side.counts, pick) for pick in picks)]
    place = ids.get_indexer(pd.Index(side.held["member_id"]))
    fresh = side.held["lot_id"].isin(side.born_after).to_numpy(dtype=np.float64)
    size, unit = len(ids), side.programme.points.cost_per_point
    held: Floats = np.bincount(place, weights=side.held["points"], minlength=size).astype(np.float64)
    spent = side.flows["fresh"].reindex(ids).fillna(0.0).to_numpy(dtype=np.float64)
    will = [outlook.expected(side.held, model) for model in models]
    expected, expected_fresh = (
        np.stack([np.bincount(place, weights=one * part, minlength=size) for one in will]).astype(np.float64)
        for part in (np.ones(len(fresh)), fresh)
    )
    return _Money(expected * unit, held - expected, (spent + expected_fresh) * unit, held)


def _groups(labels: pd.DataFrame) -> list[tuple[str, str, Flags]]:
    found: list[tuple[str, str, Flags]] = [("all", "all", np.ones(len(labels), dtype=np.bool_))]
    for by in labels.columns:
        names = sorted(labels[by].dropna().unique())
        found += [(str(by), str(name), (labels[by] == name).to_numpy()) for name in names]
    return found


def _changes(sides: list[_Money], bucket: Any, picks: Floats, inside: Flags) -> dict[str, float]:
    """Estimates with the members as they are, intervals with groups of members drawn anew for both rules alike."""
    weights = np.concatenate([np.ones((1, len(bucket))), picks[:, bucket]]) * inside
    owed, cost, left = (
        [(table * weights).sum(1) for table in _tables(sides, name)] for name in ("owed", "cost", "left")
    )
    held = [(side.open[None] * weights).sum(1) for side in sides]
    broken = [
        np.divide(one, all_, out=np.full_like(one, np.nan), where=all_ > 0)
        for one, all_ in zip(left, held, strict=True)
    ]
    found: dict[str, float] = {}
    pairs = {"liability": owed, "breakage": broken}
    for name, (now, new) in pairs.items():
        found |= {f"{name}_now": float(now[0]), f"{name}_new": float(new[0])}
    changes = {"liability": owed[1] - owed[0], "breakage": broken[1] - broken[0], "margin": cost[0] - cost[1]}
    for name, values in changes.items():
        span = Interval.of(float(values[0]), values[1:])
        found |= {name: span.value, f"{name}_low": span.low, f"{name}_high": span.high}
    return found


def _tables(sides: list[_Money], name: str) -> list[Floats]:
    return [getattr(side, name) for side in sides]


def tier_mix(now: Side, new: Side) -> pd.DataFrame:
    """Members by their tier under the rules there are (rows) and under the new ones (columns)."""
    ids = now.tier.index.union(new.tier.index)
    first, other = (side.tier.reindex(ids).fillna(side.programme.tiers[0].id) for side in (now, new))
    return pd.crosstab(first.rename("now"), other.rename("new"))


def stretch(at: datetime, days: float) -> datetime:
    """The beginning of the stretch whose flows are compared."""
    return at - timedelta(days=days)


def row(table: pd.DataFrame, by: str = "all", group: str = "all") -> dict[str, float]:
    """One row of what `compare` gives, by column; KeyError if there is none."""
    return dict(zip(table.columns, table.to_numpy(dtype=np.float64)[table.index.get_loc((by, group))], strict=True))
