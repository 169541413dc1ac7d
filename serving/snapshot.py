"""What a decision rests on, and what it says: the values that go into `decide` and come out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["exploit", "explore", "holdout", "fallback"]
Basis = Literal["experiment", "response", "prior"]
LifetimeBasis = Literal["experiment", "prior", "none"]


@dataclass(frozen=True, slots=True)
class Contact:
    """Something that was already decided for the member; times are epoch seconds."""

    at: float
    candidate_id: str
    candidate_type: str
    family: str
    channel: str
    answered: bool = False
    """Whether the member clicked, accepted or redeemed."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """Something that came back from the member, as far as later decisions hang on it; times are epoch seconds."""

    at: float
    kind: Literal["bounced", "score", "resolved"]
    channel: str = ""
    """Through which a message came back, where it did."""
    value: float | None = None
    """The score that a survey was answered with."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A place to fill with up to `count` candidates."""

    id: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that was known about one member when the decision was made.

    `features` maps a feature's name to its value at `at` (NaN where it has none). An unknown member has no features.
    """

    member_id: str
    at: float
    """Epoch seconds, UTC, of the programme clock."""
    known: bool
    features: Mapping[str, float] = field(default_factory=dict)
    consents: Mapping[str, bool] = field(default_factory=dict)
    """Channel or purpose → consent; a missing one means no."""
    contacts: tuple[Contact, ...] = ()
    """Offers and actions of the last 90 days, oldest first."""
    exposures: Mapping[str, str] = field(default_factory=dict)
    """Experiment key → the variant the member was first exposed to."""
    paused: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    """Candidates whose reservation was refused in this request."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Budget → shadow price: money that one more unit of it would earn; a missing one is 0."""
    spent_out: frozenset[str] = frozenset()
    """Budgets that have nothing left."""
    degraded: tuple[str, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    """Of the last 90 days, oldest first."""
    timezone: str | None = None
    """The member's own; None where it is not known: the programme's stands in for it."""
    burned_share: float | None = None
    """Chance that the points which an offer would use up are redeemed anyway; None where none was estimated: the
    programme's constant stands in."""
    redeemed_share: float | None = None
    """Chance that points issued now are redeemed; None where none was estimated: the programme's constant stands in."""


@dataclass(frozen=True, slots=True)
class Boost:
    """Products that fit the filter count `factor` times as much."""

    filter: str
    factor: float


@dataclass(frozen=True, slots=True)
class Ask:
    """What the caller asked for, checked."""

    family: Literal["offer", "action", "benefit", "product"]
    placements: tuple[Placement, ...]
    channel: str | None = None
    context: Mapping[str, str | float] = field(default_factory=dict)
    filter: str | None = None
    filter_values: Mapping[str, str | float | bool] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    explain: Literal["none", "reasons", "full"] = "reasons"
    boosts: tuple[Boost, ...] = ()
    diversity: float = 0.0
    max_per_category: int | None = None
    popularity_cap: float | None = None
    direction: Literal["inbound", "outbound"] | None = None
    """Who comes to whom; None where the caller did not say: the channel tells."""


@dataclass(frozen=True, slots=True)
class Trait:
    """What of a product mattered when a list was mixed."""

    rank: int
    """Its rank in the model's order of all that could be named."""
    category: str | None = None
    factor: float = 1.0
    """Of all boosts that fit it, multiplied."""


@dataclass(frozen=True, slots=True)
class ResponseEstimate:
    """What was seen of one type of candidate."""

    response: float
    """Share of those who got it that accepted or redeemed."""
    effect: float | None
    """None where nothing was drawn to compare it with: the policy's share of responses that are caused stands in."""
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one candidate causes for one member, in baskets of the reward window against doing nothing."""

    response: float | None
    """Chance that it is accepted or redeemed; None leaves that to the prior."""
    effect: float
    low: float
    high: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class LifetimeEstimate:
    """What one candidate changes of the margin to come after its reward window, in money; a posterior mean."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FatigueEstimate:
    """What a randomised volume of contacts said: one recent contact costs the next so many baskets."""

    baskets: float
    low: float
    high: float
    days: int
    """What counts as recent."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the champions say about this member. `products` are the best, scored and in order: (product_id, score)."""

    churn: float | None = None
    products: tuple[tuple[str, float], ...] = ()
    responses: Mapping[str, ResponseEstimate] = field(default_factory=dict)
    """Candidate type → estimate; only where an experiment stands behind it."""
    effects: Mapping[str, Estimate] = field(default_factory=dict)
    """Candidate id → what it causes for this very member; goes before its type's."""
    lifetimes: Mapping[str, LifetimeEstimate] = field(default_factory=dict)
    """Candidate id → change of what comes after its window; only where it was drawn by lot."""
    lifetimes_of_type: Mapping[str, LifetimeEstimate] = field(default_factory=dict)
    """Candidate type → what a new candidate of it starts from."""
    fatigue: FatigueEstimate | None = None
    """Goes before the policy's constants."""
    versions: Mapping[str, str] = field(default_factory=dict)
    traits: Mapping[str, Trait] = field(default_factory=dict)
    """Product id → what it is, where the request wants a mixed list."""
    narrowed: bool = False
    """Whether some products could not be named at all: by the request, or because they cannot be had."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines that add up to `net`; `budget_price` is the one that only the score carries."""

    margin: float = 0.0
    lifetime: float = 0.0
    discount: float = 0.0
    liability: float = 0.0
    contact: float = 0.0
    fatigue: float = 0.0
    budget_price: float = 0.0


@dataclass(frozen=True, slots=True)
class Value:
    """What a candidate is worth for this member in money, and what the number rests on."""

    net: float
    score: float
    effect: float
    response: float
    basis: Basis
    bill: Bill
    effect_interval: tuple[float, float] | None = None
    """Only where `basis` is `experiment`: a prior has none."""
    fatigue_basis: Basis = "prior"
    """What the line `fatigue` of the bill rests on: the policy's constant, or a randomised volume of contacts."""
    lifetime_basis: LifetimeBasis = "none"
    """What the line `lifetime` rests on: decisions drawn by lot, a marketer's `retention`, or no evidence yet."""
    lifetime_interval: tuple[float, float] | None = None
    """In money; only where `lifetime_basis` is `experiment`."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A code for systems and a sentence fit for the member."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A candidate that could not be given, where it fell out and why."""

    id: str
    stage: str
    code: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One candidate chosen for one rank of a placement."""

    placement: str
    rank: int
    id: str
    kind: str
    probability: float
    slate_probability: float
    value: Value
    reasons: tuple[Reason, ...]
    content: Mapping[str, str]
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Chances:
    """The probabilities of every candidate at one rank, given the higher ranks; they sum to one."""

    placement: str
    rank: int
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of `decide`: results in order, all chances, and every drop with its reason."""

    member_id: str
    family: str
    mode: Mode
    policy_id: str
    policy_version: str
    experiment: str | None
    variant: str | None
    results: tuple[Result, ...]
    chances: tuple[Chances, ...]
    suppressed: tuple[Suppressed, ...]
    exposures: Mapping[str, str] = field(default_factory=dict)
    """Experiments to which this decision exposes the member for the first time or again: key → variant."""
