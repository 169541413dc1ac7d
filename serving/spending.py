"""What callers say and get about reservations and budgets: the models, and how a budget is written out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serving import budget_use
from serving.answer import moment
from serving.budget_keeper import Standing
from serving.contract import Answer, Strict
from serving.reservations.contract import Settled

_Taken = Annotated[float, Field(ge=0, le=1e9)]


class CommitRequest(Strict):
    """A redemption. What it does not say is taken to be the face value."""

    money: _Taken | None = Field(default=None, description="Discount that was given, in the programme's currency.")
    points: _Taken | None = Field(default=None, description="Points that were given.")


class HoldRequest(Strict):
    """Nothing needs to be said: `{}`."""


class ReservationAnswer(Answer):
    """How a reservation stands now."""

    reservation_id: str
    decision_id: str
    id: str = Field(description="The candidate.")
    state: Literal["open", "committed", "released", "expired"]
    expires_at: str


class BudgetLine(Answer):
    """One budget in its present period; amounts are in its unit."""

    id: str
    name: str
    unit: Literal["money", "points", "messages", "units"]
    amount: float
    spent: float
    reserved: float = Field(description="Set aside for what is open: in full, or a high quantile of it.")
    left: float
    open: int = Field(ge=0, description="Reservations that wait for their redemption.")
    price: float = Field(description="Money that one more unit would earn, as solved last.")
    hard: bool = Field(description="What is open is reserved in full, and nothing is ever overspent.")
    overspend: float = Field(description="The chance of spending more that is accepted; 0 where `hard`.")
    safety: float = Field(description="Redemptions over those expected, where there were more; else 1.")
    refused: int = Field(description="Decisions that did not fit in this period.")
    live: bool = Field(description="Whether it is inside its dates.")
    full_again: str | None = None


class BudgetsAnswer(Answer):
    """All budgets of the catalogue."""

    budgets: list[BudgetLine]


WHY = {
    "UNKNOWN": "there is no such reservation",
    "EXPIRED": "it expired, and what it held was given back; decide again",
    "RELEASED": "it was released; decide again",
    "OVER_BUDGET": "it takes more than was reserved, and the budget has no room for it; give less, or raise the budget",
}


def settled(one: Settled) -> dict[str, Any]:
    """A reservation as JSON values."""
    return {
        "reservation_id": one.reservation_id,
        "decision_id": one.decision_id,
        "id": one.candidate_id,
        "state": one.state,
        "expires_at": moment(one.expires_at / 1e6),
    }


def line(one: Standing, price: float, at: float) -> dict[str, Any]:
    """A budget as JSON values, at a moment in epoch seconds."""
    budget = one.budget
    whole = budget.hard or budget.unit in ("messages", "units")
    return {
        "id": budget.id,
        "name": budget.name,
        "unit": budget.unit,
        "amount": budget.amount,
        "spent": one.balance.spent,
        "reserved": round(one.reserved, 4),
        "left": round(one.left, 4),
        "open": one.balance.open_count,
        "price": price,
        "hard": whole,
        "overspend": 0.0 if whole else budget.overspend,
        "safety": one.balance.safety,
        "refused": one.balance.refused,
        "live": one.period is not None,
        "full_again": moment(budget_use.full_again(budget, at)),
    }
