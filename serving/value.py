"""What a candidate is worth for a member, in money: `V = m·τ + δ·ΔCLV − d·p − κ − c − φ`, and "do nothing" is 0.

Money is rounded once, here, to a hundredth of a cent, line by line; `net` is the sum of the rounded lines. So the lines
of a bill add up exactly, and the numbers that an answer shows are the numbers that decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from features.entities import Candidate, Programme
from serving.policy import BillRules, ChannelRules, Policy
from serving.portrait import Portrait
from serving.snapshot import Basis, Bill, Learned, LifetimeBasis, Value

UNITS = 10_000
"""Rounded money is counted in whole units of 1/10,000 of the currency."""
_HIGHEST = 0.95


@dataclass(frozen=True, slots=True)
class Terms:
    """What a candidate brings and costs, with the policy's priors filled in; made once for a catalogue and policy."""

    type: str
    response: float
    effect_share: float
    retention: float
    share_off: float
    """Of the basket."""
    money_off: float
    """At most the basket itself."""
    cost: float
    """Money paid on every redemption, whatever the basket."""
    points: float
    more_points: float
    """Points beyond the usual ones, as a multiple of those."""
    contact_cost: float
    lever: float
    id: str = ""
    burns: float = 0.0
    """Points of the member's own that are used up."""


class Worth(NamedTuple):
    """The value of one candidate before it is written out; the lines of the bill in units of 1/10,000."""

    lines: tuple[int, int, int, int, int, int, int]
    net: int
    score: int
    pull: float
    """The score after the marketer's lever, in money: what the candidates compete with."""
    response: float
    effect: float
    basis: Basis
    interval: tuple[float, float] | None
    fatigue_basis: Basis = "prior"
    lifetime_basis: LifetimeBasis = "none"
    lifetime_interval: tuple[float, float] | None = None


NOTHING = Worth((0, 0, 0, 0, 0, 0, 0), 0, 0, 0.0, 0.0, 0.0, "prior", None)
"""The worth of doing nothing, by definition."""


def terms(candidate: Candidate, policy: Policy) -> Terms:
    """The candidate's economics; where the marketer said nothing, the policy's prior for its type."""
    money, prior = candidate.economics, policy.priors[candidate.type]
    multiplier = candidate.type == "points_multiplier"
    share = candidate.type == "discount_percent"
    return Terms(
        type=candidate.type,
        response=prior.response if money.response is None else money.response,
        effect_share=prior.effect_share if money.effect_share is None else money.effect_share,
        retention=prior.retention if money.retention is None else money.retention,
        share_off=money.discount if share else 0.0,
        money_off=0.0 if share else money.discount,
        cost=money.cost,
        points=0.0 if multiplier else money.points,
        more_points=max(money.points - 1.0, 0.0) if multiplier else 0.0,
        contact_cost=money.contact_cost,
        lever=candidate.lever,
        id=candidate.id,
        burns=money.burns,
    )


def worth(
    offer: Terms,
    who: Portrait,
    learned: Learned,
    policy: Policy,
    programme: Programme,
    channel: ChannelRules | None,
    recent: int,
) -> Worth:
    """The money one decision for this candidate is expected to bring, line by line.

    Args:
        offer: the candidate's economics.
        who: the member.
        learned: what experiments say of the candidate, else of its type, goes before the prior.
        policy: weights and prices.
        programme: what points cost.
        channel: the rules of the channel it would go through; None where that is not known.
        recent: contacts in the days that fatigue counts; each one makes the next dearer.
    """
    response, effect, basis, interval = _counted(policy.bill, *_caused(offer, who, learned))
    margin = round(effect * who.margin * UNITS)
    lifetime, lifetime_basis, lifetime_interval = _later(offer, who, learned, response, policy.delta)
    discount, liability = _given(offer, who, response, programme)
    if not policy.bill.liability:
        liability = 0
    contact = -round((offer.contact_cost + (channel.contact_cost if channel else 0.0)) * UNITS)
    fatigue = -round(_tired(channel, learned, who) * recent * UNITS) if recent and policy.bill.fatigue else 0
    net = margin + lifetime + discount + liability + contact + fatigue
    pull = net * offer.lever if net > 0 else float(net)
    lines = (margin, lifetime, discount, liability, contact, fatigue, 0)
    rests_on = _fatigue_basis(learned), lifetime_basis, lifetime_interval
    return Worth(lines, net, net, pull / UNITS, response, effect, basis, interval, *rests_on)


