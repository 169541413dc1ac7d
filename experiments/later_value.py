"""Whether the change in lifetime value is worth having in the bill: a year under one policy, with it and without.

Effects and the surrogate index are learned from one simulated programme, then other members live for a year, window by
window, under the policy that takes the best net value: once with the line `lifetime`, once without. Chance is the same
for both, so members are compared with themselves. What counts is what a year brings: margin, less gifts and points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from experiments.programme.assortment import Assortment, assortment
from experiments.programme.baskets import Shelf
from experiments.programme.chance import BLOCK, Floats, Whole, stacked, stream
from experiments.programme.people import habits, people, tastes
from experiments.programme.profiles import profiles
from experiments.programme.seasons import seasons
from experiments.programme.year import FEATURES, Chooser, Lived, Seen, by_lot, drawn, lived
from experiments.worlds import World
from features.learned.effects import Effects
from training.effects import EffectConfig, learn
from training.effects.inputs import drawn as units_of
from training.effects.later import Followed, LaterStory, Past, learn_later

_LIVES, _END = 1000, datetime(2026, 1, 1, tzinfo=UTC)
_YEAR, _LEAST, _MOST, _STEP = 25, 2, 4, 3
"""Windows: the rest of a year after one's own; those a decision is followed, at least and at most; between rows of the
past."""
_WARM_UP = 7
"""Windows without rows of the past."""
_HISTORY, _BEFORE, _AFTER = 730, 364, 378
"""Days: of the programme learned from; of the others' lives before, and under, the policy."""
_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Costs:
    """What offers cost, by the shipped catalogue."""

    gift: float = 3.0
    point: float = 0.0075
    contact: float = 0.01
    basket: float = 40.0
    """Assumed amount of a basket where a member has none yet, for a share off."""


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What one programme taught."""

    effects: Effects
    later: Effects
    story: LaterStory
    units: int
    margin: float
    """Mean of a basket, for members of whom none is known."""


@dataclass(frozen=True, slots=True)
class YearGap:
    """A year with the line against a year without it, a member; intervals over members."""

    gain: float
    low: float
    high: float
    without: float
    """What a year without it brings."""
    contacts: tuple[float, float]
    """Contacts a member with it, and without."""
    members: int
    story: LaterStory = field(repr=False)


def learned(world: World, *, members: int, products: int, seed: int, config: EffectConfig) -> Learnt:
    """Let a programme live for two years, the last windows by lot, and learn from them."""
    lot, total = by_lot(world), int(np.ceil(_HISTORY / world.window_days))

    def choose(seen: Seen) -> tuple[Whole, Floats]:
        if seen.number >= total - world.stretch_windows:
            return lot(seen)
        return _campaign(world, seen)

    parts = _lives(world, members, products, _HISTORY, seed, choose)
    rows = [_rows(one, total - world.stretch_windows, total) for one in parts]
    features, closing, arm, chances, baskets, used, followed = (
        np.concatenate([part[column] for part in rows]) for column in range(7)
    )
    who = np.concatenate([part[7] + number * BLOCK for number, part in enumerate(rows)])
    ids, types = tuple(one.offer_id for one in world.arms), tuple(one.type for one in world.arms)
    units = units_of(features, arm.astype(np.int64), chances, baskets, types, who.astype(np.int64))
    effects, _ = learn(units, FEATURES, ids, config, used)
    past = [_past(one, total) for one in parts]
    before = Past(*(np.concatenate([part[column] for part in past]) for column in range(2)))
    later, story = learn_later(units, Followed(closing, followed), before, FEATURES, ids, config)
    mean = float(np.nanmean(features[:, FEATURES.index("mean_basket")]))
    return Learnt(effects, later, story, len(arm), mean)


def year(
    world: World, taught: Learnt, *, members: int, products: int, seed: int, costs: Costs | None = None
) -> YearGap:
    """Let other members live for a year under the policy with the line and without it."""
    prices = costs or Costs()
    days = _BEFORE + _AFTER
    first = int(np.ceil(days / world.window_days)) - int(_AFTER // world.window_days)
    worth: list[Floats] = []
    contacts = []
    for later in (taught.later, None):
        policy = _policy(world, taught, later, prices, first)
        parts = _lives(world, members, products, days, seed, policy)
        worth.append(np.concatenate([_brought(one, first, prices) for one in parts]))
        contacts.append(sum(float((one.arm[one.number >= first] > 0).sum()) for one in parts) / members)
    gap = worth[0] - worth[1]
    half = _NORMAL_95 * float(gap.std(ddof=1)) / len(gap) ** 0.5
    gain = float(gap.mean())
    without = float(worth[1].mean())
    return YearGap(gain, gain - half, gain + half, without, (contacts[0], contacts[1]), len(gap), taught.story)


def _lives(world: World, members: int, products: int, days: int, seed: int, choose: Chooser) -> list[Lived]:
    shop = assortment(world, products, seed)
    sizes = [min(BLOCK, members - start) for start in range(0, members, BLOCK)]
    return [_life(world, shop, block, size, days, seed, choose) for block, size in enumerate(sizes)]


def _life(world: World, shop: Assortment, block: int, size: int, days: int, seed: int, choose: Chooser) -> Lived:
    who = people(world, shop, block * BLOCK, size, seed, block)
    weights = tastes(shop, who.taste)
    staples = habits(world, shop, weights, seed, block)
    last = staples.begins * days - stream(seed, _LIVES - 1, block).random(staples.gap_days.shape) * staples.gap_days
    shelf = Shelf(shop, who, staples, last, stacked(weights), days, 0.0)

    def streams(number: int) -> np.random.Generator:
        return stream(seed, _LIVES + block, number + 1)

    return lived(world, shelf, profiles(days, size, seed, block), seasons(days, _END), days, streams, choose)


def _campaign(world: World, seen: Seen) -> tuple[Whole, Floats]:
    """A marketer's choice: now and then, those who bought lately."""
    n, arms = len(seen.rows), len(world.arms)
    chosen = seen.warm & (seen.rng.random(n) < 0.4) & (seen.number % world.campaign_every == 0)
    arm = np.where(chosen, 1 + seen.rng.integers(arms - 1, size=n), 0)
    return arm, np.full((n, arms), np.nan)


