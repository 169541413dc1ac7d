"""How a typed table lies on disk: one Parquet file, sorted, written so that the same rows give the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.tables import Kind, Table

ROW_GROUP = 50_000
"""Rows in a row group: small enough that a question about one member reads little."""

SQL_TYPES: dict[Kind, str] = {
    "text": "varchar",
    "money": "double",
    "number": "double",
    "whole": "bigint",
    "time": "timestamptz",
    "flag": "boolean",
}
"""What each kind of column is in DuckDB."""

_MEMORY = "4GB"
_ARROW: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "money": pa.float64(),
    "number": pa.float64(),
    "whole": pa.int64(),
    "time": pa.timestamp("us", tz="UTC"),
    "flag": pa.bool_(),
}


def table_path(tables_dir: Path, name: str) -> Path:
    """Where a table lies."""
    return tables_dir / f"{name}.parquet"


def schema_of(table: Table) -> pa.Schema:
    """The table's columns in Arrow's types."""
    return pa.schema([pa.field(c.name, _ARROW[c.kind], nullable=not c.required) for c in table.columns])


def as_arrow(frame: pd.DataFrame, table: Table) -> pa.Table:
    """The columns of the frame that the table knows, in Arrow's types."""
    given = [c for c in table.columns if c.name in frame.columns]
    values = {
        c.name: pd.to_datetime(frame[c.name], utc=True).dt.as_unit("us") if c.kind == "time" else frame[c.name]
        for c in given
    }
    return pa.table({c.name: pa.Array.from_pandas(values[c.name], type=_ARROW[c.kind]) for c in given})


def texts_as_arrow(frame: pd.DataFrame) -> pa.Table:
    """A frame whose columns are all text."""
    return pa.table({str(name): pa.array(frame[name], type=pa.string()) for name in frame})


def read_frame(path: Path, columns: list[str]) -> pd.DataFrame:
    """Columns of a file; whole numbers with gaps stay whole."""
    table = pq.read_table(path, columns=columns)
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: pd.Int64Dtype() if kind == pa.int64() else None)
    return frame


@contextmanager
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of its own, in UTC, that spills to a temporary folder instead of growing without bound."""
    with tempfile.TemporaryDirectory(prefix="tables-") as spill, duckdb.connect() as db:
        db.execute(f"set TimeZone = 'UTC'; set memory_limit = '{_MEMORY}'; set temp_directory = {quote(spill)}")
        yield db


def write_sorted(query: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Write the result of an executed query; one writer and fixed row groups make the bytes repeatable."""
    schema = schema_of(table)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in _chunks(query.to_arrow_reader(ROW_GROUP), schema):
            writer.write_table(chunk, row_group_size=ROW_GROUP)


def _chunks(batches: Any, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the batches in tables of exactly `ROW_GROUP` rows, the last one aside."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while waiting.num_rows >= ROW_GROUP:
            yield waiting.slice(0, ROW_GROUP).combine_chunks()
            waiting = waiting.slice(ROW_GROUP)
    yield waiting.combine_chunks()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of `path` at the end: synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.tmp")
    yield tmp
    with tmp.open("rb") as handle:
        os.fsync(handle.fileno())
    tmp.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file, keys sorted."""
    with replacing(path) as tmp:
        tmp.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def count(db: duckdb.DuckDBPyConnection, relation: str, where: str = "true") -> int:
    """How many rows of a relation meet a condition."""
    row = db.execute(f"select count(*) from {relation} where {where}").fetchone()
    return int(row[0]) if row else 0


def quote(text: Path | str) -> str:
    """The text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"
