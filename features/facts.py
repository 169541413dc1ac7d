"""The typed tables as DuckDB sees them: one view for each table, with rows that are not on disk yet laid on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pandas as pd

from features.tables import TABLES, Column, Table

_TYPES = {
    "text": "varchar",
    "money": "double",
    "number": "double",
    "whole": "bigint",
    "time": "timestamptz",
    "flag": "boolean",
}
READ = ("members", "products", "purchases", "points", "engagements", "offer_events")
"""The tables that the relations of `features.relations` read."""
_LISTED = 500
"""So many members stand in a condition by name; above, it names the first and the last."""


def connect() -> duckdb.DuckDBPyConnection:
    """Open an empty DuckDB in memory that counts time in UTC."""
    connection = duckdb.connect(config={"preserve_insertion_order": False})
    connection.execute("set TimeZone = 'UTC'")
    return connection


def attach(
    connection: duckdb.DuckDBPyConnection,
    tables: Path,
    *,
    where: str = "true",
    fresh: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Make one view for each table that the relations read; a missing file is an empty table.

    Args:
        connection: From `connect`.
        tables: Folder of the typed tables.
        where: Condition for the tables with a `member_id` (see `about`), so that only the row groups of those members
            are read.
        fresh: Typed rows that are not in the files yet. Of two rows with the same key the one known first counts.
    """
    for name in READ:
        table = TABLES[name]
        text = _on_disk(tables / f"{name}.parquet", table)
        if any(column.name == "member_id" for column in table.columns):
            text = f"{text} where {where}"
        rows = (fresh or {}).get(name)
        if rows is not None and len(rows):
            connection.register(f"fresh_{name}", rows.reindex(columns=[column.name for column in table.columns]))
            text = _with_fresh(text, table, where)
        connection.execute(f"create or replace temp view {name} as {text}")


def about(member_ids: Sequence[str]) -> str:
    """A condition that rows of these sorted members pass; of many members it also lets those in between pass."""
    if not member_ids:
        return "false"
    if len(member_ids) <= _LISTED:
        return f"member_id in ({', '.join(_quoted(member) for member in member_ids)})"
    return f"member_id between {_quoted(member_ids[0])} and {_quoted(member_ids[-1])}"


def members(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every member with any row in the attached tables, in the order of ids."""
    names = [name for name in READ if name != "products"]
    union = " union ".join(f"select distinct member_id from {name}" for name in names)
    return [row[0] for row in connection.execute(f"{union} order by 1").fetchall()]


def _on_disk(path: Path, table: Table) -> str:
    if path.exists():
        return f"select {_typed(table.columns)} from read_parquet({_quoted(str(path))})"
    empty = ", ".join(f"null::{_TYPES[column.kind]} as {column.name}" for column in table.columns)
    return f"select * from (select {empty} limit 0)"


def _with_fresh(text: str, table: Table, where: str) -> str:
    fresh = f"select {_typed(table.columns)} from fresh_{table.name} where {where}"
    return (
        f"select * from ({text} union all {fresh}) "
        f"qualify row_number() over (partition by {', '.join(table.key)} order by known_at) = 1"
    )


def _typed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name}::{_TYPES[column.kind]} as {column.name}" for column in columns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
