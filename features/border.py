"""Checks at the border: whatever comes in becomes a typed table, or is set aside with the reason.

This module is the only door to pandera. A fault of one row sets that row aside; a fault of the whole file raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.coercion import coerce
from features.tables import Column, Kind, Table

REJECTED = ("file", "row", "column", "rule", "value")
"""The columns of a frame of rejected rows; `row` counts the data rows of the file from 1."""

RULES = {
    "MISSING": "a required value is missing",
    "NOT_A_NUMBER": "a number was expected (finite, with a decimal point)",
    "NOT_WHOLE": "a whole number was expected",
    "NOT_A_TIME": "a time was expected, such as 2026-03-01T14:05:00+01:00, between the years 1900 and 2200",
    "NOT_A_FLAG": "true or false was expected",
    "NOT_AMONG": "the value is none of those allowed",
    "TOO_SMALL": "the value is below the smallest allowed",
    "TOO_LARGE": "the value is above the largest allowed",
}
"""Every rule of the border: its code and what it asks."""

_BROKEN_CODE: dict[Kind, str] = {
    "text": "MISSING",
    "money": "NOT_A_NUMBER",
    "number": "NOT_A_NUMBER",
    "whole": "NOT_WHOLE",
    "time": "NOT_A_TIME",
    "flag": "NOT_A_FLAG",
}
_DTYPES: dict[Kind, str] = {
    "text": "object",
    "money": "float64",
    "number": "float64",
    "whole": "Int64",
    "time": "datetime64[us, UTC]",
    "flag": "boolean",
}


class BorderError(ValueError):
    """A file that cannot be used at all; the text names the file, the rule and the way out."""


def check(
    frame: pd.DataFrame, table: Table, *, file: str, timezone: str = "UTC", had: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Turn a frame as read from a file into rows of a typed table.

    Args:
        frame: Columns named as in `table`; columns the table does not know are left out. An integer index is taken as
            the position of the row in its file.
        table: What the columns must be.
        file: The name to give in errors and in the rejected rows.
        timezone: The zone of times that come without an offset.
        had: The columns of the file itself, to give in errors, where they have been renamed and added to since.

    Returns:
        The accepted rows, in order, with exactly the table's columns and types; and the rejected ones with the columns
        `file, row, column, rule, value`, one for each fault.

    Raises:
        BorderError: A required column is missing.
    """
    _require(frame, table, file, had)
    rows = _positions(frame)
    typed: dict[str, pd.Series[Any]] = {}
    faults: list[pd.DataFrame] = []
    for column in table.columns:
        given = frame[column.name] if column.name in frame else pd.Series(None, index=frame.index, dtype="object")
        given = given.reset_index(drop=True)
        values, broken = coerce(given, column.kind, timezone)
        typed[column.name] = values
        faults.append(_rejected(file, rows, column.name, _BROKEN_CODE[column.kind], given, broken))
    accepted = pd.DataFrame(typed, index=pd.RangeIndex(len(frame)))
    faults.append(_contract_faults(accepted, table, file, rows))
    rejected = pd.concat(faults, ignore_index=True).drop_duplicates(["row", "column"], ignore_index=True)
    good = ~pd.Series(rows).isin(rejected["row"])
    return finish(accepted[good.to_numpy()], table), rejected


