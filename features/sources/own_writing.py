"""A team's own way of writing, put into ours: column names, numbers, words for yes and no, times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features import border
from features.sources.filling import UNIT_COST
from features.sources.folder_map import TableMap
from features.tables import Kind, Table

_NUMERIC = ("money", "number", "whole")
_WITH_COMMA = r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?"


def in_our_words(raw: pd.DataFrame, table: Table, mapped: TableMap, file: str) -> pd.DataFrame:
    """A file as read, in our column names, with a decimal point and ISO times; what does not fit stays, marked.

    Args:
        raw: Texts, in the file's own columns.
        table: Which table it is.
        mapped: What map.yaml says of it.
        file: The name to give in errors.

    Raises:
        BorderError: The file has no column of a name that the map gives.
    """
    frame = _renamed(raw, mapped, file)
    for name, words in mapped.values.items():
        if name in frame:
            frame[name] = _translated(frame[name], words)
    for name, kind in _kinds(table):
        if name not in frame or name in mapped.constants:
            continue
        if kind == "time" and mapped.time_format:
            frame[name] = _in_format(frame[name], mapped.time_format)
        if kind in _NUMERIC and mapped.decimal == ",":
            frame[name] = with_point(frame[name])
    return frame


def _kinds(table: Table) -> list[tuple[str, Kind]]:
    """The columns that a file may have for a table."""
    more: list[tuple[str, Kind]] = [(UNIT_COST, "money")] if table.name == "products" else []
    return [(column.name, column.kind) for column in table.columns] + more


def with_point(values: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers with a decimal comma (`1.234,50`) with a point; one that has a point for its decimals is marked."""
    if not pd.api.types.is_string_dtype(values.dtype) and values.dtype != object:
        return values
    text = values.astype("string").str.strip()
    fits = text.str.fullmatch(_WITH_COMMA).fillna(value=False).astype(bool)
    read = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    marked = "(" + text + ") has no decimal comma"
    strange = text.str.fullmatch(r"[+-]?[\d.]*\.\d*").fillna(value=False).astype(bool) & ~fits
    return text.mask(fits, read).mask(strange, marked).astype("object")


def _renamed(raw: pd.DataFrame, mapped: TableMap, file: str) -> pd.DataFrame:
    theirs = [name for names in mapped.columns.values() for name in ([names] if isinstance(names, str) else names)]
    there = list(map(str, raw.columns))
    border.require_columns(there, theirs, file, "Correct the name in map.yaml (or the separator).")
    taken = raw[[name for name in raw.columns if name not in theirs and name not in mapped.columns]]
    given = {ours: _taken(raw, name) for ours, name in mapped.columns.items()}
    return taken.assign(**given, **mapped.constants)


def _taken(raw: pd.DataFrame, name: str | list[str]) -> pd.Series[Any]:
    """A column, or the values of several joined by hyphens, for an id that only several make unique."""
    if isinstance(name, str):
        return raw[name]
    texts = raw[name].astype("string")
    return texts[name[0]].str.cat(texts[name[1:]], sep="-").astype("object")


def _translated(values: pd.Series[Any], words: dict[str, str | int | float | bool]) -> pd.Series[Any]:
    known = {word.lower(): ours for word, ours in words.items()}
    text = values.astype("string").str.strip().str.lower()
    return values.astype("object").where(~text.isin(list(known)), text.map(known))


def _in_format(values: pd.Series[Any], form: str) -> pd.Series[Any]:
    """Times in the given form as ISO texts; what does not fit is marked, for the border to name it."""
    offset = "%z" in form
    read = pd.to_datetime(values, format=form, errors="coerce", utc=offset)
    if getattr(read.dt, "tz", None) is not None:
        read = read.dt.tz_convert("UTC").dt.tz_localize(None)
    text = pd.Series(np.datetime_as_string(read.to_numpy(), unit="us"), index=values.index, dtype="object")
    text = text + "Z" if offset else text
    return text.where(read.notna(), "(" + values.astype(str) + f") is not {form}").where(values.notna(), None)
