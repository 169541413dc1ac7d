"""Purchases known at a moment → who bought what, how often and when last, as matrices with their ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from features.kept import KEPT
from features.learned import Histories, MemberHistory

_REGION = "region:"


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Everything a recipe may learn from. Rows are members, columns are products, in the order of the ids."""

    at: datetime
    member_ids: NDArray[np.str_]
    """(n_members,), sorted: every member known at `at`, with or without purchases."""
    product_ids: NDArray[np.str_]
    """(n_products,), sorted: every product known at `at`, bought or not."""
    counts: sp.csr_matrix
    """(n_members, n_products) float32: baskets in which it was bought, returns taken off."""
    last_at: sp.csr_matrix
    """Same shape and places as `counts`, float64: when it was last bought, epoch seconds."""
    buys: NDArray[np.int32]
    """(n_buys, 2): row and column of each purchase, one for each basket, sorted by member, product, time."""
    bought_at: NDArray[np.float64]
    """(n_buys,): epoch seconds."""
    member_tags: sp.csr_matrix
    """(n_members, n_member_tags) float32: 1 where the member has the tag."""
    member_tag_names: tuple[str, ...]
    product_tags: sp.csr_matrix
    """(n_products, n_product_tags) float32."""
    product_tag_names: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """`at` as epoch seconds."""
        return self.at.timestamp()


def build(purchases: pd.DataFrame, products: pd.DataFrame, members: pd.DataFrame, at: datetime) -> Interactions:
    """What was known at `at`: rows that had happened and that had arrived, returns taken off.

    Args:
        purchases: The typed table; `quantity` below 0 is a return.
        products: The typed table; `category` and `brand` become tags. May be empty.
        members: The typed table, of which each member's newest row counts; `region` and `birth_year` become tags. May
            be empty.
        at: Aware, UTC.
    """
    buys = kept_purchases(_known(purchases, at))
    facts, people = _newest(_known(products, at), "product_id"), _newest(_known(members, at), "member_id")
    member_ids = _ids(people["member_id"], buys["member_id"])
    product_ids = _ids(facts["product_id"], buys["product_id"])
    rows, columns = _places(member_ids, buys["member_id"]), _places(product_ids, buys["product_id"])
    times = buys["bought_at"].to_numpy(np.float64)
    counts, last_at = _matrices(rows, columns, times, (len(member_ids), len(product_ids)))
    facts, people = facts.set_index("product_id"), people.set_index("member_id")
    product_tags, product_tag_names = _tags(facts, product_ids, _product_tag_columns(facts))
    member_tags, member_tag_names = _tags(people, member_ids, _member_tag_columns(people))
    return Interactions(
        at=at,
        member_ids=member_ids,
        product_ids=product_ids,
        counts=counts,
        last_at=last_at,
        buys=np.stack([rows, columns], axis=1).astype(np.int32),
        bought_at=times,
        member_tags=member_tags,
        member_tag_names=member_tag_names,
        product_tags=product_tags,
        product_tag_names=product_tag_names,
    )


def with_only(interactions: Interactions, kept: NDArray[np.bool_]) -> Interactions:
    """The same members and products with only some of the purchases.

    Args:
        interactions: All of them.
        kept: (n_buys,): which of `interactions.buys` stay.
    """
    buys, times = interactions.buys[kept], interactions.bought_at[kept]
    rows, columns = buys[:, 0].astype(np.intp), buys[:, 1].astype(np.intp)
    counts, last_at = _matrices(rows, columns, times, interactions.counts.shape)
    return replace(interactions, counts=counts, last_at=last_at, buys=buys, bought_at=times)


def kept_purchases(purchases: pd.DataFrame) -> pd.DataFrame:
    """One row (member_id, product_id, bought_at) for each member, product and basket of which something was kept.

    A return that names its sale is taken off that sale; any other is taken off the member's latest sales of the
    product before it. A return of more than was ever bought leaves nothing and does no harm to later sales.
    """
    columns = ["purchase_id", "basket_id", "member_id", "product_id", "quantity", "reverses", "occurred_at"]
    known = purchases.reindex(columns=columns)
    known = known.assign(reverses=known["reverses"].astype("string"))
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("known", known)
        found: pd.DataFrame = connection.sql(KEPT).df()
    return found


