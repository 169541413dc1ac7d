"""Who the members are, in truth: rhythms, tastes, hazards, and what each type of offer or action does to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from experiments.programme.assortment import Assortment
from experiments.programme.chance import HABITS, PEOPLE, Floats, Texts, Whole, stream
from experiments.worlds import EFFECT_TYPES, World

PERSUADABLE, SURE_THING, SLEEPING_DOG, LOST_CAUSE = range(4)
_USES = np.array([0.35, 0.75, 0.10, 0.05])
"""Chance, by kind, that an offer is used on a basket that would have been made anyway."""
_LOVES_POINTS = ("points_multiplier", "points_fixed", "points_expiry_reminder", "tier_nudge")
_LOVES_PRICE = ("discount_percent", "discount_amount", "free_shipping", "win_back")
_LOVES_COMPANY = ("event_invitation", "community_invitation", "review_request", "satisfaction_survey", "courtesy_call")


@dataclass(frozen=True, slots=True)
class Truth:
    """True parameters, one row per member; never written to a table. Effect arrays are (n_members, EFFECT_TYPES)."""

    shop: Assortment
    member_ids: Texts
    gap_days: Floats
    """Mean gap between baskets while active."""
    regularity: Floats
    """Gamma shape of the gaps: 1 is irregular, 6 is like clockwork."""
    hazard: Floats
    """Chance per window to start fading, before engagement, points, contacts and bad experiences."""
    week: Whole
    """Kind of week (0..3)."""
    taste: Floats
    """(n_members, dims)"""
    extras: Floats
    """Mean number of lines in a basket that no habit asks for."""
    thrift: Floats
    """Standard normal: how much price matters."""
    collector: Floats
    """Standard normal: how much points matter."""
    engagement_rate: Floats
    """Engagements per day while active."""
    openness: Floats
    """Chance to open a message."""
    irritability: Floats
    kind: Whole
    """PERSUADABLE, SURE_THING, SLEEPING_DOG or LOST_CAUSE."""
    lift: Floats
    """Chance of an extra basket in the window."""
    drop: Floats
    """Chance of no basket at all in the window, whatever was planned."""
    uses: Floats
    """Chance to use an offer on a basket that would have been made anyway."""
    impulse_margin: Floats
    """Expected margin (currency) of an extra basket, before its discount."""
    impulse_amount: Floats
    """Expected amount (currency) of an extra basket, before its discount."""


@dataclass(frozen=True, slots=True)
class Habits:
    """Products a member buys again when they run out; arrays (n_members, habits)."""

    product: Whole
    gap_days: Floats
    begins: Floats
    """Share of the history that has passed when the habit starts."""
    ends: Floats


def people(world: World, shop: Assortment, first: int, count: int, seed: int, block: int) -> Truth:
    """The members `first … first + count − 1`, which are one block."""
    rng = stream(seed, PEOPLE, block)
    z = rng.normal(size=(count, 8))
    pace = z[:, 0]
    gap = np.maximum(world.gap_median * np.exp(world.gap_spread * pace), 2.5)
    style = rng.integers(world.styles, size=count)
    taste = shop.styles[style] + rng.normal(0, 0.45, (count, world.taste_dims))
    extras = 0.5 + rng.gamma(2.0, 0.45, count)
    company = z[:, 3]
    kind = _kinds(pace, z[:, 1], rng)
    lift, drop, uses = _effects(world, kind, z[:, 1], z[:, 2], company, rng)
    weights = tastes(shop, taste)
    return Truth(
        shop=shop,
        member_ids=np.array([f"M{i:07d}" for i in range(first + 1, first + count + 1)], dtype=object),
        gap_days=gap,
        regularity=1.0 + rng.gamma(2.0, 1.0, count),
        hazard=np.minimum(world.fading_hazard * np.exp(world.hazard_spread * z[:, 4] + 0.35 * pace), 0.5),
        week=rng.choice(4, size=count, p=[0.4, 0.2, 0.25, 0.15]),
        taste=taste,
        extras=extras,
        thrift=z[:, 1],
        collector=z[:, 2],
        engagement_rate=0.02 * np.exp(0.9 * company - 0.4),
        openness=_sigmoid(0.3 + 0.8 * z[:, 5]),
        irritability=np.exp(0.6 * z[:, 6]),
        kind=kind,
        lift=lift,
        drop=drop,
        uses=uses,
        impulse_margin=(1 + extras) * (weights @ shop.margin),
        impulse_amount=(1 + extras) * (weights @ shop.price),
    )


def tastes(shop: Assortment, taste: Floats) -> Floats:
    """Chance of each product when nothing is running out, (n, n_products); rows sum to one."""
    score = shop.popularity + 0.55 * (taste @ shop.place.T)
    score -= score.max(axis=1, keepdims=True)
    np.exp(score, out=score)
    score /= score.sum(axis=1, keepdims=True)
    return score


def habits(world: World, shop: Assortment, weights: Floats, seed: int, block: int) -> Habits:
    """Every member's staples, drawn without replacement by taste (Gumbel top-k) among what runs out."""
    rng = stream(seed, HABITS, block)
    count = len(weights)
    staples = np.flatnonzero(np.isfinite(shop.repeat_days))
    width = min(world.habits, len(staples))
    score = np.log(weights[:, staples]) + rng.gumbel(size=(count, len(staples)))
    product = staples[np.argpartition(-score, width - 1, axis=1)[:, :width]]
    begins = np.where(rng.random((count, width)) < 0.5, 0.0, rng.random((count, width)))
    ends = begins + rng.exponential(1.5, (count, width))
    pace = np.exp(rng.normal(0, 0.25, (count, 1)) + rng.normal(0, 0.25, (count, width)))
    return Habits(product, shop.repeat_days[product] * pace, np.maximum(begins, shop.launched[product]), ends)


