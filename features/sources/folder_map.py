"""`map.yaml`: how a team's own files and columns are named, and what holds for all their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

from pydantic import Field, ValidationError, field_validator

from features.border import BorderError
from features.sources.filling import UNIT_COST
from features.tables import TABLES
from features.written import Written, WrittenError, did_you_mean, read, sentences

Derived = Literal["members", "products"]
Value = str | int | float | bool


class TableMap(Written):
    """Where one table comes from."""

    file: str
    columns: dict[str, str | list[str]] = Field(default_factory=dict)
    """Our column name → the file's, or several to join; names that are the same can be left out."""
    constants: dict[str, Value] = Field(default_factory=dict)
    """Our column name → the value of every row."""
    values: dict[str, dict[str, Value]] = Field(default_factory=dict)
    """Our column name → the file's word → ours; what is not among the words stays."""
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8-sig"
    time_format: str | None = None
    """How times are written, in strftime's letters; ISO 8601 by default."""
    equal_rows: Literal["one", "each"] = "one"
    """Whether rows alike in all columns and without an id are one fact, or each a fact of its own."""


class FolderMap(Written):
    """The whole of a `map.yaml`."""

    timezone: str | None = None
    """The zone of times without an offset; the programme's by default."""
    tables: dict[str, TableMap] = Field(default_factory=dict)
    derive: list[Derived] = Field(default_factory=list)
    """Tables to make from the purchases, where there is no file for them."""

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError(f'"{value}" is no time zone; write one such as Europe/Rome')
        return value

    @field_validator("tables")
    @classmethod
    def _are_our_tables(cls, value: dict[str, TableMap]) -> dict[str, TableMap]:
        for name, table in value.items():
            _check_names(name, table)
        return value


def read_map(path: Path) -> FolderMap:
    """Read a `map.yaml`.

    Raises:
        BorderError: It is absent or wrong; the text has a sentence for each mistake.
    """
    try:
        return FolderMap.model_validate(read(path)[1])
    except WrittenError as error:
        raise BorderError(str(error)) from error
    except ValidationError as error:
        raise BorderError("\n".join(sentences(error, FolderMap, path.name))) from error


def _check_names(name: str, table: TableMap) -> None:
    if name not in TABLES:
        raise ValueError(f'table "{name}" is unknown{did_you_mean(name, TABLES)}')
    ours = {column.name for column in TABLES[name].columns} | ({UNIT_COST} if name == "products" else set())
    for column in (*table.columns, *table.constants, *table.values):
        if column not in ours:
            raise ValueError(f'{name}: column "{column}" is unknown{did_you_mean(column, ours)}')
