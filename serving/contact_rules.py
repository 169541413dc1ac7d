"""What the operator writes about contacting members: quiet hours, caps, rests. The part `contact` of `policy.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from features.entities import ACTION_TYPES, OFFER_TYPES
from features.written import Written, did_you_mean

PUSHED = ("email", "sms", "push", "call")
"""Channels through which we come to the member; through the others the member comes to us."""
MINUTES = 24 * 60
LONGEST_DAYS = 90
"""Contacts are remembered this long."""
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_PERIODS = {"day": 1, "week": 7, "month": 30}
_TYPES = tuple(dict.fromkeys(one for one in (*OFFER_TYPES, *ACTION_TYPES) if one != "do_nothing"))

Pushed = Literal["email", "sms", "push", "call"]
AnyChannel = Literal["app", "web", "email", "sms", "push", "till", "call"]


def _clock(value: object) -> object:
    """A time of day as text; YAML reads 21:00 without quotes as the number 1260, which is meant just so."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MINUTES:
        return f"{value // 60:02d}:{value % 60:02d}"
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return value.zfill(5)
    raise ValueError('must be a time of day between "00:00" and "23:59"')


def _period(value: object) -> object:
    return _PERIODS.get(value, value) if isinstance(value, str) else value


TimeOfDay = Annotated[str, BeforeValidator(_clock)]
Days = Annotated[int, BeforeValidator(_period), Field(ge=1, le=LONGEST_DAYS)]


class QuietHours(Written):
    """From `begins` until just before `ends`, by the member's own clock, nothing goes out through these channels."""

    channels: Annotated[tuple[Pushed, ...], Field(min_length=1, strict=False)]
    begins: TimeOfDay
    ends: TimeOfDay

    @cached_property
    def span(self) -> tuple[int, int]:
        """Minutes of the day at which they begin and end; the second is smaller where midnight lies between."""
        return _minute(self.begins), _minute(self.ends)


class ContactCap(Written):
    """At most `count` contacts in `days` rolling days of 24 hours, among those that all the lists fit (empty: any).

    `per` counts apart for each channel, type or candidate; with `all` they share the number.
    """

    count: Annotated[int, Field(ge=1)]
    days: Days
    channels: Annotated[tuple[AnyChannel, ...], Field(strict=False)] = ()
    types: Annotated[tuple[str, ...], Field(strict=False)] = ()
    candidates: Annotated[tuple[str, ...], Field(strict=False)] = ()
    per: Literal["all", "channel", "type", "candidate"] = "all"
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=40)] | None = None
    """What the code of a drop calls it; made of what it counts where left out."""

    @cached_property
    def wide(self) -> bool:
        """Whether it treats all candidates on a channel alike."""
        return not self.types and not self.candidates and self.per in ("all", "channel")


class Ignored(Written):
    """What was put before a member `after` times since the last answer rests for `rest_days` after the last time.

    After the rest it gets one more try; an answer clears the count.
    """

    after: Annotated[int, Field(ge=1, le=50)]
    rest_days: Days
    per: Literal["candidate", "type"]


class Bounced(Written):
    """A channel whose messages came back `after` times in `within_days` days rests."""

    after: Annotated[int, Field(ge=1, le=20)] = 1
    within_days: Days = 30
    rest_days: Days


class Dissatisfied(Written):
    """Who answered a survey with a score of at most `score` gets no promotions until it is resolved or time has passed.

    A resolution is an event with `properties.resolved: true`.
    """

    score: Annotated[float, Field(ge=0, le=10)] = 2.0
    rest_days: Days
    actions: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Types of actions that promote too; every offer does."""


class ContactRules(Written):
    """All rules about contacting members."""

    quiet_hours: Annotated[tuple[QuietHours, ...], Field(strict=False)] = ()
    caps: Annotated[tuple[ContactCap, ...], Field(strict=False)] = ()
    ignored: Annotated[tuple[Ignored, ...], Field(strict=False)] = ()
    bounced: Bounced | None = None
    dissatisfied: Dissatisfied | None = None

    @cached_property
    def quiet(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Channel → its quiet hours as minutes of the day."""
        return {
            channel: tuple(one.span for one in self.quiet_hours if channel in one.channels)
            for channel in dict.fromkeys(channel for one in self.quiet_hours for channel in one.channels)
        }


def faults(rules: ContactRules) -> Iterator[str]:
    """What is wrong with rules whose fields are each right: a sentence for each."""
    for place, hours in enumerate(rules.quiet_hours):
        if hours.begins == hours.ends:
            yield (
                f"contact.quiet_hours.{place}: begins and ends {hours.begins}, which is never or always; "
                "write two times, or leave it out"
            )
    for channel, spans in rules.quiet.items():
        if all(any(within(minute, span) for span in spans) for minute in range(MINUTES)):
            yield (
                f"contact.quiet_hours: {channel} is quiet all day, so nothing would ever go out; shorten one, "
                "or take the channel from the offers"
            )
    yield from _cap_faults(rules)
    named = () if rules.dissatisfied is None else rules.dissatisfied.actions
    yield from _unknown("contact.dissatisfied.actions", named)


def _cap_faults(rules: ContactRules) -> Iterator[str]:
    for place, cap in enumerate(rules.caps):
        yield from _unknown(f"contact.caps.{place}.types", cap.types)
    codes = [code(cap) for cap in rules.caps]
    for twice in sorted({one for one in codes if codes.count(one) > 1}):
        yield f"contact.caps: two of them have the code {twice}; give one of them another name"
    for place, rest in enumerate(rules.ignored):
        if any(other.per == rest.per and other.after == rest.after for other in rules.ignored[:place]):
            yield f"contact.ignored.{place}: after {rest.after} per {rest.per} is written twice; keep one"


def _unknown(where: str, types: tuple[str, ...]) -> Iterator[str]:
    for one in types:
        if one not in _TYPES:
            yield f'{where}: "{one}" is no type of offer or action{did_you_mean(one, _TYPES)}'


def code(cap: ContactCap, value: str | None = None) -> str:
    """The code of a drop by this cap, such as `SMS_2_PER_7D`; `value` is what it counts apart."""
    said = cap.name or value or "_".join((*cap.channels, *cap.types, *cap.candidates)) or "all"
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', said).upper()}_{cap.count}_PER_{cap.days}D"


def within(minute: float, span: tuple[int, int]) -> bool:
    """Whether a minute of the day lies in quiet hours."""
    begins, ends = span
    return begins <= minute < ends if begins < ends else minute >= begins or minute < ends


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
