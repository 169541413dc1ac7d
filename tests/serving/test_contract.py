"""Requests and events: what fits is taken as it was meant, and nothing else gets in or breaks anything."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving import limits
from serving.contract import DecisionRequest
from serving.events import EVENT_TYPES, Event, EventsRequest, sort
from serving.problems import RefusedError, invalid, response

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = st.sampled_from([*DecisionRequest.model_fields, *Event.model_fields, "events", "count", "x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(EVENT_TYPES)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)


def status(body: bytes) -> int:
    """What the service says to a body on a decision endpoint, before it decides."""
    try:
        DecisionRequest.model_validate(limits.parse(body))
    except ValidationError as error:
        return refused(invalid(error))
    except RefusedError as error:
        return refused(error)
    return 200


def refused(error: RefusedError) -> int:
    answer = response(error.problem)
    document = json.loads(bytes(answer.body))
    assert {"type", "title", "status", "detail"} <= set(document)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_taken_or_refused_but_never_break_the_parser(body: bytes) -> None:
    assert status(body) in (200, 400, 422)


@settings(max_examples=300)
@given(OBJECTS)
def test_any_json_object_is_taken_or_refused_as_a_request(value: dict[str, Any]) -> None:
    assert status(json.dumps(value).encode()) in (200, 400, 422)


@settings(max_examples=300)
@given(st.lists(OBJECTS, max_size=3) | VALUES)
def test_any_json_is_taken_or_refused_as_events(value: Any) -> None:
    try:
        parsed = limits.parse(json.dumps({"events": value}).encode())
        events = EventsRequest.model_validate(parsed).events
    except ValidationError as error:
        assert refused(invalid(error)) == 422
    except RefusedError as error:
        assert refused(error) == 400
    else:
        assert sort(events, parsed["events"], AT, "EUR") is not None


WELL_FORMED = st.fixed_dictionaries(
    {"event_id": st.just("e"), "type": st.sampled_from(EVENT_TYPES), "member_id": st.just("m")},
    optional={
        "occurred_at": st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
        "product_id": st.just("p"),
        "decision_id": st.none() | st.just("d"),
        "quantity": st.floats(-1e6, 1e6),
        "unit_price": st.floats(0, 1e9),
        "value": st.floats(-1e12, 1e12),
        "currency": st.sampled_from(["EUR", "USD"]),
    },
)


@settings(max_examples=300)
@given(st.lists(WELL_FORMED, min_size=1, max_size=5))
def test_every_well_formed_event_is_either_kept_or_rejected_with_its_index(sent: list[dict[str, Any]]) -> None:
    events = EventsRequest.model_validate({"events": sent}).events
    found = sort(events, sent, AT, "EUR")
    assert len(found.rows) + len(found.rejected) == len(sent)
    for row in found.rows:
        kept = orjson.loads(row.payload)
        happened = datetime.fromisoformat(kept["occurred_at"])
        assert happened <= AT + timedelta(minutes=5)
        assert kept.get("currency", "EUR") == "EUR"


@given(OBJECTS, st.sampled_from(["member_id", "x", "é"]), st.booleans())
def test_a_key_said_twice_is_refused_however_it_is_spelled(value: dict[str, Any], name: str, escaped: bool) -> None:
    finite = json.loads(json.dumps(value), parse_constant=lambda _: 0)
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in name) if escaped else name
    inner = json.dumps(finite | {name: 1}, ensure_ascii=False).removesuffix("}")
    body = (inner + f', "{spelled}": 2}}').encode("utf-8", "surrogatepass")
    with pytest.raises(RefusedError):
        limits.parse(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"member_id": "m1"}', 200),
        (b'{"anonymous_id": "a1", "member_id": null}', 200),
        (b'{"member_id": "m1", "placements": [{"id": "hero", "count": 2}], "context": {"basket": 5}}', 200),
        (b'{"member_id": "caf\\u0065"}', 200),
        (b'{"member_id": "m1", "context": {"note": "a:b \\u003a"}}', 200),
        (b"{}", 422),
        (b'{"member_id": null}', 422),
        (b'{"member_id": ""}', 422),
        (b'{"member_id": "m\\u0000"}', 422),
        (b'{"member_id": "\\ud800"}', 400),
        (b'{"member_id": "' + b"m" * 65 + b'"}', 422),
        (b'{"member_id": 1}', 422),
        (b'{"member_id": "m1", "surprise": 1}', 422),
        (b'{"member_id": "m1", "context": {"x": NaN}}', 400),
        (b'{"member_id": "m1", "context": {"x": Infinity}}', 400),
        (b'{"member_id": "m1", "context": {"x": 1e999}}', 400),
        (b'{"member_id": "m1", "context": {"x": true}}', 422),
        (b'{"member_id": "m1", "placements": []}', 422),
        (b'{"member_id": "m1", "placements": [{"id": "a", "count": 51}]}', 422),
        (b'{"member_id": "m1", "placements": [{"id": "a", "count": 1.5}]}', 422),
        (b'{"member_id": "m1", "dry_run": 1}', 422),
        (b'{"member_id": "m1", "member_id": "m2"}', 400),
        (b'\xef\xbb\xbf{"member_id": "m1"}', 400),
        ('{"member_id": "m1"}'.encode("utf-16"), 400),
        (b"[1]", 400),
        (b"", 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    ],
)
def test_known_bodies_get_the_status_they_deserve(body: bytes, expected: int) -> None:
    assert status(body) == expected


def test_the_same_placement_twice_asks_for_both_together() -> None:
    asked = [{"id": "a", "count": 2}, {"id": "b"}, {"id": "a"}]
    request = DecisionRequest.model_validate({"member_id": "m1", "placements": asked})
    assert [(one.id, one.count) for one in request.placements] == [("a", 3), ("b", 1)]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "purchase", "product_id": "p", "quantity": 1, "unit_price": 2.5}, None),
        ({"type": "check_in"}, None),
        ({"type": "accept", "decision_id": "d"}, None),
        ({"type": "accept"}, "MISSING_FIELD"),
        ({"type": "purchase", "quantity": 1, "unit_price": 2.5}, "MISSING_FIELD"),
        ({"type": "purchase", "product_id": "p", "quantity": 0, "unit_price": 2.5}, "WRONG_AMOUNT"),
        ({"type": "purchase", "product_id": "p", "quantity": -1, "unit_price": 2.5}, "WRONG_AMOUNT"),
        ({"type": "points_burn", "value": -5}, "WRONG_AMOUNT"),
        ({"type": "check_in", "occurred_at": "2026-03-01T12:04:00Z"}, None),
        ({"type": "check_in", "occurred_at": "2026-03-01T12:06:00Z"}, "IN_THE_FUTURE"),
        ({"type": "check_in", "occurred_at": "0001-01-01T00:00:00+14:00"}, "TOO_OLD"),
        ({"type": "check_in", "occurred_at": "9999-12-31T23:59:59-12:00"}, "IN_THE_FUTURE"),
        ({"type": "purchase", "product_id": "p", "quantity": 1, "unit_price": 1, "currency": "USD"}, "OTHER_CURRENCY"),
    ],
)
def test_an_event_that_makes_no_sense_is_rejected_by_itself(event: dict[str, Any], code: str | None) -> None:
    sent = [{"event_id": "good", "member_id": "m", "type": "check_in"}, {"event_id": "e", "member_id": "m"} | event]
    found = sort(EventsRequest.model_validate({"events": sent}).events, sent, AT, "EUR")
    assert [(one.index, one.code) for one in found.rejected] == ([(1, code)] if code else [])
    assert found.rows[0].event_id == "good"


def test_an_event_without_a_time_happened_just_now_and_an_offset_becomes_utc() -> None:
    sent = [
        {"event_id": "a", "member_id": "m", "type": "check_in"},
        {"event_id": "b", "anonymous_id": "m", "type": "check_in", "occurred_at": "2026-03-01T12:00:00+02:00"},
    ]
    first, second = sort(EventsRequest.model_validate({"events": sent}).events, sent, AT, "EUR").rows
    assert orjson.loads(first.payload)["occurred_at"] == "2026-03-01T12:00:00+00:00"
    assert orjson.loads(second.payload)["occurred_at"] == "2026-03-01T10:00:00+00:00"
    assert (first.member_id, second.member_id) == ("m", "~m")


def body_status(messages: list[dict[str, Any]], headers: dict[str, str], limit: int = 100) -> int:
    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(60)
        return messages.pop(0)

    try:
        asyncio.run(limits.read_body(headers, receive, limit, seconds=0.05))
    except RefusedError as error:
        return error.problem.status
    return 200


def test_bodies_too_large_too_slow_or_of_another_kind_are_refused() -> None:
    kind = {"content-type": "application/json; charset=utf-8"}
    part = {"type": "http.request", "body": b"x" * 60, "more_body": True}
    last = {"type": "http.request", "body": b"x" * 30, "more_body": False}
    assert body_status([part.copy(), last.copy()], kind) == 200
    assert body_status([part.copy(), part.copy(), last.copy()], kind) == 413
    assert body_status([last.copy()], {**kind, "content-length": "101"}) == 413
    assert body_status([last.copy()], {**kind, "content-length": "-1"}) == 413
    assert body_status([part.copy()], kind) == 408
    assert body_status([{"type": "http.disconnect"}], kind) == 400
    assert body_status([last.copy()], {"content-type": "application/vnd.bentoml+pickle"}) == 415
    assert body_status([last.copy()], {}) == 415
    assert body_status([last.copy()], {**kind, "content-encoding": "gzip"}) == 415
