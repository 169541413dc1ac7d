"""Products for every member, written to Parquet: the champion's lists as the service would give them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray

from features import filters
from features.learned import Factors, Histories
from features.learned.bulk import Lists, best_many
from features.workspace import Workspace
from serving.champions import Taste
from serving.house import House, open_house
from serving.present import Present
from serving.snapshot import Ask, Placement
from tessera import clock
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables
from training import vectors
from training.interactions import Interactions, histories
from training.ledger import Ledger

AT_ONCE = 10_000
"""Members whose lists are held at a time."""
SCHEMA = pa.schema(
    [
        pa.field("member_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("personal", pa.bool_(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What lists are wanted."""

    out: Path
    k: int = 10
    filter: str | None = None
    only_new: bool = False
    at: datetime | None = None
    """None is now, by the programme clock."""


def run(ws: Workspace, wanted: Wanted) -> int:
    """Write a row for each member and rank; members without consent to personalisation get what is popular.

    Products that are paused or cannot be had are left out, and what the filter leaves out. Members are those of the
    tables as last loaded; consents given or withdrawn since then count.

    Returns:
        How many rows were written.

    Raises:
        RefusedError: there is no recommender, the filter cannot be read, or no product is left.
    """
    needs_tables(ws)
    steps = Steps()
    at = wanted.at or clock.now(ws)
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    with closing(open_house(ws, secrets.token_bytes, open_door=True, patient=True)) as house:
        present = house.watch.present()
        taste = present.champions.taste
        if taste is None:
            raise RefusedError("there is no recommender yet; run `tessera train --model taste` and `tessera promote`")
        allowed = _allowed(present, taste, wanted, at.timestamp())
        with steps.step("purchases and members"):
            ledger = Ledger.read(ws)
            known = onto(ledger.at(at), taste.form.product_ids)
            personal = _consenting(ledger.members, known, house, at)
            tastes = _vectors(ws, taste, known)
        with steps.step(
            f"the best {wanted.k} of {int(allowed.sum()):,} products for {len(known.member_ids):,} members"
        ):
            parts = _lists(taste, known, tastes, personal, wanted, allowed)
            rows = _write(wanted.out, steps.counted(parts, -(-len(known.member_ids) // AT_ONCE), "parts"))
    impersonal = len(personal) - int(personal.sum())
    steps.note(f"{rows:,} rows by taste {taste.version}: {wanted.out}")
    steps.note(f"{impersonal:,} members did not agree to personalisation and get what is popular")
    return rows


def onto(known: Interactions, product_ids: NDArray[np.str_]) -> Interactions:
    """The interactions with these products as their columns; purchases of all others are left out."""
    place = np.searchsorted(known.product_ids, product_ids)
    place = np.minimum(place, max(len(known.product_ids) - 1, 0))
    there = np.flatnonzero(known.product_ids[place] == product_ids) if len(known.product_ids) else np.empty(0, np.intp)
    shape = (len(known.product_ids), len(product_ids))
    into = sp.csr_matrix((np.ones(len(there)), (place[there], there)), shape=shape)
    counts, last_at = (sp.csr_matrix(one @ into.astype(one.dtype)) for one in (known.counts, known.last_at))
    counts.sort_indices()
    last_at.sort_indices()
    column = np.full(len(known.product_ids), -1)
    column[place[there]] = there
    bought = column[known.buys[:, 1]]
    buys = np.stack([known.buys[:, 0], bought], axis=1).astype(np.int32)[bought >= 0]
    return replace(
        known,
        product_ids=product_ids,
        counts=counts,
        last_at=last_at,
        buys=buys,
        bought_at=known.bought_at[bought >= 0],
        product_tags=sp.csr_matrix(into.T @ known.product_tags),
    )


def _allowed(present: Present, taste: Taste, wanted: Wanted, at: float) -> NDArray[np.bool_]:
    """(n_products,): what may be named."""
    ask = Ask("product", (Placement("all", wanted.k),), filter=wanted.filter)
    try:
        found = present.allowed(ask, at)
    except filters.FilterError as error:
        raise RefusedError(f"--filter: {error}") from None
    allowed = np.ones(len(taste.names), bool) if found is None else found.copy()
    allowed &= ~np.isin(taste.form.product_ids, sorted(present.controls.paused))
    if not allowed.any():
        raise RefusedError(f"--filter {wanted.filter!r} leaves no product that can be had; widen it")
    return allowed


def _consenting(members: pd.DataFrame, known: Interactions, house: House, at: datetime) -> NDArray[np.bool_]:
    """(n_members,): whose purchases may be used, by their last profile and by what they said since."""
    said = members[(members["occurred_at"] <= at) & (members["known_at"] <= at)]
    newest = said.sort_values(["member_id", "occurred_at", "known_at"], kind="stable").drop_duplicates(
        "member_id", keep="last"
    )
    yes = newest.loc[newest["consent_personalisation"].astype(bool), "member_id"]
    agreed = np.isin(known.member_ids, yes.to_numpy(np.str_))
    late = int(at.timestamp() * 1e6)
    for row, member in enumerate(known.member_ids.tolist()):
        agreed[row] = house.journal.memory(member, late).consents.get("personalisation", bool(agreed[row]))
    return agreed


def _vectors(ws: Workspace, taste: Taste, known: Interactions) -> NDArray[np.float32] | None:
    """The stored vectors of the model's version, (n_members, k), NaN where there is none or one is to be made anew."""
    stored = vectors.kept(ws, taste.version)
    if stored is None:
        return None
    member_ids, found, at = stored
    place = np.minimum(np.searchsorted(member_ids, known.member_ids), max(len(member_ids) - 1, 0))
    ordered = np.full((len(known.member_ids), found.shape[1]), np.nan, np.float32)
    there = member_ids[place] == known.member_ids
    ordered[there] = found[place[there]]
    if isinstance(taste.form, Factors) and taste.form.gram.size:
        last = np.asarray(known.last_at.max(axis=1).todense()).ravel()
        ordered[last > at] = np.nan
    return ordered


def _lists(
    taste: Taste,
    known: Interactions,
    tastes: NDArray[np.float32] | None,
    personal: NDArray[np.bool_],
    wanted: Wanted,
    allowed: NDArray[np.bool_],
) -> Iterator[pa.Table]:
    nobody = Histories(
        known.counts.shape[1],
        np.zeros(2, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
        np.empty(0, np.float64),
    )
    popular = best_many(taste.form, nobody, known.seconds, wanted.k, allowed=allowed)
    for begin in range(0, len(known.member_ids), AT_ONCE):
        rows = np.arange(begin, min(begin + AT_ONCE, len(known.member_ids)))
        mine = personal[rows]
        places = np.repeat(popular.places, len(rows), axis=0)
        scores = np.repeat(popular.scores, len(rows), axis=0)
        if mine.any():
            asked = histories(known, rows[mine], tastes)
            found = best_many(taste.form, asked, known.seconds, wanted.k, only_new=wanted.only_new, allowed=allowed)
            places[mine], scores[mine] = found.places, found.scores
        yield _table(known.member_ids[rows], mine, taste, Lists(places, scores))


def _table(member_ids: NDArray[np.str_], personal: NDArray[np.bool_], taste: Taste, lists: Lists) -> pa.Table:
    row, rank = np.nonzero(lists.places >= 0)
    columns: tuple[Any, ...] = (
        member_ids[row],
        (rank + 1).astype(np.int32),
        taste.form.product_ids[lists.places[row, rank]],
        lists.scores[row, rank],
        personal[row],
        np.full(len(row), taste.version),
    )
    return pa.Table.from_arrays([pa.array(column) for column in columns], names=SCHEMA.names).cast(SCHEMA)


def _write(out: Path, parts: Iterator[pa.Table]) -> int:
    """Write part after part; the file appears when it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, rows = out.with_name(f".{out.name}.part"), 0
    with pq.ParquetWriter(draft, SCHEMA, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)
            rows += part.num_rows
    draft.replace(out)
    return rows