def _place(one: Lived) -> Whole:
    """(members, windows): the row of each decision, −1 where none was made."""
    found = np.full(one.margin.shape, -1)
    found[one.member, one.number] = np.arange(len(one.member))
    return found


def _between(one: Lived, who: Whole, first: Whole, last: Whole) -> Floats:
    """Margin of the windows from `first` up to, not with, `last`."""
    run = np.concatenate([np.zeros((len(one.margin), 1)), np.cumsum(one.margin, axis=1)], axis=1)
    found: Floats = run[who, last] - run[who, first]
    return found


def _rows(one: Lived, first: int, total: int) -> tuple[Floats | Whole, ...]:
    """Units from `first` on: features before and when followed, arm, chances, baskets, used, what followed, member."""
    place = _place(one)
    some = np.flatnonzero(one.number >= first)
    who, number = one.member[some], one.number[some]
    until = np.minimum(number + 1 + _MOST, total - 1)
    after = place[who, until]
    came = np.where((until - number - 1 >= _LEAST) & (after >= 0), _between(one, who, number + 1, until), np.nan)
    used = (one.used[who, number] > 0) & (one.arm[some] > 0)
    return (
        one.features[some], one.features[np.maximum(after, 0)], one.arm[some], one.chances[some],
        one.baskets[who, number], used.astype(np.float64), came, who,
    )  # fmt: skip


def _past(one: Lived, total: int) -> tuple[Floats, Floats]:
    some = np.flatnonzero((one.number >= _WARM_UP) & (one.number % _STEP == 0) & (one.number + _YEAR <= total - 1))
    number = one.number[some]
    return one.features[some], _between(one, one.member[some], number, number + _YEAR)


def _policy(world: World, taught: Learnt, later: Effects | None, costs: Costs, first: int) -> Chooser:
    """By lot before `first`, then the best net value of each member."""
    lot = by_lot(world)
    arms = len(world.arms)

    def choose(seen: Seen) -> tuple[Whole, Floats]:
        if seen.number < first:
            return lot(seen)
        told = taught.effects.everything(seen.features)
        basket = np.nan_to_num(seen.features[:, FEATURES.index("mean_basket")], nan=taught.margin)
        value = basket[:, None] * told.effect[:, :arms] - told.response[:, :arms] * _given(world, costs) - costs.contact
        if later is not None:
            value += later.everything(seen.features).effect[:, :arms]
        value[:, 0] = 0.0
        arm: Whole = value.argmax(axis=1)
        return arm, np.full(value.shape, np.nan)

    return choose


def _given(world: World, costs: Costs) -> Floats:
    """What each arm gives to whoever uses it, in money."""
    found = []
    for arm in world.arms:
        if arm.type == "discount_percent":
            found.append(arm.discount * costs.basket)
        elif arm.type == "discount_amount":
            found.append(arm.discount)
        elif arm.type == "points_fixed":
            found.append(arm.points * costs.point)
        elif arm.type == "points_multiplier":
            found.append((arm.points - 1) * costs.basket * costs.point)
        else:
            found.append(costs.gift if arm.type == "gift" else 0.0)
    return np.array(found)


def _brought(one: Lived, first: int, costs: Costs) -> Floats:
    """(members,): what the windows from `first` on brought."""
    contacts = np.bincount(one.member, (one.arm > 0) & (one.number >= first), len(one.margin))
    spent = one.gifts[:, first:].sum(axis=1) * costs.gift + one.points[:, first:].sum(axis=1) * costs.point
    found: Floats = one.margin[:, first:].sum(axis=1) - spent - contacts * costs.contact
    return found


def pooled(gaps: Sequence[YearGap]) -> tuple[float, float, float]:
    """The mean of several runs and its interval: inside runs by members, between them by how far they lie apart."""
    values = np.array([gap.gain for gap in gaps])
    inside = np.array([(gap.high - gap.low) / 2 / _NORMAL_95 for gap in gaps])
    between = float(values.var(ddof=1)) if len(gaps) > 1 else 0.0
    error = float(np.sqrt(max(between, float((inside**2).mean())) / len(gaps)))
    mean = float(values.mean())
    return mean, mean - _NORMAL_95 * error, mean + _NORMAL_95 * error


__all__ = ["Costs", "Learnt", "YearGap", "drawn", "learned", "pooled", "year"]