def _counted(
    rules: BillRules, response: float, effect: float, basis: Basis, interval: tuple[float, float] | None
) -> tuple[float, float, Basis, tuple[float, float] | None]:
    """What the margin counts for: what is caused, or with `bill: {margin: response}` every response."""
    if rules.margin == "effect":
        return response, effect, basis, interval
    return response, response, "prior" if basis == "prior" else "response", None


def _caused(offer: Terms, who: Portrait, learned: Learned) -> tuple[float, float, Basis, tuple[float, float] | None]:
    """Response p, effect τ in baskets, and what they rest on.

    The candidate's own estimate goes first, then that of its type. Where only responses were seen (`response`), and
    where nothing was (`prior`), τ = ρ·p with the policy's share ρ of responses that are caused.
    """
    assumed = min(offer.response * who.response_factor, _HIGHEST)
    own = learned.effects.get(offer.id)
    if own is not None:
        interval = None if own.basis == "prior" else (own.low, own.high)
        return assumed if own.response is None else own.response, own.effect, own.basis, interval
    group, caused = learned.responses.get(offer.type), min(offer.effect_share * who.effect_factor, 1.0)
    if group is None:
        return assumed, assumed * caused, "prior", None
    if group.effect is None or group.low is None or group.high is None:
        return group.response, group.response * caused, "response", None
    return group.response, group.effect, "experiment", (group.low, group.high)


def _later(
    offer: Terms, who: Portrait, learned: Learned, response: float, delta: float
) -> tuple[int, LifetimeBasis, tuple[float, float] | None]:
    """What is changed after the reward window: as seen, else as a marketer stated, else 0 as nothing is known of it."""
    seen = learned.lifetimes.get(offer.id) or learned.lifetimes_of_type.get(offer.type)
    if seen is not None:
        return round(delta * seen.value * UNITS), "experiment", (delta * seen.low, delta * seen.high)
    if offer.retention:
        return round(delta * who.churn * offer.retention * response * who.year_margin * UNITS), "prior", None
    return 0, "none", None


def _tired(channel: ChannelRules | None, learned: Learned, who: Portrait) -> float:
    """What each recent contact costs: baskets it was seen to cost, at the member's margin, else the policy's price."""
    if learned.fatigue is not None:
        return max(learned.fatigue.baskets, 0.0) * who.margin
    return channel.fatigue if channel else 0.0


def _fatigue_basis(learned: Learned) -> Basis:
    return "prior" if learned.fatigue is None else "experiment"


def _given(offer: Terms, who: Portrait, response: float, programme: Programme) -> tuple[int, int]:
    """What those who respond are given, in money and in points."""
    discount = liability = 0
    basket, rules = who.basket, programme.points
    given = offer.share_off * basket + min(offer.money_off, basket) + offer.cost
    if given:
        discount = -round(given * response * UNITS)
    points = offer.points + offer.more_points * who.tier.earn_rate * basket
    if points:
        share = rules.redeemed_share if who.redeemed_share is None else who.redeemed_share
        liability = -round(points * response * rules.cost_per_point * share * UNITS)
    if offer.burns:  # what would have been redeemed anyway is owed no longer
        anyway = rules.redeemed_share if who.burned_share is None else who.burned_share
        liability += round(offer.burns * response * rules.cost_per_point * anyway * UNITS)
    return discount, liability


def written(one: Worth) -> Value:
    """The value as an answer shows it; `score` is `net` with the budget price (`serving.budget_use.priced`)."""
    margin, lifetime, discount, liability, contact, fatigue, budget_price = (line / UNITS for line in one.lines)
    return Value(
        net=one.net / UNITS,
        score=one.score / UNITS,
        effect=one.effect,
        response=one.response,
        basis=one.basis,
        bill=Bill(margin, lifetime, discount, liability, contact, fatigue, budget_price),
        effect_interval=one.interval,
        fatigue_basis=one.fatigue_basis,
        lifetime_basis=one.lifetime_basis,
        lifetime_interval=one.lifetime_interval,
    )
