"""What goes into a journal and what comes of it: the rows handed in, and the outcomes handed back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class ReactionRow:
    """What of an event later decisions hang on; `at` is when it happened, microseconds since the epoch."""

    at: int
    kind: str
    decision_id: str = ""
    candidate_id: str = ""
    channel: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One accepted event; `received_at` is microseconds since the epoch, `payload` what was sent."""

    event_id: str
    member_id: str
    received_at: int
    payload: bytes
    consents: Mapping[str, bool] = field(default_factory=dict)
    """Purposes to which the member consented or objected with this event."""
    reactions: tuple[ReactionRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One offer or action that a decision put before a member."""

    candidate_id: str
    candidate_type: str
    family: str
    channel: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One decision to be kept. `at` is microseconds since the epoch.

    `period_key` is unique in the journal: who comes second gets the first decision. It is None for a decision that
    must never be given again. `supersedes` names the decision that loses its period to this one.
    """

    decision_id: str
    member_id: str
    family: str
    at: int
    payload: bytes
    period_key: str | None = None
    request_id: str | None = None
    body_hash: bytes = b""
    contacts: tuple[ContactRow, ...] = ()
    exposures: Mapping[str, str] = field(default_factory=dict)
    learnable: bool = True
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request that was answered with a decision that already stood."""

    request_id: str
    body_hash: bytes
    decision_id: str
    at: int


@dataclass(frozen=True, slots=True)
class VoidRow:
    """A decision that was stored too late: the caller got another answer."""

    decision_id: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a batch of events."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of one decision: `stored`, `repeat` of the named one, or `conflict` over its request id."""

    how: Literal["stored", "repeat", "conflict"]
    decision_id: str


Work = tuple[EventRow, ...] | tuple[DecisionRow, ...] | RequestRow | VoidRow
Outcome = Counts | tuple[Kept, ...] | Kept | None