def member_history(interactions: Interactions, row: int, vector: NDArray[np.float32] | None = None) -> MemberHistory:
    """What a form is asked with for the member in this row, as serving would ask."""
    counts, last_at = interactions.counts, interactions.last_at
    span = slice(counts.indptr[row], counts.indptr[row + 1])
    index, region = counts.indices[span].astype(np.int32), str(regions(interactions, np.array([row]))[0])
    return MemberHistory(index, counts.data[span], last_at.data[span], vector, interactions.seconds, region)


def regions(interactions: Interactions, rows: NDArray[np.intp] | None = None) -> NDArray[np.str_]:
    """The region of the members in these rows (all if None), (n,); empty where nobody knows it."""
    names = [(at, name) for at, name in enumerate(interactions.member_tag_names) if name.startswith(_REGION)]
    tags = interactions.member_tags if rows is None else interactions.member_tags[rows]
    known = tags[:, [at for at, _ in names]].tocoo()
    texts = np.array([name.removeprefix(_REGION) for _, name in names] or [""], np.str_)
    found = np.zeros(tags.shape[0], texts.dtype)
    found[known.row] = texts[known.col]
    return found


def histories(
    interactions: Interactions, rows: NDArray[np.intp] | None = None, vectors: NDArray[np.float32] | None = None
) -> Histories:
    """The same for the members in these rows (all if None), together; `vectors` are those of all members."""
    counts, last_at = interactions.counts, interactions.last_at
    if rows is not None:
        counts, last_at = counts[rows], last_at[rows]
        vectors = None if vectors is None else vectors[rows]
    return Histories(
        counts.shape[1],
        counts.indptr.astype(np.int64),
        counts.indices.astype(np.int32),
        counts.data,
        last_at.data,
        vectors,
        regions(interactions, rows),
    )


def _known(frame: pd.DataFrame, at: datetime) -> pd.DataFrame:
    return frame[(frame["occurred_at"] <= at) & (frame["known_at"] <= at)]


def _newest(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """The row of each key that happened last; of those the one known last."""
    return frame.sort_values([key, "occurred_at", "known_at"], kind="stable").drop_duplicates(key, keep="last")


def _ids(*columns: pd.Series[Any]) -> NDArray[np.str_]:
    return np.unique(np.concatenate([column.unique().astype(np.str_) for column in columns]))


def _places(ids: NDArray[np.str_], column: pd.Series[Any]) -> NDArray[np.intp]:
    """Position of each value in `ids`; every value must be there."""
    codes, values = pd.factorize(column)
    return np.searchsorted(ids, np.asarray(values, np.str_))[codes] if len(values) else np.empty(0, np.intp)


def _matrices(
    rows: NDArray[np.intp], columns: NDArray[np.intp], times: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """How often and when last, from purchases sorted by row, column and time."""
    pair = rows.astype(np.int64) * shape[1] + columns
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    ends = np.append(starts[1:], len(pair))[: len(starts)]
    where = (rows[starts], columns[starts])
    counts = sp.csr_matrix(((ends - starts).astype(np.float32), where), shape=shape)
    return counts, sp.csr_matrix((times[ends - 1], where), shape=shape)


def _product_tag_columns(facts: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    return {name: facts[name] for name in ("category", "brand") if name in facts}


def _member_tag_columns(people: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    columns = {"region": people["region"]} if "region" in people else {}
    if "birth_year" in people:
        born = pd.to_numeric(people["birth_year"], errors="coerce")
        columns["born"] = (born // 10 * 10).astype("Int64").astype("string")
    return columns


def _tags(
    facts: pd.DataFrame, ids: NDArray[np.str_], columns: dict[str, pd.Series[Any]]
) -> tuple[sp.csr_matrix, tuple[str, ...]]:
    """One column for each value that occurs, named `column:value`; ids without a value have no 1 there."""
    table = facts.reindex(ids)
    parts, names = [sp.csr_matrix((len(ids), 0), dtype=np.float32)], []
    for prefix, column in columns.items():
        codes, values = pd.factorize(column.reindex(table.index), sort=True)
        has = np.flatnonzero(codes >= 0)
        ones = np.ones(len(has), np.float32)
        parts.append(sp.csr_matrix((ones, (has, codes[has])), shape=(len(ids), len(values))))
        names += [f"{prefix}:{value}" for value in values]
    return sp.csr_matrix(sp.hstack(parts, format="csr", dtype=np.float32)), tuple(names)
