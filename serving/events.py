"""Events that callers report: their shape, and what an event must say to be kept.

A wrong shape refuses the whole request. A well-formed event that makes no sense (a purchase without a product) is
rejected by itself, with its index, and the others are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from serving import reactions
from serving.contract import EITHER, Answer, Identifier, Key, Number, Rank, Strict, Text
from serving.journal_rows import EventRow, ReactionRow, Redeemed
from serving.reservations.contract import Given

EventType = Literal[
    "sent", "delivered", "opened", "bounced", "impression", "click", "accept", "decline", "dismiss", "redeem",
    "purchase", "return", "enrol", "unsubscribe", "points_earn", "points_burn", "check_in", "share", "review",
    "event_attended", "community_post", "survey_answer",
]  # fmt: skip
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

ANSWERS = ("sent", "delivered", "opened", "bounced", "impression", "click", "accept", "decline", "dismiss", "redeem")
"""Events about something that was decided: they name a decision or the candidate."""
CHANNELS = ("email", "sms", "push", "call")
"""Channels that need consent."""
MAX_EVENTS = 500
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LEEWAY = timedelta(minutes=5)
"""Clocks differ: an event may lie this far in the future."""


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be a date and time as text, with its offset from UTC")  # noqa: TRY004 - pydantic's way
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("is no RFC 3339 date and time") from None
    if moment.tzinfo is None:
        raise ValueError("has no offset from UTC; write 2026-03-01T12:00:00Z")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment, json_schema_input_type=datetime)]


class Event(Strict):
    """One thing that happened; `event_id` makes it safe to send again. Without `occurred_at` it happened just now."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    event_id: Identifier
    type: EventType
    member_id: Identifier | None = None
    anonymous_id: Identifier | None = None
    decision_id: Identifier | None = None
    placement: Identifier | None = None
    rank: Rank | None = None
    id: Identifier | None = Field(default=None, description="The candidate the event is about.")
    basket_id: Identifier | None = None
    product_id: Identifier | None = None
    quantity: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    unit_price: Annotated[float, Field(ge=0, le=1e9)] | None = None
    discount: Annotated[float, Field(ge=0, le=1e9)] | None = None
    value: Number | None = Field(default=None, description="Money, or points where the type says points.")
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    reverses: Identifier | None = Field(default=None, description="The purchase that a return takes back.")
    occurred_at: Moment | None = None
    impression: list[Identifier] = Field(default_factory=list, max_length=100)
    properties: dict[Key, bool | Number | Text] = Field(default_factory=dict, max_length=32)

    def model_post_init(self, _context: Any) -> None:
        """Refuse an event about nobody."""
        if self.member_id is None and self.anonymous_id is None:
            raise ValueError("member_id or anonymous_id is required")


class EventsRequest(Strict):
    """1 to 500 events."""

    events: list[Event] = Field(min_length=1, max_length=MAX_EVENTS)


class RejectedEvent(Answer):
    """An event that was not kept."""

    index: int
    code: str
    message: str