def finish(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """The frame with exactly the table's columns, in order, in their dtypes, and a fresh index.

    Args:
        frame: Rows already known to be right; absent optional columns become missing values.
        table: What the columns must be.

    Raises:
        BorderError: A required column is missing.
    """
    _require(frame, table, table.name)
    columns = {c.name: _typed(frame, c) for c in table.columns}
    return pd.DataFrame(columns, index=frame.index).reset_index(drop=True)


def empty(table: Table) -> pd.DataFrame:
    """The table with no rows, typed."""
    return finish(pd.DataFrame({c.name: [] for c in table.columns}), table)


def no_rejects() -> pd.DataFrame:
    """A frame of rejected rows with nothing in it."""
    return pd.DataFrame({name: pd.Series(dtype="int64" if name == "row" else "object") for name in REJECTED})


def reject(file: str, rows: pd.DataFrame, column: str, rule: str) -> pd.DataFrame:
    """The given rows as rejected rows of one rule.

    Args:
        file: The name of the file they came from.
        rows: The rows themselves; the index is their position in the file, from 0.
        column: The column that breaks the rule; its value is kept.
        rule: The code of the rule.
    """
    positions = _positions(rows)
    return _rejected(file, positions, column, rule, rows[column].reset_index(drop=True), np.ones(len(rows), dtype=bool))


def require_columns(given: Sequence[str], wanted: Sequence[str], file: str, way_out: str) -> None:
    """Refuse a file that lacks columns.

    Raises:
        BorderError: One of `wanted` is not among `given`.
    """
    missing = [name for name in wanted if name not in given]
    if missing:
        there = ", ".join(map(str, given)) or "none"
        raise BorderError(f"{file}: column {', '.join(missing)} is missing; the file has {there}. {way_out}")


def _require(frame: pd.DataFrame, table: Table, file: str, had: Sequence[str] = ()) -> None:
    wanted = [c.name for c in table.columns if c.required]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, had or frame.columns)) or "none"
        raise BorderError(
            f"{file}: column {', '.join(missing)} is missing; the file has {there}. "
            f"Table {table.name} needs {', '.join(wanted)}: rename the columns, or name yours in a map.yaml."
        )


def _positions(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
    if pd.api.types.is_integer_dtype(frame.index.dtype):
        return frame.index.to_numpy(dtype=np.int64) + 1
    return np.arange(1, len(frame) + 1, dtype=np.int64)


def _rejected(
    file: str, rows: Any, column: str, rule: str, values: pd.Series[Any], where: np.ndarray[Any, Any]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": file,
            "row": rows[where],
            "column": column,
            "rule": rule,
            "value": [None if pd.isna(v) else str(v) for v in values[where]],
        }
    ).astype({"file": "object", "row": "int64", "column": "object", "rule": "object", "value": "object"})


def _typed(frame: pd.DataFrame, column: Column) -> pd.Series[Any]:
    if column.name not in frame:
        return pd.Series([None] * len(frame), index=frame.index, dtype=_DTYPES[column.kind])
    values = frame[column.name]
    if column.kind == "time":
        return pd.to_datetime(values, utc=True).dt.as_unit("us")
    if column.kind == "text":
        return values.astype("object").where(values.notna(), None)
    if column.required and column.kind in ("flag", "whole"):
        return values.astype("bool" if column.kind == "flag" else "int64")
    return values.astype(_DTYPES[column.kind])  # type: ignore[call-overload,no-any-return]


def _contract_faults(frame: pd.DataFrame, table: Table, file: str, rows: Any) -> pd.DataFrame:
    """What the typed values break of the table's contract, found lazily: every fault of every row."""
    import pandera.pandas as pa  # its import costs what `--help` must not pay

    try:
        _schema(table).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return no_rejects()
    at = cases["index"].to_numpy(dtype=np.int64)
    codes = [_code(str(c)) for c in cases["check"]]
    names = cases["column"].astype(str).tolist()
    values = [None if pd.isna(v) else str(v) for v in cases["failure_case"]]
    found = pd.DataFrame({"file": file, "row": rows[at], "column": names, "rule": codes, "value": values})
    return found.astype({"value": "object"})


def _schema(table: Table) -> Any:
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {c.name: pa.Column(None, _checks(c), nullable=not c.required) for c in table.columns}, strict=True
    )


def _checks(column: Column) -> list[Any]:
    import pandera.pandas as pa

    checks = []
    if column.among:
        checks.append(pa.Check.isin(list(column.among), error="NOT_AMONG"))
    if column.at_least is not None:
        checks.append(pa.Check.ge(column.at_least, error="TOO_SMALL"))
    if column.at_most is not None:
        checks.append(pa.Check.le(column.at_most, error="TOO_LARGE"))
    return checks


def _code(check: str) -> str:
    return check if check in RULES else "MISSING"