def joined(parts: Iterable[Truth]) -> Truth:
    """Blocks one after the other."""
    rows = list(parts)
    columns = [f.name for f in fields(Truth) if f.name != "shop"]
    return Truth(rows[0].shop, *(np.concatenate([getattr(part, name) for part in rows]) for name in columns))


def _kinds(pace: Floats, thrift: Floats, rng: np.random.Generator) -> Whole:
    """Frequent shoppers tend to be sure things, rare ones lost causes, the thrifty persuadable: features can tell."""
    logits = _leanings(pace, thrift)
    kind: Whole = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    return kind


def _leanings(pace: Floats, thrift: Floats) -> Floats:
    zero = np.zeros_like(pace)
    return np.stack([0.9 + 0.5 * thrift, 0.1 - 0.9 * pace, zero - 0.7 - 0.6 * thrift, zero - 0.3 + 0.5 * pace], axis=1)


def chances_of_kinds(pace: Floats, thrift: Floats) -> Floats:
    """The chance of each kind for members with these traits, (n_members, 4); rows sum to one."""
    chances = np.exp(_leanings(pace, thrift))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances


def pulls(thrift: Floats, collector: Floats, company: Floats) -> Floats:
    """How strongly each type of offer or action draws members with these traits, (n_members, EFFECT_TYPES); mean 1."""
    pull = np.ones((len(thrift), len(EFFECT_TYPES)))
    for names, trait in ((_LOVES_PRICE, thrift), (_LOVES_POINTS, collector), (_LOVES_COMPANY, company)):
        pull[:, [EFFECT_TYPES.index(name) for name in names]] = 2 * _sigmoid(0.8 * trait)[:, None]
    return pull


def uses_of(kind: Whole | int, pull: Floats) -> Floats:
    """Chance that members of a kind use an offer on a basket that would have been made anyway, shaped as `pull`."""
    uses: Floats = np.clip(_USES[kind][..., None] * pull, 0, 0.95)
    return uses


def _effects(
    world: World, kind: Whole, thrift: Floats, collector: Floats, company: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    own = np.exp(rng.normal(0, 0.35, len(kind)) - 0.06)
    noise = np.exp(rng.normal(0, 0.2, (len(kind), len(EFFECT_TYPES))) - 0.02)
    pull = pulls(thrift, collector, company)
    strength = own[:, None] * noise * pull
    lift = np.array([world.lift[name] for name in EFFECT_TYPES]) * strength * (kind == PERSUADABLE)[:, None]
    drop = np.array([world.drop[name] for name in EFFECT_TYPES]) * strength * (kind == SLEEPING_DOG)[:, None]
    return np.minimum(lift, 0.95), np.minimum(drop, 0.95), uses_of(kind, pull)


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))
