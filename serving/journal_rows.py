"""What goes into a journal and what comes of it: the rows handed in, and the outcomes handed back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from features.ledger.redeeming import Lot, Refused
from features.ledger.rules import SpendingRule
from serving.reservations.contract import Claim, Given, Settled, Swept


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
class Redeemed:
    """What an event says was redeemed: of which decision, or else which candidate, and what it took."""

    decision_id: str | None
    candidate_id: str | None
    given: Given


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
    redeemed: Redeemed | None = None


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
    claim: Claim | None = None
    """What must be reserved for it to be given, by the journal itself."""
    refused: tuple[str, ...] = ()
    """Candidates that stood in the way where another store reserves: it is drawn and not given."""


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
class SettleRow:
    """A reservation to be committed or released; `at` is microseconds since the epoch."""

    reservation_id: str
    how: Literal["commit", "release"]
    at: int
    given: Given = field(default_factory=Given)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """Reservations that expired before `at` (microseconds) are to be let go."""

    at: int


@dataclass(frozen=True, slots=True)
class BurnRow:
    """Points to be redeemed, or a redemption to be rolled back, against what the member holds when it is written."""

    redemption_id: str
    member_id: str
    ids: tuple[str, ...]
    """All ids of the member."""
    at: datetime
    lots: tuple[Lot, ...]
    """What the member held by the tables,"""
    watermark: int
    """which contain the journal up to here."""
    known: frozenset[str]
    """Events that the tables contain already, wherever the position is."""
    life_days: int
    """How long points live that an event brings."""
    body_hash: str = ""
    points: float = 0.0
    rule: SpendingRule | None = None
    cost_per_point: float = 0.0
    roll_back: bool = False


@dataclass(frozen=True, slots=True)
class Burnt:
    """What became of it: the redemption as the journal has it, or why not."""

    how: Literal["redeemed", "released", "conflict", "unknown", "refused"]
    redemption: Mapping[str, Any] = field(default_factory=dict)
    refused: Refused | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a batch of events."""

    accepted: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of one decision: `stored`, `repeat` of the named one, or `conflict` over its request id.

    `refused`: it is stored as one that was drawn, but what it needs could not be reserved; `refused` names candidates
    that stood in the way. Decide again without them.
    """

    how: Literal["stored", "repeat", "conflict", "refused"]
    decision_id: str
    refused: tuple[str, ...] = ()


Work = tuple[EventRow, ...] | tuple[DecisionRow, ...] | RequestRow | VoidRow | SettleRow | SweepRow | BurnRow
Outcome = Counts | tuple[Kept, ...] | Kept | Settled | Swept | Burnt | None
