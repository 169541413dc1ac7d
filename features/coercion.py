"""Values as they were written, read as the kind a column is of; what cannot be read becomes missing and is reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.tables import Kind

_LARGEST_WHOLE = 2.0**53  # beyond it a float no longer tells neighbours apart
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


def coerce(given: pd.Series[Any], kind: Kind, timezone: str) -> tuple[pd.Series[Any], np.ndarray[Any, Any]]:
    """The values in the type of their kind, and which of them were there but could not be read."""
    missing = given.isna().to_numpy()
    if kind == "text":
        values = _text(given)
        return values, np.zeros(len(given), dtype=bool)
    if given.dtype == object or pd.api.types.is_string_dtype(given.dtype):
        given = _text(given)
        missing = given.isna().to_numpy()
    if kind == "time":
        values = _times(given, timezone)
    elif kind == "flag":
        values = _flags(given)
    else:
        values = _numbers(given, whole=kind == "whole")
    return values, values.isna().to_numpy() & ~missing


def _text(given: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_float_dtype(given.dtype):
        whole = (given.dropna() % 1 == 0).all()
        given = given.astype("Int64") if whole else given
    if not pd.api.types.is_string_dtype(given.dtype) or pd.api.types.infer_dtype(given) not in ("string", "empty"):
        given = given.astype("object").map(str, na_action="ignore")
    text = pc.utf8_trim_whitespace(pa.Array.from_pandas(given, type=pa.string()))
    filled = pc.if_else(pc.equal(text, ""), None, text).to_pandas()
    return pd.Series(filled.to_numpy(dtype=object), index=given.index, dtype="object")


def _numbers(given: pd.Series[Any], *, whole: bool) -> pd.Series[Any]:
    if pd.api.types.is_bool_dtype(given.dtype):
        given = given.astype("object").map(str, na_action="ignore")
    values = pd.to_numeric(given, errors="coerce").astype("float64")
    values = values.where(np.isfinite(values))
    if not whole:
        return values
    return values.where((values % 1 == 0) & (values.abs() <= _LARGEST_WHOLE)).astype("Int64")


def _flags(given: pd.Series[Any]) -> pd.Series[Any]:
    if pd.api.types.is_bool_dtype(given.dtype):
        return given.astype("boolean")
    known = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
    text = _text(given).map(lambda v: known.get(v.lower()), na_action="ignore")
    return text.astype("boolean")


def _times(given: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    if pd.api.types.is_datetime64_any_dtype(given.dtype):
        values = given if getattr(given.dt, "tz", None) is not None else localise(given, timezone)
    else:
        values = _parsed_times(given, timezone)
    values = values.dt.tz_convert("UTC").dt.as_unit("us")
    read: pd.Series[Any] = values.where((values.dt.year >= _FIRST_YEAR) & (values.dt.year <= _LAST_YEAR))
    return read


def _parsed_times(given: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    text = given.map(lambda v: v if isinstance(v, str) else getattr(v, "isoformat", lambda: "")(), na_action="ignore")
    text = text.astype("object")
    aware = text.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$", na=False) & text.str.contains(":", na=False)
    read = pd.to_datetime(text.where(aware), format="ISO8601", errors="coerce", utc=True)
    local = localise(pd.to_datetime(text.where(~aware), format="ISO8601", errors="coerce"), timezone)
    return read.dt.as_unit("us").fillna(local.dt.tz_convert("UTC").dt.as_unit("us"))


def localise(naive: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    """Local times as UTC: in the hour that a clock shows twice the first is meant, in the one it skips the hour after.

    Args:
        naive: Times without a zone.
        timezone: The IANA name of the zone they were written in.
    """
    first = np.ones(len(naive), dtype=bool)
    aware = naive.dt.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward")
    utc: pd.Series[Any] = aware.dt.tz_convert("UTC").dt.as_unit("us")
    return utc