class EventsAnswer(Answer):
    """Sent when every accepted event is on disk. A duplicate was accepted before and changes nothing."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]


@dataclass(frozen=True, slots=True)
class Sorted:
    """Events fit to be kept, and those that are not."""

    rows: tuple[EventRow, ...]
    rejected: tuple[RejectedEvent, ...]


def sort(events: Iterable[Event], sent: Iterable[dict[str, Any]], at: datetime, currency: str) -> Sorted:
    """Tell events that make sense from those that do not.

    Args:
        events: the events, checked.
        sent: the same as they came.
        at: now, by the programme's clock.
        currency: the programme's.
    """
    rows: list[EventRow] = []
    rejected: list[RejectedEvent] = []
    received = int(at.timestamp() * 1e6)
    for index, (event, raw) in enumerate(zip(events, sent, strict=True)):
        fault = _fault(event, at, currency)
        if fault:
            rejected.append(RejectedEvent(index=index, code=fault[0], message=fault[1]))
        else:
            kept = _payload(event, raw, at)
            back = _came_back(event, at)
            row = EventRow(event.event_id, who(event), received, kept, consents(event), back, redeemed(event))
            rows.append(row)
    return Sorted(tuple(rows), tuple(rejected))


def who(event: Event) -> str:
    """The member, or `~` and the anonymous id (which no member's id can begin with)."""
    return event.member_id or f"~{event.anonymous_id}"


def consents(event: Event) -> dict[str, bool]:
    """What the event says about consent: channel or purpose → yes or no.

    Who unsubscribes objects to the channel in `properties.channel`, or to all. Who enrols says `consent_email: true`
    and the like.
    """
    said = event.properties
    if event.type == "unsubscribe":
        channel = said.get("channel")
        return dict.fromkeys([str(channel)] if channel in CHANNELS else CHANNELS, False)
    if event.type == "enrol":
        given = {name: said.get(f"consent_{name}") for name in ("personalisation", *CHANNELS)}
        return {name: value for name, value in given.items() if isinstance(value, bool)}
    return {}


def redeemed(event: Event) -> Redeemed | None:
    """What a redemption takes from budgets: the discount given, else its value; points as `properties.points`.

    Other events take nothing: None.
    """
    if event.type != "redeem":
        return None
    points: Any = event.properties.get("points")
    money = event.value if event.discount is None else event.discount
    counted = isinstance(points, int | float) and not isinstance(points, bool)
    given = Given(None if money is None else max(money, 0.0), max(float(points), 0.0) if counted else None)
    return Redeemed(event.decision_id, event.id, given)


def _came_back(event: Event, at: datetime) -> tuple[ReactionRow, ...]:
    happened = round((event.occurred_at or at).timestamp() * 1e6)
    said: dict[str, object] = dict(event.properties)
    return reactions.row(event.type, happened, event.decision_id, event.id, said, event.value)


def _payload(event: Event, raw: dict[str, Any], at: datetime) -> bytes:
    """What the journal keeps: the event as sent, with the time it happened written out in UTC."""
    happened = (event.occurred_at or at).astimezone(UTC).isoformat()
    return orjson.dumps(raw | {"occurred_at": happened}, option=orjson.OPT_SORT_KEYS)


def _fault(event: Event, at: datetime, currency: str) -> tuple[str, str] | None:
    return _wrong_time(event, at) or _wrong_currency(event, currency) or _missing(event)


def _wrong_time(event: Event, at: datetime) -> tuple[str, str] | None:
    if event.occurred_at is None or EARLIEST <= event.occurred_at <= at + LEEWAY:
        return None
    if event.occurred_at < EARLIEST:
        return "TOO_OLD", f"occurred_at {event.occurred_at.isoformat()} lies before {EARLIEST.year}"
    return "IN_THE_FUTURE", (
        f"occurred_at {event.occurred_at.isoformat()} lies after the service's clock {at.isoformat(timespec='seconds')}"
    )


def _wrong_currency(event: Event, currency: str) -> tuple[str, str] | None:
    if event.currency is None or event.currency == currency:
        return None
    return "OTHER_CURRENCY", f"currency {event.currency} is not the programme's {currency}; convert it first"


def _missing(event: Event) -> tuple[str, str] | None:
    wanted = _WANTED.get(event.type, ())
    absent = [name for name in wanted if getattr(event, name) is None]
    if absent:
        return "MISSING_FIELD", f"a {event.type} needs {' and '.join(absent)}"
    if event.type in ANSWERS and event.decision_id is None and event.id is None:
        return "MISSING_FIELD", f"a {event.type} needs decision_id or id, to know what it answers"
    return _wrong_amount(event)


def _wrong_amount(event: Event) -> tuple[str, str] | None:
    if event.type in ("purchase", "return") and not event.quantity:
        return "WRONG_AMOUNT", "quantity 0 is nothing; leave the event out"
    if event.type == "purchase" and (event.quantity or 0) < 0:
        return "WRONG_AMOUNT", "a purchase has a positive quantity; send a return instead"
    if event.type in ("points_earn", "points_burn") and (event.value or 0) <= 0:
        return "WRONG_AMOUNT", f"value {event.value} is no number of points; it must be above 0"
    return None


_WANTED: dict[str, tuple[str, ...]] = {
    "purchase": ("product_id", "quantity", "unit_price"),
    "return": ("product_id", "quantity", "unit_price"),
    "points_earn": ("value",),
    "points_burn": ("value",),
}
