"""Quiet hours by the member's own clock, on days of 23 and 25 hours too.

It is quiet when the clock on the member's wall says so. In spring the clock skips an hour: hours that end inside it end
when the clock jumps. In autumn an hour comes twice: what is quiet in it is quiet both times.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import floor
from zoneinfo import ZoneInfo

from serving.contact_rules import within

Spans = Sequence[tuple[int, int]]


@lru_cache(maxsize=512)
def zone(name: str | None) -> ZoneInfo | None:
    """The time zone of this name; None where there is none such."""
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError):  # an unknown key is a KeyError of its own kind
        return None
    except KeyError:
        return None


def until(spans: Spans, where: ZoneInfo, at: float) -> float | None:
    """The first moment after `at` that is not quiet; None where `at` itself is not.

    Args:
        spans: quiet hours as minutes of the day, from `contact_rules`; some minute of a day is outside all of them.
        where: the member's time zone.
        at: epoch seconds.

    Returns:
        Epoch seconds.
    """
    if not _quiet(spans, where, at):
        return None
    moment = at
    while _quiet(spans, where, moment):
        moment = _next(spans, where, moment)
    return moment


def _quiet(spans: Spans, where: ZoneInfo, at: float) -> bool:
    clock = datetime.fromtimestamp(at, where)
    minute = clock.hour * 60 + clock.minute
    return any(within(minute, span) for span in spans)


def _next(spans: Spans, where: ZoneInfo, at: float) -> float:
    """The next moment at which quiet hours may be over: one of them ends, or the clock is put forward or back."""
    ends = min(_ends(minute, where, at) for _, minute in spans)
    jump = _jump(where, at, ends)
    return ends if jump is None else min(ends, jump)


def _ends(minute: int, where: ZoneInfo, at: float) -> float:
    """When the clock next shows this minute of the day."""
    today = datetime.fromtimestamp(at, where).replace(hour=0, minute=0, second=0, microsecond=0, fold=0, tzinfo=None)
    shown = []
    for days in range(3):
        wall = today + timedelta(days=days, minutes=minute)
        for fold in (0, 1):
            instant = wall.replace(tzinfo=where, fold=fold).astimezone(UTC)
            if instant.astimezone(where).replace(tzinfo=None, fold=0) == wall:  # else the clock skips it that day
                shown.append(instant.timestamp())
    return min(one for one in shown if one > at)


def _jump(where: ZoneInfo, after: float, before: float) -> float | None:
    """The moment between the two at which the clock is put forward or back; None where it is not."""
    low, high = floor(after), floor(before)
    if _offset(where, low) == _offset(where, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(where, middle) == _offset(where, low):
            low = middle
        else:
            high = middle
    return float(high) if high > after else None


def _offset(where: ZoneInfo, at: float) -> timedelta | None:
    return datetime.fromtimestamp(at, where).utcoffset()
