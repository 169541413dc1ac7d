"""Many rows in few statements: every statement gives the interpreter lock away once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import orjson


def insert(connection: apsw.Connection, head: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows in chunks whose sizes are powers of two, so that a few prepared statements serve every batch."""
    start = 0
    while start < len(rows):
        size = min(64, 1 << ((len(rows) - start).bit_length() - 1))
        chunk = rows[start : start + size]
        one = "(" + ",".join("?" * len(chunk[0])) + ")"
        values: list[Any] = [value for row in chunk for value in row]
        connection.execute(f"{head} values {','.join([one] * size)}", values)
        start += size


def as_json(values: Sequence[Any]) -> str:
    """A JSON array, for `json_each`."""
    return orjson.dumps(values).decode()
