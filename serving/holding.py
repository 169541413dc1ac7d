"""What must be reserved before a decision may be given: its draws on budgets, and the caps of each member."""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

from features.entities import Budget, Candidate
from serving import budget_use, value
from serving.budget_use import Use
from serving.calls import Call
from serving.eligibility import route
from serving.policy import Policy
from serving.portrait import Portrait
from serving.present import Present
from serving.reservations.contract import SCALE, Cap, Claim, Draw, Hold
from serving.snapshot import Decision, Result

SPREADS = 3.0
"""A share of the basket has no face value: so many standard deviations above its mean stand in for it."""
_DAY_US = 86_400 * 1_000_000


def claim(
    decision_id: str, call: Call, present: Present, who: Portrait | None, decision: Decision
) -> Claim | None:  # fmt: skip
    """The reservations that a decision needs; None where it needs none. `who` is the portrait it was made with."""
    if who is None or decision.mode == "fallback" or call.family == "product":
        return None
    book = present.rulebook
    holds: list[Hold] = []
    for one in decision.results:
        candidate = book.candidates.get(one.id)
        if candidate is None or candidate.type == "do_nothing":
            continue
        draws: tuple[Draw, ...] = ()
        paying = book.payers.get(one.id, ())
        if paying:
            draws = _draws(paying, candidate, one, who, book.policy, route(candidate, call.ask), call.at)
        caps = _caps(candidate, call.at)
        if draws or caps:
            name = f"rsv-{decision_id.removeprefix('d-')}-{len(holds) + 1}"
            expires = int(_expires(candidate, call, book.policy) * 1e6)
            holds.append(Hold(name, one.id, expires, draws, caps, candidate.entitlement))
    return Claim(decision_id, call.member_id, int(call.at * 1e6), tuple(holds)) if holds else None


def _expires(candidate: Candidate, call: Call, policy: Policy) -> float:
    """A response counts until the reward window is over, or the candidate no longer holds."""
    over = call.at + policy.families[call.family].reward_window_days * 86_400.0
    return over if candidate.ends is None else min(over, candidate.ends.timestamp())


def _caps(candidate: Candidate, at: float) -> tuple[Cap, ...]:
    limits = candidate.limits
    if limits.per_member is None or candidate.entitlement or candidate.family not in ("offer", "action"):
        return ()
    return (Cap(candidate.id, limits.per_member, int(at * 1e6) - limits.per_days * _DAY_US),)


def _draws(
    paying: tuple[Budget, ...], candidate: Candidate, given: Result, who: Portrait, policy: Policy,
    channel: str | None, at: float,
) -> tuple[Draw, ...]:  # fmt: skip
    terms = value.terms(candidate, policy)
    contact = round(given.value.bill.contact * value.UNITS)
    worth = value.NOTHING._replace(lines=(0, 0, 0, 0, contact, 0, 0), response=given.value.response)
    found = []
    for budget in paying:
        period = budget_use.period(budget, at)
        if period is not None:
            use = budget_use.use(budget, candidate, terms, worth, who, channel)
            if use.sure or use.face:
                found.append(draw(budget, period, use))
    return tuple(found)


def draw(budget: Budget, period: int, use: Use) -> Draw:
    """A use as a store of reservations knows it."""
    whole = budget.hard or budget.unit in ("messages", "units")
    return Draw(
        budget_id=budget.id,
        period=period,
        amount=round(budget.amount * SCALE),
        sure=round(use.sure * SCALE),
        most=round((use.face + SPREADS * use.spread) * SCALE),
        unit=budget.unit,
        face=round(use.face * SCALE),
        mean=use.chance * use.face * SCALE,
        variance=use.variance * SCALE**2,
        third=use.third * SCALE**3,
        quantile=None if whole else _quantile(budget.overspend),
    )


@lru_cache(maxsize=256)
def _quantile(overspend: float) -> float:
    return NormalDist().inv_cdf(1.0 - overspend)
