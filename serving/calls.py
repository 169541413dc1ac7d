"""A request on its way to an answer: what was asked, what was looked up, what shall be said and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from features import filters
from serving.contract import Envelope, FamilyName, RecommendationRequest
from serving.journal import DecisionRow, RequestRow
from serving.members import Member, Stored
from serving.problems import Fault, refuse, shown
from serving.snapshot import Ask, Boost, Placement, Snapshot


@dataclass(frozen=True, slots=True)
class Call:
    """One request for one member, checked."""

    family: FamilyName
    member_id: str
    asked: Envelope
    ask: Ask
    at: float
    """Epoch seconds of the programme clock."""
    request_id: str | None
    body_hash: bytes
    refused: frozenset[str] = frozenset()
    """Candidates whose reservation was refused for this call."""
    drawn_before: str | None = None
    """The decision that was drawn for this call and could not be reserved."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer, and what must be in the journal before it leaves; neither for a dry run."""

    call: Call
    answer: dict[str, Any]
    row: DecisionRow | None = None
    request: RequestRow | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked up for one member."""

    snapshot: Snapshot
    stored: Stored
    member: Member | None


def call(family: FamilyName, member_id: str, asked: Envelope, at: float, body_hash: bytes) -> Call:
    """A request made ready.

    Raises:
        RefusedError: 422 for a filter that cannot be read.
    """
    ask = Ask(
        family=family,
        placements=tuple(Placement(one.id, one.count) for one in asked.placements),
        channel=asked.channel,
        context=asked.context,
        filter=asked.filter,
        filter_values=asked.filter_values,
        include=tuple(asked.include),
        exclude=tuple(asked.exclude),
        direction=asked.direction if "direction" in asked.model_fields_set else None,
    )
    if isinstance(asked, RecommendationRequest):
        ask = _mixed(ask, asked)
    if asked.filter is not None:
        _readable("filter", asked.filter, asked)
    for place, boost in enumerate(ask.boosts):
        _readable(f"boosts.{place}.filter", boost.filter, asked)
    return Call(family, member_id, asked, ask, at, None if asked.dry_run else asked.request_id, body_hash)


def _readable(field: str, text: str, asked: Envelope) -> None:
    try:
        filters.compile(text, asked.filter_values)
    except filters.FilterError as error:
        raise refuse(422, str(error), Fault(field, str(error), shown(text))) from None


def _mixed(ask: Ask, asked: RecommendationRequest) -> Ask:
    return replace(
        ask,
        boosts=tuple(Boost(one.filter, one.factor) for one in asked.boosts),
        diversity=asked.diversity,
        max_per_category=asked.max_per_category,
        popularity_cap=asked.popularity_cap,
    )
