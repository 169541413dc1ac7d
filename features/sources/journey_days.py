"""The day numbers of The Complete Journey as times."""

from __future__ import annotations

from typing import Any

import pandas as pd

from features.coercion import localise

DAY_ZERO = pd.Timestamp("2016-03-22")
"""The day before day 1."""


def start_of_day(days: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    """Midnight, local time, of the numbered days; in UTC."""
    return localise(DAY_ZERO + pd.to_timedelta(days.astype("int64"), unit="D"), timezone)


def noon(days: pd.Series[Any], timezone: str) -> pd.Series[Any]:
    """Noon, local time, of the numbered days; in UTC."""
    return localise(DAY_ZERO + pd.to_timedelta(days.astype("int64") * 24 + 12, unit="h"), timezone)
