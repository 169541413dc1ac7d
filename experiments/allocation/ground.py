"""The ground of the contest: a simulated programme with its features, and a log of what was tried on its members.

Members live through a year of history in our own tables; their features at its end are computed as for serving. Then
some of them get one candidate, or nothing, by lot, with chances that differ for those who bought lately; what follows
within the reward window is what `respond` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.allocation.truth import CANDIDATES, Floats
from experiments.programme.people import Truth
from experiments.simulate import respond, simulate_to, truth
from experiments.worlds import World
from features import behavior
from features.entities import Programme, SegmentRules

Whole = NDArray[np.int64]
ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCTS = 300
DAYS = 365
_BLOCK = 5_000
_WARM_DAYS = 45.0
_NOTHING_WARM, _NOTHING_COLD = 0.28, 0.22


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """What was tried, and what followed. Rows are members."""

    rows: Whole
    """(r,): whose, as positions in the ground."""
    arm: Whole
    """(r,): what was drawn; 0 is nothing, a + 1 the candidate a."""
    chances: Floats
    """(r, 1 + n_candidates)"""
    baskets: Floats
    """(r,): in the reward window."""
    amount: Floats
    """(r,): paid and not paid for them: before what offers took off."""
    margin: Floats
    """(r,): of them, before what offers took off."""
    responded: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """One programme in one world."""

    world: World
    truth: Truth
    features: Floats
    """(n_members, n_features), as known before anything of the log; NaN where missing."""
    names: tuple[str, ...]
    log: Log


def ground(world: World, seed: int, folder: Path, *, members: int, logged: int) -> Ground:
    """Make a programme, and try things on `logged` of its members by lot; `folder` holds its tables."""
    who = truth(world, members=members, products=PRODUCTS, seed=seed)
    simulate_to(folder, world, members=members, products=PRODUCTS, days=DAYS, ends_at=ENDS_AT, seed=seed)
    table = _features(folder, who, world)
    return Ground(world, who, table.to_numpy(np.float64), tuple(table.columns), log(world, who, table, logged, seed))


def _features(folder: Path, who: Truth, world: World) -> pd.DataFrame:
    """What serving would know of them at the end of the history."""
    rules = SegmentRules(60, 2.5, 180, 800.0, 300.0)
    programme = Programme("EUR", "Europe/Vienna", world.tiers, world.points, rules, 0.3)
    parts = []
    for first in range(0, len(who.member_ids), _BLOCK):
        some = who.member_ids[first : first + _BLOCK]
        pairs = pd.DataFrame({"member_id": some, "at": pd.Timestamp(ENDS_AT)})
        parts.append(behavior.historical(folder, pairs, programme))
    table = pd.concat(parts, ignore_index=True).set_index("member_id").drop(columns="at")
    found: pd.DataFrame = table.join(_margins(folder)).loc[who.member_ids.tolist()].astype(np.float64)
    return found


def _margins(folder: Path) -> pd.DataFrame:
    """By member: margin of a basket, of a line, and margin and price of what was bought once only."""
    with duckdb.connect() as connection:
        found: pd.DataFrame = connection.execute(
            """
            with line as (
              select p.member_id, p.basket_id, p.product_id, g.unit_margin as margin, p.unit_price,
                count(*) over (partition by p.member_id, p.product_id) as times
              from read_parquet($purchases) p join read_parquet($products) g using (product_id) where p.quantity > 0
            )
            select member_id, sum(margin) / count(distinct basket_id) as basket_margin, avg(margin) as line_margin,
              avg(margin) filter (where times = 1) as once_margin,
              avg(unit_price) filter (where times = 1) as once_price,
              count(*) filter (where times = 1) / count(distinct basket_id) as once_lines
            from line group by member_id
            """,
            {name: str(folder / f"{name}.parquet") for name in ("purchases", "products")},
        ).df()
    return found.set_index("member_id")


def log(world: World, who: Truth, table: pd.DataFrame, size: int, seed: int) -> Log:
    """Draw a candidate or nothing for `size` members by lot, and let them respond."""
    rng = np.random.default_rng([seed, 41])
    rows = np.sort(rng.choice(len(who.member_ids), size, replace=False))
    recency = table["recency_days"].to_numpy(np.float64)[rows]
    chances = np.where((recency <= _WARM_DAYS)[:, None], _chances(_NOTHING_WARM, 1), _chances(_NOTHING_COLD, -1))
    drawn = (chances.cumsum(axis=1) < rng.random((size, 1))).sum(axis=1)
    arm = np.minimum(drawn, len(CANDIDATES)).astype(np.int64)
    ids = np.array(["do_nothing", *(one.id for one in CANDIDATES)], dtype=object)
    types = np.array(["do_nothing", *(one.type for one in CANDIDATES)], dtype=object)
    asked = pd.DataFrame(
        {
            "member_id": who.member_ids[rows],
            "decision_id": [f"L{row}" for row in rows],
            "candidate_id": ids[arm],
            "candidate_type": types[arm],
            "at": pd.Timestamp(ENDS_AT),
        }
    )
    happened = respond(who, asked, world=world, seed=seed)
    bought, place = happened["purchases"], pd.Series(np.arange(size), index=who.member_ids[rows])
    owner = place.loc[bought["member_id"]].to_numpy()
    product = pd.Index(who.shop.product_ids).get_indexer(pd.Index(bought["product_id"]))
    answered = happened["offer_events"].loc[lambda events: events["type"] == "accept", "member_id"]
    responded = np.zeros(size, np.bool_)
    responded[place.loc[answered].to_numpy()] = True
    baskets = np.bincount(owner[~bought["basket_id"].duplicated().to_numpy()], minlength=size)
    amount, margin = np.zeros(size), np.zeros(size)
    np.add.at(amount, owner, bought["unit_price"].to_numpy(np.float64))
    np.add.at(margin, owner, who.shop.margin[product])
    return Log(rows, arm, chances, baskets.astype(np.float64), amount, margin, responded)


def _chances(nothing: float, lean: int) -> Floats:
    """Chances of nothing and of each candidate; the first candidates are likelier for some, the last for others."""
    weight = 1.0 + 0.06 * lean * (np.arange(len(CANDIDATES)) - (len(CANDIDATES) - 1) / 2)
    found: Floats = np.append(nothing, (1 - nothing) * weight / weight.sum())
    return found
