"""States of many members out of the typed tables, by the same SQL that computes their features for training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from features import facts
from features.cutoffs import collect
from features.entities import Programme
from features.kept import KEPT
from features.member_facts import of
from features.relations import Relation, Stored, counted, microseconds
from features.states import CONSENTS, GROUPS, HEAD, prefix

MEMBERS_AT_ONCE = 10_000
_HEAD = np.dtype(
    [
        ("built_us", "<i8"),
        *((group, "<u4") for group in GROUPS),
        ("product_bytes", "<u4"),
        ("category_bytes", "<u4"),
        ("region_bytes", "<u2"),
        ("consents", "u1"),
        ("enrolled", "u1"),
    ]
)
assert _HEAD.itemsize == HEAD.size, "the two descriptions of a state's head differ"

_BOUGHT = """
    create or replace temp table bought as
    select purchases.member_id as member_id, product_id, purchase_id, basket_id, quantity, reverses, occurred_at
    from pairs join purchases on purchases.member_id = pairs.member_id
    where epoch_us(known_at) <= at_us and epoch_us(occurred_at) <= at_us;
    create or replace temp table returned as
    select member_id, product_id from bought where quantity < 0
    union
    select sale.member_id, sale.product_id
    from bought as back join bought as sale on back.reverses = sale.purchase_id where back.quantity < 0;
    create or replace temp table known as select * from bought semi join returned using (member_id, product_id);
"""
_PRODUCTS = f"""
    with kept as (
        select member_id, product_id, max(occurred_us) as last_us, count(*) as times
        from (
            select member_id, product_id, basket_id, max(epoch_us(occurred_at)) as occurred_us
            from bought anti join returned using (member_id, product_id) where quantity > 0 group by all
        ) group by all
        union all
        select member_id, product_id, cast(round(max(bought_at) * 1e6) as bigint) as last_us, count(*) as times
        from ({KEPT}) group by member_id, product_id
    )
    select pair, product_id || chr(31) as text, last_us, times
    from kept join pairs using (member_id) order by pair, last_us, product_id
"""
_CATEGORIES = """
    select pairs.pair, category || chr(31) as text, max(occurred_us) as last_us
    from pairs join facts_lines as lines on lines.member_id = pairs.member_id
    where known_us <= at_us and occurred_us <= at_us and at_us - occurred_us < 365 * 86400000000
    group by pairs.pair, category order by pairs.pair, category
"""
_CONSENT_BITS = " + ".join(f"(case when consent_{name} then {1 << i} else 0 end)" for i, name in enumerate(CONSENTS))
_PROFILES = f"""
    select pair, coalesce(region, '') as text,
        {_CONSENT_BITS} as consents
    from (
        select pairs.pair, members.*, row_number() over (
            partition by pairs.pair order by occurred_at desc, known_at desc) as latest
        from pairs join members on members.member_id = pairs.member_id
        where epoch_us(known_at) <= at_us and epoch_us(occurred_at) <= at_us
    ) where latest = 1 order by pair
"""


def state_blobs(
    tables: Path,
    at: datetime,
    programme: Programme,
    member_ids: Sequence[str] | None = None,
    fresh: Mapping[str, pd.DataFrame] | None = None,
    members_at_once: int = MEMBERS_AT_ONCE,
) -> Iterator[tuple[str, bytes, datetime]]:
    """The state of every member as known at `at`.

    Args:
        tables: Folder of the typed tables.
        at: The moment, aware.
        programme: Its rules.
        member_ids: Only these; None is every member. A member without any fact is left out.
        fresh: Typed rows that are not in the tables yet.
        members_at_once: Members in one query.

    Yields:
        Member id, bytes for `features.states.decode`, and `at`.
    """
    wanted = facts.members(tables, fresh) if member_ids is None else sorted(set(member_ids))
    with facts.connect() as connection:
        for start in range(0, len(wanted), members_at_once):
            chunk = wanted[start : start + members_at_once]
            facts.load(connection, tables, chunk, fresh)
            for member_id, blob in _chunk(connection, chunk, at, programme):
                yield member_id, blob, at


def _chunk(
    connection: duckdb.DuckDBPyConnection, members: Sequence[str], at: datetime, programme: Programme
) -> Iterator[tuple[str, bytes]]:
    at_us = microseconds(at)
    numbers = np.arange(len(members))
    connection.register("pairs", pd.DataFrame({"pair": numbers, "member_id": numbers, "at_us": at_us}))
    head = np.zeros(len(members), dtype=_HEAD)
    head["built_us"] = at_us
    columns: list[_Slices] = []
    for relation in of(programme).values():
        collect(connection, relation)
        columns += _relation(connection, relation, head)
    texts = [*_bought(connection, head, columns), _profiles(connection, head)]
    for relation in of(programme).values():
        connection.execute(f"drop table facts_{relation.name}")
    start = prefix("".join(column.typecode for column in columns))
    parts = [*columns, *texts]
    heads = head.tobytes()
    known = sum(head[group] for group in GROUPS) + head["enrolled"] > 0
    size = _HEAD.itemsize
    for i, member_id in enumerate(members):
        if known[i]:
            body = [part.data[part.starts[i] : part.starts[i + 1]] for part in parts]
            yield member_id, b"".join([start, heads[i * size : (i + 1) * size], *body])


class _Slices:
    """One array of all members of a chunk, as bytes with the place where each member's part begins."""

    __slots__ = ("data", "starts", "typecode")

    def __init__(self, data: memoryview, starts: list[int], typecode: str = "") -> None:
        self.data = data
        self.starts = starts
        self.typecode = typecode


