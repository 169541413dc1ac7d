"""What giving a candidate to a member truly brings and takes: the economics of a world, per member.

Two truths are told apart. *Own*: the member's own effect, drawn once when the world was made; what kind of member
somebody is was drawn by lot. *Knowable*: the mean effect of members with the same traits (rhythm, thrift, love of
points, company, tastes), which is the most that can be known of a member before anything was tried on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.programme import people
from experiments.programme.effects import ACTION_SHARE
from experiments.programme.people import Truth
from experiments.worlds import EFFECT_TYPES, World
from features.entities import OFFER_TYPES

Floats = NDArray[np.float64]
BUDGETS = ("money", "points", "messages")


@dataclass(frozen=True, slots=True)
class Given:
    """One candidate: what it gives to those who respond, and what it costs to make."""

    id: str
    type: str
    share_off: float = 0.0
    """Of the basket."""
    money_off: float = 0.0
    cost: float = 0.0
    """Money for each response, whatever the basket."""
    points: float = 0.0
    points_per_money: float = 0.0
    """Points for each unit of currency in the basket."""
    contact: float = 0.002
    """Money for making it."""

    def money(self, basket: Floats) -> Floats:
        """Money for one response with such a basket."""
        return self.share_off * basket + np.minimum(self.money_off, basket) + self.cost

    def minted(self, basket: Floats) -> Floats:
        """Points for one response with such a basket."""
        return self.points + self.points_per_money * basket


CANDIDATES = (
    Given("basket-5", "discount_percent", share_off=0.05),
    Given("five-off", "discount_amount", money_off=5.0),
    Given("double-points", "points_multiplier", points_per_money=1.25),
    Given("points-250", "points_fixed", points=250.0),
    Given("surprise-gift", "gift", cost=2.5),
    Given("free-shipping", "free_shipping", cost=2.9),
    Given("next-tier", "tier_nudge"),
    Given("picked-for-you", "product_recommendation"),
)
POINT = 0.0075
"""What a point given is expected to cost: a cent, and three of four are used."""


@dataclass(frozen=True, slots=True, eq=False)
class Economy:
    """Values and costs of `n` members × `m` candidates, expected over one reward window."""

    value: Floats
    """(n, m): margin caused less what is paid, in money."""
    costs: tuple[Floats, Floats, Floats]
    """(n, m) money, points and messages."""
    effect: Floats
    """(n, m): baskets caused."""
    response: Floats
    margin: Floats
    """(n,): of a basket that is caused, in money."""


def economy(effect: Floats, response: Floats, margin: Floats, basket: Floats) -> Economy:
    """The arithmetic of a decision: margin on what is caused, costs on every response.

    Args:
        effect: (n, m), baskets more than with nothing.
        response: (n, m), the chance that what is given is used.
        margin: (n,), of a basket that is caused.
        basket: (n,), its amount.
    """
    money = np.stack([one.money(basket) for one in CANDIDATES], axis=1) * response
    points = np.stack([one.minted(basket) for one in CANDIDATES], axis=1) * response
    contact = np.array([one.contact for one in CANDIDATES])
    value = margin[:, None] * effect - money - POINT * points - contact
    return Economy(value, (money + contact, points, np.ones_like(money)), effect, response, margin)


def of_rows(all_of: Economy, rows: NDArray[np.int64]) -> Economy:
    """The economics of some members."""
    money, points, messages = (table[rows] for table in all_of.costs)
    effect, response, margin = all_of.effect[rows], all_of.response[rows], all_of.margin[rows]
    return Economy(all_of.value[rows], (money, points, messages), effect, response, margin)


def own(truth: Truth, world: World) -> Economy:
    """Every member's own, exactly as `respond` has it."""
    columns = [EFFECT_TYPES.index(one.type) for one in CANDIDATES]
    effect, response = _caused(truth, world, truth.lift[:, columns], truth.drop[:, columns], truth.uses[:, columns])
    return economy(effect, response, truth.impulse_margin, truth.impulse_amount)


def knowable(truth: Truth, world: World) -> Economy:
    """The mean over all members with the same traits: kinds by their chances, strength at its mean."""
    chance = people.chances_of_kinds(np.log(truth.gap_days / world.gap_median) / world.gap_spread, truth.thrift)
    pull = people.pulls(truth.thrift, truth.collector, _company(truth))
    columns = [EFFECT_TYPES.index(one.type) for one in CANDIDATES]
    lift, drop = (np.array([table[one.type] for one in CANDIDATES]) for table in (world.lift, world.drop))
    effect, response = np.zeros((len(pull), len(columns))), np.zeros((len(pull), len(columns)))
    for kind in range(chance.shape[1]):
        lifts = np.minimum(lift * pull[:, columns], 0.95) * (kind == people.PERSUADABLE)
        drops = np.minimum(drop * pull[:, columns], 0.95) * (kind == people.SLEEPING_DOG)
        parts = _caused(truth, world, lifts, drops, people.uses_of(kind, pull[:, columns]))
        effect += chance[:, kind, None] * parts[0]
        response += chance[:, kind, None] * parts[1]
    return economy(effect, response, truth.impulse_margin, truth.impulse_amount)


def _company(truth: Truth) -> Floats:
    company: Floats = (np.log(truth.engagement_rate / 0.02) + 0.4) / 0.9
    return company


def _caused(truth: Truth, world: World, lift: Floats, drop: Floats, uses: Floats) -> tuple[Floats, Floats]:
    """Baskets caused and chance of a response, as `docs/simulator.md` has them."""
    windows = world.window_days / truth.gap_days[:, None]
    offer = np.array([one.type in OFFER_TYPES for one in CANDIDATES])
    answers = np.where(offer, uses * -np.expm1(-windows) * (1 - drop), ACTION_SHARE * uses)
    return lift - drop * windows, lift + (1 - lift) * answers
