"""What of an event later decisions hang on: an answer, a message that came back, the score of a survey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from serving.journal_rows import ReactionRow
from serving.snapshot import Contact, Reaction

ANSWERED = ("click", "accept", "redeem")
_Kind = Literal["bounced", "score", "resolved"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One reaction as the journal keeps it; `at` is epoch seconds."""

    at: float
    kind: str
    decision_id: str
    candidate_id: str
    channel: str
    value: float | None


def row(
    kind: str, at: int, decision_id: str | None, candidate_id: str | None, said: dict[str, object], value: float | None
) -> tuple[ReactionRow, ...]:
    """What the journal keeps of an event of this type; nothing of most.

    Args:
        kind: the event's type.
        at: when it happened, microseconds since 1970.
        decision_id: the decision it names.
        candidate_id: the candidate it names.
        said: its properties.
        value: its value.
    """
    channel = said.get("channel")
    through = channel if isinstance(channel, str) else ""
    found: list[ReactionRow] = []
    if kind in ANSWERED:
        found.append(ReactionRow(at, "answered", decision_id or "", candidate_id or "", through))
    if kind == "bounced":
        found.append(ReactionRow(at, "bounced", decision_id or "", candidate_id or "", through))
    if kind == "survey_answer" and value is not None and said.get("resolved") is not True:
        found.append(ReactionRow(at, "score", "", "", "", value))
    if said.get("resolved") is True:
        found.append(ReactionRow(at, "resolved", decision_id or "", candidate_id or "", through))
    return tuple(found)


def answered(contacts: Sequence[tuple[str, Contact]], stored: Iterable[Stored]) -> tuple[Contact, ...]:
    """The contacts, each with whether it was answered.

    An answer that names a decision is one to that decision; one that names a candidate only, to the last time it was
    put before the member.

    Args:
        contacts: decision and contact, oldest first.
        stored: what came back, in any order.
    """
    hit: set[int] = set()
    for one in stored:
        if one.kind == "answered":
            hit.update(_about(one, contacts)[-1:] if not one.decision_id else _about(one, contacts))
    return tuple(replace(one, answered=True) if at in hit else one for at, (_, one) in enumerate(contacts))


def _about(one: Stored, contacts: Sequence[tuple[str, Contact]]) -> list[int]:
    return [
        place
        for place, (decision_id, contact) in enumerate(contacts)
        if (not one.decision_id or decision_id == one.decision_id)
        and (not one.candidate_id or contact.candidate_id == one.candidate_id)
        and contact.at <= one.at + _LEEWAY_S
    ]


_LEEWAY_S = 300.0
"""Clocks differ: an answer may seem to come before what it answers."""


def others(contacts: Sequence[tuple[str, Contact]], stored: Iterable[Stored]) -> tuple[Reaction, ...]:
    """All that came back beside answers, oldest first; a bounce without a channel is one of the decision it names."""
    channels = {decision_id: contact.channel for decision_id, contact in contacts}
    found = [
        Reaction(one.at, cast(_Kind, one.kind), one.channel or channels.get(one.decision_id, ""), one.value)
        for one in stored
        if one.kind != "answered"
    ]
    return tuple(sorted(found, key=lambda one: one.at))