def _relation(connection: duckdb.DuckDBPyConnection, relation: Relation, head: np.ndarray) -> list[_Slices]:
    chosen = ", ".join(f"{_encoded(column)} as {column.name}" for column in relation.stored)
    rows = counted(relation, upcoming=True)
    text = f"select pair, occurred_us, {chosen} from ({rows}) as known order by all"
    table = connection.sql(text).to_arrow_table()
    starts = _starts(table, head, relation.name)
    kinds = {column.name: column.kind for column in relation.stored}
    return [
        _slices(
            _numbers(table.column(name), kinds.get(name, "whole")), starts, fixed=kinds.get(name) in ("flag", "word")
        )
        for name in table.column_names[1:]
    ]


def _bought(connection: duckdb.DuckDBPyConnection, head: np.ndarray, columns: list[_Slices]) -> list[_Slices]:
    """Append the arrays of products and categories to `columns`; the ids and names come back as texts."""
    connection.execute(_BOUGHT)
    texts = []
    for group, query, field in (
        ("products", _PRODUCTS, "product_bytes"),
        ("categories", _CATEGORIES, "category_bytes"),
    ):
        table = connection.sql(query).to_arrow_table()
        starts = _starts(table, head, group)
        columns += [_slices(_numbers(table.column(name), "whole"), starts) for name in table.column_names[2:]]
        texts.append(_text(table.column("text"), starts))
        head[field] = np.diff(texts[-1].starts)
    return texts


def _profiles(connection: duckdb.DuckDBPyConnection, head: np.ndarray) -> _Slices:
    table = connection.sql(_PROFILES).to_arrow_table()
    pair = table.column("pair").to_numpy()
    head["consents"][pair] = table.column("consents").to_numpy()
    starts = _starts(table, head, "enrolled")
    text = _text(table.column("text"), starts)
    head["region_bytes"] = np.diff(text.starts)
    return text


def _encoded(column: Stored) -> str:
    if column.kind == "word":
        words = ", ".join(f"'{word}'" for word in column.words)
        return f"coalesce(list_position([{words}], {column.name}), 0)"
    if column.kind == "name":
        return f"hash({column.name})"
    if column.kind == "moment":
        return f"cast({column.name} as double)"
    return column.name


def _numbers(column: pa.ChunkedArray, kind: str) -> np.ndarray:
    values: np.ndarray = column.to_numpy()
    if kind == "name":
        values = pd.factorize(values)[0]
    return values


def _starts(table: pa.Table, head: np.ndarray, field: str) -> np.ndarray:
    """Count the rows of each member into `head` and give the row at which each member begins."""
    counts = np.bincount(table.column("pair").to_numpy(), minlength=len(head))
    head[field] = counts
    return np.concatenate([[0], np.cumsum(counts)])


def _slices(values: np.ndarray, starts: np.ndarray, *, fixed: bool = False) -> _Slices:
    narrow = values.astype(np.uint8) if fixed else _narrow(values)
    offsets = (starts * narrow.itemsize).tolist()
    return _Slices(np.ascontiguousarray(narrow).data.cast("B"), offsets, narrow.dtype.char)


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in the smallest type that holds them; moments that may be missing stay float64."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values.astype(np.dtype("q"))


def _text(column: pa.ChunkedArray, starts: np.ndarray) -> _Slices:
    joined: Any = column.combine_chunks()
    joined = pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined
    joined = joined.cast(pa.large_string())
    _, offsets, data = joined.buffers()
    if not len(joined):
        return _Slices(memoryview(b""), [0] * len(starts))
    places = np.frombuffer(offsets, dtype=np.int64)[joined.offset :][starts].tolist()
    return _Slices(memoryview(data), places)
