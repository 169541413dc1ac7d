"""A request on its way to an answer: what was asked, what was looked up, what shall be said and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features import filters
from serving.contract import Envelope, FamilyName
from serving.journal import DecisionRow, RequestRow
from serving.members import Member, Stored
from serving.problems import Fault, refuse, shown
from serving.snapshot import Ask, Placement, Snapshot


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
    )
    if asked.filter is not None:
        try:
            filters.compile(asked.filter, asked.filter_values)
        except filters.FilterError as error:
            raise refuse(422, str(error), Fault("filter", str(error), shown(asked.filter))) from None
    return Call(family, member_id, asked, ask, at, None if asked.dry_run else asked.request_id, body_hash)
