"""From the journal to typed tables: what was reported and decided becomes tomorrow's history.

The same event always gives the same rows, so that exporting twice, or once more after a kill, changes nothing.
Rows of anonymous visitors carry an id that begins with `~`; an event that names a member too says whose visit it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from features.border import finish
from features.entities import PointsRules
from features.identity import ANONYMOUS
from features.tables import TABLES
from serving import payload
from serving.events import ANSWERS
from serving.journal import Journal, StoredDecision, StoredEvent

ENGAGEMENTS = ("check_in", "share", "review", "event_attended", "community_post", "survey_answer", "enrol")
OUTCOMES = ("accept", "decline", "dismiss", "redeem", "purchase")
AT_ONCE = 50_000
CONSENTS = ("personalisation", "email", "sms", "push", "call")
_UNKNOWN = "unknown"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What a decision gave, as far as events that answer it need to know: candidate → type, and the channel."""

    types: Mapping[str, str] = field(default_factory=dict)
    first: str | None = None
    channel: str | None = None


def since(journal_path: Path, after: int, rules: PointsRules | None = None) -> tuple[dict[str, pd.DataFrame], int]:
    """Everything the journal got after a position, as typed tables.

    Args:
        journal_path: the journal's file.
        after: the position that `since` gave last time; 0 for all.
        rules: when points expire; without them points that were earned by an event never do.

    Returns:
        Tables by name (those that have rows), and the position to go on from.
    """
    if not journal_path.exists():
        return {}, after
    journal = Journal(journal_path)
    try:
        until = journal.last_seq()
        events = _all(lambda seq: journal.read_events(seq, AT_ONCE), after, until)
        decisions = _all(lambda seq: journal.read_decisions(seq, AT_ONCE), after, until)
        return tables(events, decisions, journal.find_decision, rules), until
    finally:
        journal.close()


def _all(read: Callable[[int], Sequence[Any]], after: int, until: int) -> list[Any]:
    found: list[Any] = []
    while rows := read(found[-1].seq if found else after):
        found += [row for row in rows if row.seq <= until]
        if rows[-1].seq >= until:
            break
    return found


def tables(
    events: Iterable[StoredEvent],
    decisions: Iterable[StoredDecision],
    find: Callable[[str], StoredDecision | None],
    rules: PointsRules | None = None,
) -> dict[str, pd.DataFrame]:
    """Events and decisions as typed tables; `find` looks up the decision that an event names."""
    rows: dict[str, list[Row]] = {}
    known: dict[str, Given] = {}
    for decision in decisions:
        rows.setdefault("decisions", []).extend(_decision_rows(decision))
    for stored in events:
        event = orjson.loads(stored.payload)
        for name, row in _event_rows(event, stored, lambda one: _given(one, known, find), rules):
            rows.setdefault(name, []).append(row)
    return {name: finish(pd.DataFrame(many), TABLES[name]) for name, many in rows.items() if many}


def _given(decision_id: str | None, known: dict[str, Given], find: Callable[[str], StoredDecision | None]) -> Given:
    if decision_id is None:
        return Given()
    if decision_id not in known:
        stored = find(decision_id)
        known[decision_id] = Given() if stored is None else _what_was_given(stored)
    return known[decision_id]


def _what_was_given(stored: StoredDecision) -> Given:
    header = payload.decode(stored.payload).header
    results = header["decision"]["results"]
    return Given(header["types"], results[0]["id"] if results else None, header["ask"]["channel"])


def _event_rows(
    event: Row, stored: StoredEvent, given: Callable[[str | None], Given], rules: PointsRules | None
) -> Iterable[tuple[str, Row]]:
    kind = event["type"]
    occurred = datetime.fromisoformat(event["occurred_at"])
    times: Row = {"member_id": stored.member_id, "occurred_at": occurred, "known_at": _time(stored.received_at)}
    properties = event.get("properties") or {}
    if event.get("anonymous_id") and not stored.member_id.startswith(ANONYMOUS):
        card = f"{ANONYMOUS}{event['anonymous_id']}"
        yield "identities", {**times, "card_id": card}
    if kind in ("purchase", "return"):
        yield "purchases", {**times, **_purchase(event, properties)}
    if kind in ("points_earn", "points_burn"):
        yield "points", {**times, **_points(event, occurred, rules)}
    if kind in ENGAGEMENTS:
        yield "engagements", {**times, **_engagement(event, properties)}
    if kind in ANSWERS or kind == "unsubscribe":
        yield "offer_events", {**times, **_answer(event, properties, given(event.get("decision_id")))}
    if kind in OUTCOMES and event.get("decision_id"):
        yield "outcomes", {**times, **_outcome(event)}
    if kind == "enrol":
        yield "members", {**times, **_profile(properties, occurred)}


