"""What SQL's aggregates and windows are on a member's few rows, in plain Python: faster than arrays at this size.

A missing value is NaN and is skipped, and an aggregate over nothing is missing, as in SQL. Values come in the order of
time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

Number = int | float
NAN = math.nan


def total(values: Sequence[Number]) -> Number:
    """`sum`."""
    return sum(values) if values else NAN


def mean(values: Sequence[Number]) -> float:
    """`avg`."""
    return sum(values) / len(values) if values else NAN


def lowest(values: Sequence[Number]) -> Number:
    """`min`."""
    return min(values) if values else NAN


def highest(values: Sequence[Number]) -> Number:
    """`max`."""
    return max(values) if values else NAN


def median(values: Sequence[Number]) -> Number:
    """`median`: of an even number of values the mean of the middle two."""
    if not values:
        return NAN
    ordered = sorted(values)
    middle, odd = divmod(len(ordered), 2)
    return ordered[middle] if odd else (ordered[middle - 1] + ordered[middle]) / 2


def nullif(value: Number, other: Number) -> Number:
    """`nullif`: missing where the two are equal."""
    return NAN if value == other else value


def coalesce(*values: Number) -> Number:
    """`coalesce`: the first value that is not missing."""
    for value in values:
        if value == value:
            return value
    return NAN


def lags(values: Iterable[Number], keys: Iterable[int]) -> list[Number]:
    """`lag(value) over (partition by key order by time)`."""
    before: dict[int, Number] = {}
    found = []
    for value, key in zip(values, keys, strict=True):
        found.append(before.get(key, NAN))
        before[key] = value
    return found


def to_the_newest(values: Sequence[Number]) -> list[Number]:
    """`sum(value) over (order by time rows between current row and unbounded following)`."""
    found = list(accumulate(reversed(values)))
    found.reverse()
    return found


def sums_by(values: Iterable[Number], keys: Sequence[int]) -> list[Number]:
    """`sum(value) over (partition by key)`."""
    sums: dict[int, Number] = {}
    for value, key in zip(values, keys, strict=True):
        sums[key] = sums.get(key, 0) + value
    return [sums[key] for key in keys]


def highest_by(values: Iterable[Number], keys: Sequence[int]) -> list[Number]:
    """`max(value) over (partition by key)`."""
    found: dict[int, Number] = {}
    for value, key in zip(values, keys, strict=True):
        if not value <= found.get(key, NAN):
            found[key] = value if value == value else found.get(key, NAN)
    return [found[key] for key in keys]
