"""Whether the change in lifetime value is worth having in the bill: the same policy with the line and without it.

Effects and the surrogate index are learned from one simulated programme. Then other members live, window by window,
under the policy that takes the best net value: for half a year with the line `lifetime` or without it, and for another
year without it, so that every decision is followed for twelve months. Chance is the same for both, so members are
compared with themselves. What counts is what all of it brings: margin, less gifts and points.
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
from training.effects.later import LaterStory, Past, learn_later

_LIVES, _END = 1000, datetime(2026, 1, 1, tzinfo=UTC)
_YEAR, _LEAST, _MOST, _STEP = 25, 2, 4, 3
"""Windows: the rest of a year after one's own; those a decision is followed, at least and at most; between rows of the
past."""
_WARM_UP = 7
"""Windows without rows of the past."""
_HISTORY, _BEFORE, _DECIDED, _AFTER = 730, 364, 13, 364
"""Days of the programme learned from; days of the others' lives before; windows decided with the line or without it;
days after."""
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
    """With the line against without it, money a member; intervals over members."""

    gain: float
    low: float
    high: float
    without: float
    """What members bring without it."""
    contacts: tuple[float, float]
    """Contacts a member with it, and without, while decisions differ."""
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
    features, followed, arm, chances, baskets, used = (
        np.concatenate([part[column] for part in rows]) for column in range(6)
    )
    who = np.concatenate([part[6] + number * BLOCK for number, part in enumerate(rows)])
    ids, types = tuple(one.offer_id for one in world.arms), tuple(one.type for one in world.arms)
    units = units_of(features, arm.astype(np.int64), chances, baskets, types, who.astype(np.int64))
    effects, _ = learn(units, FEATURES, ids, config, used)
    past = [_past(one, total, number) for number, one in enumerate(parts)]
    before = Past(*(np.concatenate([part[column] for part in past]) for column in range(3)))
    later, story = learn_later(units, followed, before, FEATURES, ids, config)
    mean = float(np.nanmean(features[:, FEATURES.index("mean_basket")]))
    return Learnt(effects, later, story, len(arm), mean)


def year(
    world: World, taught: Learnt, *, members: int, products: int, seed: int, costs: Costs | None = None
) -> YearGap:
    """Let other members live under the policy with the line and without it, and for a year afterwards."""
    prices = costs or Costs()
    length = int(world.window_days)
    days = _BEFORE + _DECIDED * length + _AFTER
    first = int(np.ceil(days / length)) - _DECIDED - _AFTER // length
    worth: list[Floats] = []
    contacts = []
    for later in (taught.later, None):
        policy = _policy(world, taught, later, prices, (first, first + _DECIDED))
        parts = _lives(world, members, products, days, seed, policy)
        worth.append(np.concatenate([_brought(one, first, prices) for one in parts]))
        contacts.append(sum(_contacts(one, first, first + _DECIDED) for one in parts) / members)
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


def _windows(one: Lived, who: Whole, number: Whole, many: Whole) -> Floats:
    """(n, _MOST): margin of each window after number, NaN beyond how many each is followed."""
    step = np.arange(_MOST)
    columns = np.minimum(number[:, None] + 1 + step, one.margin.shape[1] - 1)
    return np.where(step < many[:, None], one.margin[who[:, None], columns], np.nan)


def _rows(one: Lived, first: int, total: int) -> tuple[Floats | Whole, ...]:
    """Units from `first` on: features, margins of the windows after, arm, chances, baskets, used, member."""
    some = np.flatnonzero(one.number >= first)
    who, number = one.member[some], one.number[some]
    whole = total - 1 - number
    followed = _windows(one, who, number, np.where(whole >= _LEAST, np.minimum(whole, _MOST), 0))
    used = (one.used[who, number] > 0) & (one.arm[some] > 0)
    return (
        one.features[some], followed, one.arm[some], one.chances[some], one.baskets[who, number],
        used.astype(np.float64), who,
    )  # fmt: skip


def _past(one: Lived, total: int, seed: int) -> tuple[Floats, Floats, Floats]:
    some = np.flatnonzero((one.number >= _WARM_UP) & (one.number % _STEP == 0) & (one.number + 1 + _YEAR <= total))
    who, number = one.member[some], one.number[some]
    many = np.random.default_rng(seed).integers(_LEAST, _MOST + 1, len(some))
    run = np.concatenate([np.zeros((len(one.margin), 1)), np.cumsum(one.margin, axis=1)], axis=1)
    rest = run[who, number + 1 + _YEAR] - run[who, number + 1 + many]
    return one.features[some], _windows(one, who, number, many), rest


def _policy(world: World, taught: Learnt, later: Effects | None, costs: Costs, span: tuple[int, int]) -> Chooser:
    """By lot before the span, then the best net value of each member: with the line in the span, without it after."""
    lot = by_lot(world)
    arms = len(world.arms)

    def choose(seen: Seen) -> tuple[Whole, Floats]:
        if seen.number < span[0]:
            return lot(seen)
        told = taught.effects.everything(seen.features)
        basket = np.nan_to_num(seen.features[:, FEATURES.index("mean_basket")], nan=taught.margin)
        value = basket[:, None] * told.effect[:, :arms] - told.response[:, :arms] * _given(world, costs) - costs.contact
        if later is not None and seen.number < span[1]:
            value += later.everything(seen.features).effect[:, :arms]
        value[:, 0] = 0.0
        arm: Whole = value.argmax(axis=1)
        return arm, np.full(value.shape, np.nan)

    return choose


def _contacts(one: Lived, first: int, last: int) -> float:
    return float((one.arm[(one.number >= first) & (one.number < last)] > 0).sum())


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
