"""What a store of reservations keeps and promises; the same on every back end.

Amounts are whole numbers of 1/10,000 of a budget's unit, so that sums are exact; moments of what is not certain are
floats in that scale. Times are microseconds since the epoch, by the programme clock.

For every budget and period, always: what is spent and what is open together stay inside the amount: in full for stock,
messages and `hard` budgets, as a high quantile of what is open for money and points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", float, NDArray[np.float64])
SCALE = 10_000
CAPS_KEPT_US = 91 * 86_400 * 1_000_000
"""Caps look back 90 days at most."""
State = Literal["open", "committed", "released", "expired"]
Reason = Literal["UNKNOWN", "EXPIRED", "RELEASED", "OVER_BUDGET"]


@dataclass(frozen=True, slots=True)
class Draw:
    """What one reservation takes from one period of one budget, and what the budget allows."""

    budget_id: str
    period: int
    """Where the budget's period begins, epoch seconds."""
    amount: int
    """All that the budget has for the period."""
    sure: int
    """Spent with the decision."""
    most: int
    """Set aside for a response at most: the face value; beyond it, a commitment needs room of its own."""
    unit: str
    face: int = 0
    """What a response takes where the till does not say."""
    mean: float = 0.0
    variance: float = 0.0
    third: float = 0.0
    """Moments of what is taken by a response or not at all; the third is central."""
    quantile: float | None = None
    """Of the standard normal distribution, for the chance of overspending; None reserves `most` in full."""


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` reservations under `key` for the member after `since`."""

    key: str
    count: int
    since: int


@dataclass(frozen=True, slots=True)
class Hold:
    """One candidate's reservation."""

    reservation_id: str
    candidate_id: str
    expires_at: int
    draws: tuple[Draw, ...] = ()
    caps: tuple[Cap, ...] = ()
    forced: bool = False
    """A right of the member: it draws on budgets, but never fails for want of them."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The reservations of one decision: all of them are granted, or none."""

    decision_id: str
    member_id: str
    at: int
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """What a redemption took, where the till says so; the face value stands in for what it does not say."""

    money: float | None = None
    points: float | None = None

    def of(self, unit: str) -> int | None:
        """In the scale of amounts."""
        said = {"money": self.money, "points": self.points}.get(unit)
        return None if said is None else round(said * SCALE)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a reservation; `reason` says why it was refused."""

    reservation_id: str
    state: State | None
    reason: Reason | None = None
    decision_id: str = ""
    candidate_id: str = ""
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """One period of one budget. All amounts in its unit."""

    budget_id: str
    period: int
    spent: float
    open_count: int
    open_most: float
    """Face value of what is open."""
    open_mean: float
    open_variance: float
    open_third: float
    safety: float
    """Factor on the responses that decisions expect: what they came to, over what was expected, at least 1."""
    granted: int
    refused: int
    tight: float
    """The amount under which something was refused since something was last given back; 0 where nothing was."""


def balance(row: Sequence[Any]) -> Balance:
    """A balance of the columns that back ends read: as in `Balance`, in the scale of amounts."""
    name, period, spent, count, most, mean, variance, third, factor, granted, refused, tight = row
    return Balance(
        name, int(period), spent / SCALE, int(count), most / SCALE, mean / SCALE, variance / SCALE**2,
        third / SCALE**3, factor, int(granted), int(refused), tight / SCALE,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did: reservations whose time was over, and how many of them gave something back."""

    matured: int
    expired: int = 0


class Total(NamedTuple):
    """What all reservations of a decision take together from one period of one budget."""

    budget_id: str
    period: int
    amount: int
    sure: int
    most: int
    mean: float
    variance: float
    third: float
    quantile: float | None
    checked: bool
    """Whether it must fit; not where only rights draw on it."""
    holds: int


def totals(claim: Claim) -> list[Total]:
    """The draws of a claim together, in the order of budgets (so that nobody waits for each other in a circle)."""
    found: dict[tuple[str, int], Total] = {}
    for hold in claim.holds:
        for one in hold.draws:
            key = (one.budget_id, one.period)
            fresh = Total(*key, one.amount, 0, 0, 0.0, 0.0, 0.0, one.quantile, checked=False, holds=0)
            so_far = found.get(key, fresh)
            found[key] = so_far._replace(
                sure=so_far.sure + one.sure,
                most=so_far.most + one.most,
                mean=so_far.mean + one.mean,
                variance=so_far.variance + one.variance,
                third=so_far.third + one.third,
                checked=so_far.checked or not hold.forced,
                holds=so_far.holds + 1,
            )
    return [found[key] for key in sorted(found)]


def in_the_way(claim: Claim, budgets: Collection[str], keys: Collection[str]) -> tuple[str, ...]:
    """The candidate that gives way: the last that draws on a budget or falls under a cap that refused the claim."""
    free = [hold for hold in claim.holds if not hold.forced]
    for hold in reversed(free):
        if any(one.budget_id in budgets for one in hold.draws) or any(cap.key in keys for cap in hold.caps):
            return (hold.candidate_id,)
    return tuple(hold.candidate_id for hold in free[-1:])


def refusal(found: Settled, at: int) -> Reason | None:
    """Why a reservation cannot be committed at this time; None where it can, or is already."""
    if found.state is None:
        return "UNKNOWN"
    if found.state == "released":
        return "RELEASED"
    late = found.state == "open" and at >= found.expires_at
    return "EXPIRED" if late or found.state == "expired" else None


def quantile(mean: T, variance: T, third: T, z: float) -> T:
    """A high quantile of a sum with these moments (Cornish & Fisher 1938), for numbers and arrays; variance above 0."""
    tail: T = mean + z * variance**0.5 + (z * z - 1.0) / 6.0 * third / variance
    return tail


def safety(expected: float, taken: float, faces: float, matured: int) -> float:
    """The factor on expected responses: what they came to over what was expected, ten responses being worth nothing.

    Never below 1, so that it only makes a budget more careful, and at most 5.

    >>> safety(expected=100.0, taken=150.0, faces=1000.0, matured=1000)
    1.4545454545454546
    """
    if not matured or faces <= 0:
        return 1.0
    prior = 10.0 * faces / matured
    return min(max((taken + prior) / (expected + prior), 1.0), 5.0)


class Reservations(Protocol):
    """A store of reservations; every call is one transaction."""

    def reserve(self, claims: Sequence[Claim]) -> Mapping[str, tuple[str, ...]]:
        """Grant claims in order; a claim whose decision is known already is granted once.

        Returns:
            Decision → candidates that stand in its way, for the claims that were refused.
        """

    def commit(self, reservation_id: str, at: int, given: Given, *, fact: bool = False) -> Settled:
        """Spend what is reserved; again is the same. `fact`: it has happened already, so nothing can be refused."""

    def release(self, reservation_id: str, at: int) -> Settled:
        """Give back what is reserved or was committed; again is the same."""

    def sweep(self, at: int, limit: int = 1000) -> Swept:
        """Let go of what expired before `at`, and learn from what became of it."""

    def balances(self) -> list[Balance]:
        """Every period of every budget that something was ever taken from."""
