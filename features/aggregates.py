"""What SQL's aggregates and windows are on a member's few rows, in plain Python: faster than arrays at this size.

A missing value is NaN and is skipped, and an aggregate over nothing is missing, as in SQL. Values come in the order of
time.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
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


def lags(values: Sequence[Number], keys: Sequence[int]) -> list[Number]:
    """`lag(value) over (partition by key order by time)`."""
    if not keys or keys.count(keys[0]) == len(keys):  # as it is for members who return nothing
        return [NAN, *values[:-1]] if keys else []
    before: dict[int, Number] = dict.fromkeys(keys, NAN)
    found = []
    for value, key in zip(values, keys, strict=True):
        found.append(before[key])
        before[key] = value
    return found


def to_the_newest(values: Sequence[Number]) -> list[Number]:
    """`sum(value) over (order by time rows between current row and unbounded following)`."""
    found = list(accumulate(reversed(values)))
    found.reverse()
    return found


def sums_within(values: Sequence[Number], times: Sequence[int], span: int) -> list[Number]:
    """`sum(value) over (order by time range between span preceding and current row)`; rows of one time count alike."""
    running = list(accumulate(values, initial=0))
    return [running[bisect_right(times, at)] - running[bisect_left(times, at - span)] for at in times]


def highest_of_all(values: Sequence[Number]) -> list[Number]:
    """`max(value) over ()`."""
    return [max(values)] * len(values) if values else []


def sums_by(values: Sequence[Number], keys: Sequence[int]) -> list[Number]:
    """`sum(value) over (partition by key)`."""
    sums: dict[int, Number] = dict.fromkeys(keys, 0)
    for value, key in zip(values, keys, strict=True):
        sums[key] += value
    return list(map(sums.__getitem__, keys))


def highest_by(values: Sequence[Number], keys: Sequence[int]) -> list[Number]:
    """`max(value) over (partition by key)`."""
    found = dict(zip(keys, values, strict=True))
    if len(found) == len(keys):
        return list(values)
    for value, key in zip(values, keys, strict=True):
        if not value <= found[key] and value == value:
            found[key] = value
    return list(map(found.__getitem__, keys))
