"""The typed tables as DuckDB sees them: the rows of some members, with rows that are not on disk yet laid on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pandas as pd

from features.member_facts import READ
from features.table_files import SQL_TYPES
from features.tables import TABLES, Column, Table

_HASHED = ("basket_id", "purchase_id", "reverses")
_LISTED = 500
"""So many members stand in a condition by name; above, it names the first and the last."""


def connect() -> duckdb.DuckDBPyConnection:
    """Open an empty DuckDB in memory that counts time in UTC."""
    connection = duckdb.connect(config={"preserve_insertion_order": False})
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set enable_progress_bar = false")
    return connection


def members(tables: Path, fresh: Mapping[str, pd.DataFrame] | None = None, known_after: str = "true") -> list[str]:
    """Every member with any row, in the order of ids.

    Args:
        tables: Folder of the typed tables.
        fresh: Typed rows that are not in the files yet.
        known_after: Condition that one of the member's rows must pass.
    """
    with connect() as connection:
        selects = [
            f"select distinct member_id from ({_rows(connection, tables, TABLES[name], known_after, fresh)})"
            for name in READ
            if name != "products"
        ]
        return [row[0] for row in connection.execute(f"{' union '.join(selects)} order by 1").fetchall()]


def load(
    connection: duckdb.DuckDBPyConnection,
    tables: Path,
    member_ids: Sequence[str],
    fresh: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Make one table for each that the relations read, with the rows of these members.

    In them `member_id` is the member's place in `member_ids`, and ids of baskets and purchases are hashes of 64 bits:
    numbers are compared several times faster.

    Args:
        connection: From `connect`.
        tables: Folder of the typed tables; a missing file is an empty table.
        member_ids: Sorted, each once. Only the row groups between the first and the last are read.
        fresh: Typed rows that are not in the files yet. Of two rows with the same key the one known first counts.
    """
    numbers = pd.DataFrame({"id": pd.Series(member_ids, dtype="object"), "number": range(len(member_ids))})
    connection.register("numbers", numbers)
    connection.execute(
        "create or replace temp table numbered as select id::varchar as id, number::integer as number from numbers"
    )
    for name, columns in READ.items():
        rows = _rows(connection, tables, TABLES[name], _about(member_ids) if name != "products" else "true", fresh)
        if name != "products":
            found = f"({rows}) as found join numbered on id = member_id"
            rows = f"select number as member_id, found.* exclude (member_id) from {found}"
        chosen = ", ".join(f"hash({column}) as {column}" if column in _HASHED else column for column in columns)
        connection.execute(f"create or replace temp table {name} as select {chosen} from ({rows})")


def _rows(
    connection: duckdb.DuckDBPyConnection,
    tables: Path,
    table: Table,
    where: str,
    fresh: Mapping[str, pd.DataFrame] | None,
) -> str:
    text = f"select * from ({_on_disk(tables / f'{table.name}.parquet', table)}) where {where}"
    rows = (fresh or {}).get(table.name)
    if rows is None or not len(rows):
        return text
    connection.register(f"fresh_{table.name}", rows.reindex(columns=[column.name for column in table.columns]))
    return (
        f"select * from ({text} union all select {_typed(table.columns)} from fresh_{table.name} where {where}) "
        f"qualify row_number() over (partition by {', '.join(table.key)} order by known_at) = 1"
    )


def _on_disk(path: Path, table: Table) -> str:
    if path.exists():
        return f"select {_typed(table.columns)} from read_parquet({_quoted(str(path))})"
    empty = ", ".join(f"null::{SQL_TYPES[column.kind]} as {column.name}" for column in table.columns)
    return f"select {empty} limit 0"


def _about(member_ids: Sequence[str]) -> str:
    """A condition that rows of these members pass; of many members it also lets those in between pass."""
    if not member_ids:
        return "false"
    if len(member_ids) <= _LISTED:
        return f"member_id in ({', '.join(_quoted(member) for member in member_ids)})"
    return f"member_id between {_quoted(member_ids[0])} and {_quoted(member_ids[-1])}"


def _typed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name}::{SQL_TYPES[column.kind]} as {column.name}" for column in columns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