def _purchase(event: Row, properties: Row) -> Row:
    quantity, price = float(event["quantity"]), float(event["unit_price"])
    discount = float(event.get("discount") or 0.0)
    back = event["type"] == "return"
    if back:
        # What comes back is what was paid: the price after the discount, so that amount = quantity · price holds.
        quantity = abs(quantity)
        price, discount = max(price - discount / quantity, 0.0), 0.0
    return {
        "purchase_id": event["event_id"],
        "basket_id": event.get("basket_id") or event["event_id"],
        "product_id": event["product_id"],
        "quantity": -quantity if back else quantity,
        "unit_price": price,
        "discount": discount,
        "amount": -quantity * price if back else quantity * price - discount,
        "store_id": _text(properties, "store_id"),
        "channel": _text(properties, "channel"),
        "reverses": event.get("reverses"),
        "offer_id": event.get("id"),
    }


def _points(event: Row, occurred: datetime, rules: PointsRules | None) -> Row:
    earned = event["type"] == "points_earn"
    expires = occurred + timedelta(days=rules.expiry_days) if earned and rules else None
    restores = event.get("restores")
    return {
        "entry_id": event["event_id"],
        "type": "earn" if earned else "redeem",
        "points": float(event["value"]) * (1 if earned or restores else -1),
        "lot_id": restores or event["event_id"],
        "expires_at": expires,
        "source": "event",
    }


def _engagement(event: Row, properties: Row) -> Row:
    return {
        "engagement_id": event["event_id"],
        "type": event["type"],
        "topic": _text(properties, "topic"),
        "value": event.get("value"),
    }


def _answer(event: Row, properties: Row, given: Given) -> Row:
    candidate = event.get("id") or given.first or _UNKNOWN
    return {
        "event_id": event["event_id"],
        "offer_id": candidate,
        "offer_type": given.types.get(candidate) or _text(properties, "offer_type") or _UNKNOWN,
        "type": event["type"],
        "channel": _text(properties, "channel") or given.channel,
        "decision_id": event.get("decision_id"),
        "probability": None,
        "value": event.get("value"),
    }


def _outcome(event: Row) -> Row:
    value = event.get("value")
    if event["type"] == "purchase" and value is None:
        value = float(event["quantity"]) * float(event["unit_price"]) - float(event.get("discount") or 0.0)
    return {
        "outcome_id": event["event_id"],
        "decision_id": event["decision_id"],
        "type": event["type"],
        "value": value,
    }


def _profile(properties: Row, occurred: datetime) -> Row:
    """A member who enrols: consent is given where the event says so, and nowhere else."""
    consents = {f"consent_{one}": properties.get(f"consent_{one}") is True for one in CONSENTS}
    return {"enrolled_at": occurred, "region": _text(properties, "region"), **consents}


def _text(properties: Row, name: str) -> str | None:
    value = properties.get(name)
    return value if isinstance(value, str) and value else None


def _decision_rows(stored: StoredDecision) -> Iterable[Row]:
    header = payload.decode(stored.payload).header
    decision, at = header["decision"], _time(stored.at)
    chances = {(one["placement"], one["rank"]): one["probabilities"] for one in decision["chances"]}
    for one in decision["results"]:
        yield {
            "decision_id": stored.decision_id,
            "member_id": stored.member_id,
            "family": stored.family,
            "placement": one["placement"],
            "rank": one["rank"],
            "candidate_id": one["id"],
            "candidate_type": header["types"].get(one["id"]) or _type_of(one),
            "probability": one["probability"],
            "slate_probability": one["slate_probability"],
            "propensities": orjson.dumps(chances.get((one["placement"], one["rank"]), {})).decode(),
            "mode": decision["mode"],
            "policy_version": decision["policy_version"],
            "experiment": decision["experiment"],
            "variant": decision["variant"],
            "learnable": stored.learnable,
            "net_value": one["value"]["net"],
            "occurred_at": at,
            "known_at": at,
        }


def _type_of(result: Row) -> str:
    return str(result["id"]) if result["id"] == "do_nothing" else str(result["kind"])


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC) + timedelta(microseconds=microseconds % 1_000_000)
