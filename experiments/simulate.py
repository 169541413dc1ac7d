"""A loyalty programme whose truth is known: a history in our own tables, what caused it, and what decisions would cause.

>>> from datetime import UTC, datetime
>>> from experiments.worlds import WORLDS
>>> tables = simulate(WORLDS["weak"], members=20, products=30, days=200, ends_at=datetime(2026, 1, 1, tzinfo=UTC), seed=1)
>>> len(tables["members"]), len(tables["products"])
(20, 30)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from experiments.programme import papers
from experiments.programme.assortment import Assortment, assortment
from experiments.programme.baskets import Shelf
from experiments.programme.chance import BLOCK, LIFE, PAPERS, stacked, stream
from experiments.programme.life import Life, live
from experiments.programme.people import Truth, habits, joined, people, tastes
from experiments.programme.profiles import profiles
from experiments.programme.seasons import Seasons, seasons
from experiments.worlds import World


def simulate(
    world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int
) -> Mapping[str, pd.DataFrame]:
    """A whole history in memory, by table name; for many members use `simulate_chunks` or `simulate_to`."""
    chunks = list(
        simulate_chunks(
            world, members=members, products=products, days=days, ends_at=ends_at, seed=seed, chunk=max(members, 1)
        )
    )
    return chunks[0]


def simulate_chunks(
    world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int, chunk: int = BLOCK
) -> Iterator[Mapping[str, pd.DataFrame]]:
    """The same history, `chunk` members at a time (rounded up to whole blocks of 1,000); products and offers come first.

    Every row is the same whatever the chunks: chance is seeded by block.
    """
    shop, clock = assortment(world, products, seed), seasons(days, ends_at)
    desk = papers.Desk(papers.starts_at(ends_at, days), days, np.random.default_rng(0))
    whole = {"products": papers.product_table(shop, desk), "offers": papers.offer_table(world, desk)}
    per_chunk = max(1, -(-chunk // BLOCK))
    blocks = -(-members // BLOCK)
    for first in range(0, blocks, per_chunk):
        parts: list[dict[str, pd.DataFrame]] = []
        for block in range(first, min(first + per_chunk, blocks)):
            life = _life(world, shop, clock, block, min(BLOCK, members - block * BLOCK), days, ends_at, seed)
            desk = papers.Desk(papers.starts_at(ends_at, days), days, stream(seed, PAPERS, block))
            parts.append(papers.papers(life, desk, block))
        tables = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
        yield {**(whole if first == 0 else {}), **tables}


def truth(world: World, *, members: int, products: int, seed: int) -> Truth:
    """The true parameters of the members that `simulate` with the same arguments lets live."""
    shop = assortment(world, products, seed)
    sizes = [min(BLOCK, members - first) for first in range(0, members, BLOCK)]
    return joined(people(world, shop, block * BLOCK, size, seed, block) for block, size in enumerate(sizes))


def _life(
    world: World, shop: Assortment, clock: Seasons, block: int, count: int, days: int, ends_at: datetime, seed: int
) -> Life:
    who = people(world, shop, block * BLOCK, count, seed, block)
    weights = tastes(shop, who.taste)
    staples = habits(world, shop, weights, seed, block)
    rng = stream(seed, LIFE, block)
    last = -rng.random(staples.gap_days.shape) * staples.gap_days + staples.begins * days
    month = (papers.starts_at(ends_at, days).timetuple().tm_yday - 1) / 30.44
    shelf = Shelf(shop, who, staples, last, stacked(weights), days, month)
    return live(world, shelf, profiles(days, count, seed, block), clock, days, rng)
