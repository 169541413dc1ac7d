"""What is left of the budgets: read a few times a second for those who decide, swept of what expired."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import NamedTuple

from features.entities import Budget
from serving import budget_use
from serving.journal import Journal, JournalError
from serving.reservations.contract import Balance, quantile

SWEEP_S = 5.0
"""What expired is let go within so many seconds."""
SCRAPS = 0.02
"""A budget that refused something with less than this share left counts as spent until something comes back."""


class Standing(NamedTuple):
    """One budget as it stands in its present period. Amounts are in its unit."""

    budget: Budget
    balance: Balance
    period: int | None
    """Where the period begins, epoch seconds; None outside its dates."""
    reserved: float
    """Set aside for what is open."""
    left: float


def standing(budget: Budget, balances: Iterable[Balance], at: float) -> Standing:
    """How a budget stands at a moment (epoch seconds)."""
    period = budget_use.period(budget, at)
    none = Balance(budget.id, period or 0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 1.0, 0, 0, 0.0)
    mine = (one for one in balances if (one.budget_id, one.period) == (budget.id, period))
    found = next(mine, none)
    held = reserved(budget, found)
    return Standing(budget, found, period, held, budget.amount - found.spent - held if period is not None else 0.0)


def reserved(budget: Budget, open_: Balance) -> float:
    """What must be kept for what is open: all of it, or a high quantile."""
    if budget.hard or budget.unit in ("messages", "units") or not open_.open_count:
        return open_.open_most
    z = NormalDist().inv_cdf(1.0 - budget.overspend)
    factor, variance = open_.safety, max(open_.open_variance * open_.safety, 1e-12)
    return min(open_.open_most, quantile(open_.open_mean * factor, variance, open_.open_third * factor, z))


def spent(one: Standing) -> bool:
    """Whether nothing is left that could be given."""
    if one.period is None:
        return False  # its dates say so
    budget = one.budget
    if budget.unit in ("messages", "units"):
        return one.left < 1.0
    return one.left <= 0.0 or (one.balance.tight >= budget.amount and one.left < SCRAPS * budget.amount)


class Keeper:
    """Reads balances for one process, and sweeps now and then. `clock` is real time, for when to sweep only."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._swept = 0.0

    def spent_out(self, budgets: tuple[Budget, ...], at: float) -> frozenset[str]:
        """Budgets that have nothing left at `at` (programme clock); also lets go what expired.

        Raises:
            JournalError: they cannot be read.
        """
        now = self._clock()
        if abs(now - self._swept) >= SWEEP_S:
            self._swept = now
            self._journal.submit_sweep(int(at * 1e6))
        if not budgets:
            return frozenset()
        balances = self._journal.balances()
        return frozenset(one.id for one in budgets if spent(standing(one, balances, at)))


__all__ = ["JournalError", "Keeper", "Standing", "reserved", "spent", "standing"]
