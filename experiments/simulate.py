"""A loyalty programme whose truth is known: a history in our own tables, what caused it, what decisions would cause.

>>> from datetime import UTC, datetime
>>> from experiments.worlds import WORLDS
>>> end = datetime(2026, 1, 1, tzinfo=UTC)
>>> tables = simulate(WORLDS["weak"], members=20, products=30, days=200, ends_at=end, seed=1)
>>> len(tables["members"]), len(tables["products"])
(20, 30)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from experiments.programme import papers
from experiments.programme.assortment import Assortment, assortment
from experiments.programme.baskets import Shelf
from experiments.programme.chance import BLOCK, LIFE, PAPERS, stacked, stream
from experiments.programme.effects import Effect, by_decision, caused, true_effect
from experiments.programme.life import live
from experiments.programme.people import Truth, habits, joined, people, tastes
from experiments.programme.profiles import profiles
from experiments.programme.responses import respond
from experiments.programme.seasons import Seasons, seasons
from experiments.programme.state import Life
from experiments.programme.typed import Desk, starts_at
from experiments.worlds import EFFECT_TYPES, World
from features.table_files import as_arrow, replacing, schema_of
from features.tables import TABLES

__all__ = [
    "Effect",
    "Truth",
    "planted",
    "planted_decisions",
    "respond",
    "simulate",
    "simulate_chunks",
    "simulate_to",
    "true_effect",
    "truth",
]


def simulate(
    world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int
) -> Mapping[str, pd.DataFrame]:
    """A whole history in memory, by table name; for many members use `simulate_chunks` or `simulate_to`."""
    whole = simulate_chunks(
        world, members=members, products=products, days=days, ends_at=ends_at, seed=seed, chunk=members
    )
    return next(whole)


def simulate_chunks(
    world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int, chunk: int = BLOCK
) -> Iterator[Mapping[str, pd.DataFrame]]:
    """The same history, `chunk` members at a time (rounded up to whole blocks of 1,000).

    Every row is the same whatever the chunks: chance is seeded by block. Products and offers come with the first.

    Raises:
        ValueError: If a size is too small or `ends_at` has no timezone.
    """
    if members < 1:
        raise ValueError(f"members={members}: a programme needs at least one")
    start = starts_at(ends_at, days)
    shop, clock = assortment(world, products, seed), seasons(days, ends_at)
    desk = Desk(start, days, stream(seed, PAPERS))
    first = {"products": papers.product_table(shop, desk), "offers": papers.offer_table(world, desk)}
    sizes = _blocks(members)
    step = max(1, -(-chunk // BLOCK))
    for at in range(0, len(sizes), step):
        parts = [
            papers.papers(
                _live(world, shop, clock, block, size, days, start, seed), _desk(start, days, seed, block), block
            )
            for block, size in enumerate(sizes[at : at + step], start=at)
        ]
        yield first | {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
        first = {}


def simulate_to(
    folder: Path, world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int
) -> Mapping[str, Path]:
    """Write the history as one Parquet file for each table, in bounded memory: what `features.history.merge` takes.

    Args:
        folder: Made if absent; files of earlier runs are replaced.
        world: One of `WORLDS`.
        members: How many.
        products: How many.
        days: Length of the history.
        ends_at: Its end (aware).
        seed: Same seed, same files.

    Returns:
        Table name → file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in TABLES if name != "outcomes"]
    paths = {name: folder / f"{name}.parquet" for name in names}
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                pq.ParquetWriter(stack.enter_context(replacing(path)), schema_of(TABLES[name]), compression="zstd")
            )
            for name, path in paths.items()
        }
        for tables in simulate_chunks(world, members=members, products=products, days=days, ends_at=ends_at, seed=seed):
            for name, frame in tables.items():
                writers[name].write_table(as_arrow(frame, TABLES[name]).cast(schema_of(TABLES[name])))
    return paths


def truth(world: World, *, members: int, products: int, seed: int) -> Truth:
    """The true parameters of the members that `simulate` with the same arguments lets live."""
    shop = assortment(world, products, seed)
    return joined(people(world, shop, block * BLOCK, size, seed, block) for block, size in enumerate(_blocks(members)))


def planted(world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int) -> pd.DataFrame:
    """What each type would have caused in the randomised stretch of this history: what an estimate is judged by.

    A member's effect depends on the moment: whether a basket was coming anyway, whether they are gone, how many
    contacts they had. This is the mean over all decisions drawn by lot.

    Returns:
        A row for each of EFFECT_TYPES: `type`; `purchase`, the effect on the chance of a basket in the reward window,
        exact; `baskets`, the effect on their number, where those that a sleeping dog would call off are counted in
        the windows in which none were (weighted by the chance of that); `decisions`.
    """
    start = starts_at(ends_at, days)
    shop, clock = assortment(world, products, seed), seasons(days, ends_at)
    lives = (_live(world, shop, clock, b, size, days, start, seed) for b, size in enumerate(_blocks(members)))
    purchase, baskets, drawn = (sum(parts) for parts in zip(*map(caused, lives), strict=True))
    return pd.DataFrame(
        {
            "type": EFFECT_TYPES,
            "purchase": purchase / max(drawn, 1),
            "baskets": baskets / max(drawn, 1),
            "decisions": drawn,
        }
    )


def planted_decisions(
    world: World, *, members: int, products: int, days: int, ends_at: datetime, seed: int
) -> pd.DataFrame:
    """What each decision drawn by lot in this history caused: what estimates of fatigue are judged by.

    Returns:
        A row for each: `member_id`, `at` (days since the start), `contacted`, `chance` of being contacted at all, and
        `effect` on baskets in its window, lower the more contacts came before.
    """
    start = starts_at(ends_at, days)
    shop, clock = assortment(world, products, seed), seasons(days, ends_at)
    parts = []
    for block, size in enumerate(_blocks(members)):
        life = _live(world, shop, clock, block, size, days, start, seed)
        found = pd.DataFrame(by_decision(life))
        ids = life.shelf.truth.member_ids[found.pop("member").astype(int)]
        parts.append(found.assign(member_id=ids))
    return pd.concat(parts, ignore_index=True)


def _blocks(members: int) -> list[int]:
    return [min(BLOCK, members - first) for first in range(0, members, BLOCK)]


def _desk(start: datetime, days: int, seed: int, block: int) -> Desk:
    return Desk(start, days, stream(seed, PAPERS, block + 1))


def _live(
    world: World, shop: Assortment, clock: Seasons, block: int, size: int, days: int, start: datetime, seed: int
) -> Life:
    who = people(world, shop, block * BLOCK, size, seed, block)
    weights = tastes(shop, who.taste)
    staples = habits(world, shop, weights, seed, block)
    rng = stream(seed, LIFE, block)
    last = staples.begins * days - rng.random(staples.gap_days.shape) * staples.gap_days
    months = (start.timetuple().tm_yday - 1) / 30.44
    shelf = Shelf(shop, who, staples, last, stacked(weights), days, months)
    return live(world, shelf, profiles(days, size, seed, block), clock, days, rng)
