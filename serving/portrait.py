"""The member as a decision sees them: tier, labels, churn, expected margin, from what of it may be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan

from features import rule_segments, segments
from features.entities import Programme, Tier
from serving import satisfaction
from serving.policy import Policy
from serving.snapshot import Ask, Contact, Learned, Snapshot

_CONTRACT = ("tier_", "points_", "spend_to_")
"""Features that the membership itself rests on; they may be used without consent to personalisation."""
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Portrait:
    """One member at one moment. Money is in the programme's currency."""

    personal: bool
    """Whether behaviour is known and may be used; where not, priors stand in for it."""
    known: bool
    tier: Tier
    next_tier: Tier | None
    lifecycle: str
    """Empty where it is not known: no condition on it holds then."""
    value: str
    segments: frozenset[str]
    """The marketer's own segments; empty where behaviour may not be used."""
    churn: float
    response_factor: float
    """On every assumed response: by lifecycle, and lower the likelier churn is beyond what is usual there."""
    effect_factor: float
    """On every assumed share of responses that are caused."""
    basket: float
    """Expected value of a basket."""
    margin: float
    """Expected margin of a basket."""
    year_margin: float
    numbers: Mapping[str, float]
    basket_value: float
    """The basket of this very moment, from the caller; NaN where there is none."""
    burned_share: float | None = None
    """Chance that points used up with an offer are redeemed anyway; None: the programme's constant."""
    redeemed_share: float | None = None
    """Chance that points issued now are redeemed; None: the programme's constant."""


def portrait(snapshot: Snapshot, ask: Ask, learned: Learned, programme: Programme, policy: Policy) -> Portrait:
    """Draw the member. Without history or consent to personalisation, the policy's assumptions take the place."""
    personal = snapshot.known and bool(snapshot.features) and snapshot.consents.get("personalisation", False)
    numbers = snapshot.features if personal else _contractual(snapshot.features)
    lifecycle, value = _labels(snapshot, personal, programme)
    usual = policy.lifecycle(lifecycle)
    churn = learned.churn if personal and learned.churn is not None else usual.churn
    rank = _or(numbers, "tier_rank", 0.0)
    index = min(max(int(rank), 0), len(programme.tiers) - 1)
    basket = _or(numbers, "avg_basket_value", policy.unknown_member.basket_value)
    spend = _or(numbers, "spend_365d", policy.unknown_member.year_spend)
    rate = programme.default_margin_rate
    if snapshot.reactions:
        numbers = {**numbers, **satisfaction.hours_since(snapshot, policy)}
    return Portrait(
        personal=personal,
        known=snapshot.known,
        tier=programme.tiers[index],
        next_tier=programme.tiers[index + 1] if index + 1 < len(programme.tiers) else None,
        lifecycle=lifecycle,
        value=value,
        segments=rule_segments.of(snapshot.features, programme) if personal else frozenset(),
        churn=churn,
        response_factor=usual.response * max(1.0 + policy.churn_drag * (usual.churn - churn), 0.0),
        effect_factor=usual.effect_share,
        basket=max(basket, 0.0),
        margin=max(basket, 0.0) * rate,
        year_margin=max(spend, 0.0) * rate,
        numbers=numbers,
        basket_value=_number(ask.context.get("basket_value")),
        redeemed_share=snapshot.redeemed_share,
        burned_share=snapshot.burned_share,
    )


def _labels(snapshot: Snapshot, personal: bool, programme: Programme) -> tuple[str, str]:
    if personal:
        rules = programme.segments
        return segments.lifecycle(snapshot.features, rules)[0], segments.value_label(snapshot.features, rules)[0]
    return ("", "") if snapshot.known else ("new", "")


def _contractual(features: Mapping[str, float]) -> Mapping[str, float]:
    return {name: value for name, value in features.items() if name.startswith(_CONTRACT)}


def _or(numbers: Mapping[str, float], name: str, otherwise: float) -> float:
    value = numbers.get(name, nan)
    return otherwise if isnan(value) else value


def _number(value: str | float | None) -> float:
    return nan if value is None or isinstance(value, str) else float(value)


@dataclass(frozen=True, slots=True)
class History:
    """Contacts so far, sorted out once: times in epoch seconds, oldest first."""

    by_candidate: Mapping[str, list[float]]
    by_channel: Mapping[str, list[float]]
    recent: int
    """Contacts inside the policy's `fatigue_days`, whatever the channel."""
    contacts: tuple[Contact, ...] = ()
    """All of them, oldest first."""


_NO_HISTORY = History({}, {}, 0)


def history(contacts: tuple[Contact, ...], at: float, fatigue_days: int) -> History:
    """Sort contacts out by candidate and by channel; having done nothing is no contact, what lies ahead is not yet."""
    if not contacts:
        return _NO_HISTORY
    by_candidate: dict[str, list[float]] = {}
    by_channel: dict[str, list[float]] = {}
    recent = 0
    real: list[Contact] = []
    for contact in contacts:
        if contact.candidate_type == "do_nothing" or contact.at > at:
            continue
        real.append(contact)
        by_candidate.setdefault(contact.candidate_id, []).append(contact.at)
        by_channel.setdefault(contact.channel, []).append(contact.at)
        recent += contact.at > at - fatigue_days * _DAY
    return History(by_candidate, by_channel, recent, tuple(real))
