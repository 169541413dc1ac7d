"""What a decision takes from the budgets: how much, with which spread, and what to do where nothing is left.

A candidate takes something for certain (its contact, its message) and something only if the member responds (discount,
gift, points, a piece of the stock). Amounts are in the budget's unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from features.budgets_written import OUTBOUND, pays_for
from features.entities import Budget, Candidate
from serving.portrait import Portrait
from serving.snapshot import Snapshot, Suppressed
from serving.value import UNITS, Terms, Worth

BASKET_SPREAD = 0.7
"""Assumed: standard deviation of a member's baskets over their mean, for what is a share of the basket."""
_DAY = 86_400.0


class Use(NamedTuple):
    """What one decision for one candidate is to take from one budget."""

    sure: float
    """Taken whatever the member does."""
    face: float
    """Taken beside it, on average, if the member responds."""
    chance: float
    """That the member responds."""
    spread: float = 0.0
    """Standard deviation of what a response takes."""
    skew: float = 0.0
    """Third central moment of what a response takes, in the cube of the unit."""

    @property
    def expected(self) -> float:
        """Mean of all it takes: the `k` of the score."""
        return self.sure + self.chance * self.face

    @property
    def variance(self) -> float:
        """Variance of what is not certain."""
        return self.chance * (self.face**2 + self.spread**2) - (self.chance * self.face) ** 2

    @property
    def third(self) -> float:
        """Third central moment of what is not certain."""
        p, a = self.chance, self.face
        second = a * a + self.spread**2
        third = a**3 + 3.0 * a * self.spread**2 + self.skew
        return p * third - 3.0 * p * p * a * second + 2.0 * (p * a) ** 3


def payers(budgets: Sequence[Budget], candidates: Iterable[Candidate]) -> dict[str, tuple[Budget, ...]]:
    """Candidate → the budgets that may pay for it, as far as the catalogue alone says; those with none are left out."""
    found = {one.id: tuple(budget for budget in budgets if pays_for(budget, one)) for one in candidates}
    return {name: many for name, many in found.items() if many}


def period(budget: Budget, at: float) -> int | None:
    """Where the budget's period that holds `at` begins, epoch seconds; 0 for one without periods, None outside it."""
    starts = budget.starts.timestamp() if budget.starts else 0.0
    if (budget.starts and at < starts) or (budget.ends and at >= budget.ends.timestamp()):
        return None
    if budget.every_days is None:
        return 0
    length = budget.every_days * _DAY
    return int(starts + (at - starts) // length * length)


def full_again(budget: Budget, at: float) -> float | None:
    """When it has its amount again, epoch seconds; None where that never happens."""
    if budget.starts and at < budget.starts.timestamp():
        return budget.starts.timestamp()
    began = period(budget, at)
    if began is None or budget.every_days is None:
        return None
    renewed = began + budget.every_days * _DAY
    return None if budget.ends and renewed >= budget.ends.timestamp() else renewed


def concerns(budget: Budget, tier: str, channel: str | None) -> bool:
    """Whether a budget that may pay for the candidate does so for a member of this tier, through this channel."""
    if budget.tiers and tier not in budget.tiers:
        return False
    wanted = budget.channels or (OUTBOUND if budget.unit == "messages" else ())
    return not wanted or channel in wanted


def use(budget: Budget, candidate: Candidate, terms: Terms, worth: Worth, who: Portrait, channel: str | None) -> Use:
    """What a decision for the candidate takes from a budget that may pay for it; nothing where it does not concern it.

    Args:
        budget: one of `payers`.
        candidate: what is decided for.
        terms: its economics.
        worth: its value for the member.
        who: the member.
        channel: the channel it goes through; None where that is not known.
    """
    if not concerns(budget, who.tier.id, channel) or candidate.type == "do_nothing":
        return _NOTHING
    if budget.unit == "messages":
        return Use(1.0, 0.0, 0.0)
    if budget.unit == "units":
        return Use(0.0, 1.0, worth.response)
    if budget.unit == "points":
        varying = terms.more_points * who.tier.earn_rate * who.basket
        return _on_response(0.0, terms.points, varying, worth.response)
    fixed = min(terms.money_off, who.basket) + terms.cost
    return _on_response(-worth.lines[4] / UNITS, fixed, terms.share_off * who.basket, worth.response)


_NOTHING = Use(0.0, 0.0, 0.0)


def _on_response(sure: float, fixed: float, varying: float, chance: float) -> Use:
    """A part that is the same for everybody and one that goes with the basket (gamma, whose skewness is 2 · cv)."""
    spread = varying * BASKET_SPREAD
    return Use(sure, fixed + varying, chance, spread, 2.0 * BASKET_SPREAD * spread**3)


AWAY = "budgets"
"""Degraded by this: nobody knows what budgets have left."""


def shut(budgets: Iterable[Budget], snapshot: Snapshot) -> frozenset[str]:
    """Budgets that cannot pay at this moment: nothing is left of them, or they are outside their dates."""
    outside = [one.id for one in budgets if period(one, snapshot.at) is None]
    return snapshot.spent_out.union(outside) if outside else snapshot.spent_out


def charged(budgets: Iterable[Budget], snapshot: Snapshot) -> dict[str, float]:
    """The prices above 0 of budgets inside their dates."""
    prices, at = snapshot.prices, snapshot.at
    return {one.id: prices[one.id] for one in budgets if prices.get(one.id, 0.0) > 0.0 and period(one, at) is not None}


def nobody_pays(paying: Sequence[Budget], candidate: Candidate, snapshot: Snapshot, who: Portrait, channel: str | None
) -> Suppressed | None:  # fmt: skip
    """Why the candidate cannot be paid for; None where it can, and always for rights: they are not withheld.

    A candidate drops where a budget that concerns it is spent, or where all its budgets of one unit are outside their
    dates.
    """
    if candidate.entitlement:
        return None
    mine = [one for one in paying if concerns(one, who.tier.id, channel)]
    live = {one.unit for one in mine if period(one, snapshot.at) is not None}
    for one in mine:
        outside = period(one, snapshot.at) is None
        if (outside and one.unit not in live) or (not outside and one.id in snapshot.spent_out):
            if AWAY in snapshot.degraded:
                return Suppressed(candidate.id, "budget", "BUDGET_UNKNOWN")
            stage, code = ("stock", "OUT_OF_STOCK") if one.unit == "units" else ("budget", "BUDGET_SPENT")
            return Suppressed(candidate.id, stage, code, full_again(one, snapshot.at))
    return None


def priced(
    worth: Worth, paying: Sequence[Budget], candidate: Candidate, terms: Terms, who: Portrait, channel: str | None,
    prices: Mapping[str, float],
) -> Worth:  # fmt: skip
    """The worth with the line `budget_price = −Σ λ·k` in it; the candidates compete with the score that carries it.

    `prices` are those of `charged`.
    """
    charge = 0.0
    for one in paying:
        price = prices.get(one.id)
        if price is not None:
            charge += price * use(one, candidate, terms, worth, who, channel).expected
    if not charge:
        return worth
    line = -round(charge * UNITS)
    return worth._replace(
        lines=(*worth.lines[:6], line), score=worth.net + line, pull=worth.pull + line / UNITS
    )  # fmt: skip
