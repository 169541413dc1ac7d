"""What goes into a basket: staples that have run out, and what taste and season suggest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.programme.assortment import Assortment
from experiments.programme.chance import Flags, Floats, Whole, draw
from experiments.programme.people import Habits, Truth


@dataclass(frozen=True, slots=True)
class Shelf:
    """All that filling a basket needs to know; `last` (n, habits) is the day a staple was last bought, and moves."""

    shop: Assortment
    truth: Truth
    habits: Habits
    last: Floats
    cumulative: Floats
    """Tastes, `stacked`."""
    days: int
    first_month: float
    """Months of the year that have passed when the history starts."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of baskets; `basket` counts the rows that were asked for."""

    basket: Whole
    product: Whole
    quantity: Floats
    discount: Floats
    """Markdown of the shop, currency per line."""
    return_after: Floats
    """Days until it is brought back; infinite for what is kept."""


def fill(shelf: Shelf, rows: Whole, at: Floats, impulse: Flags, rng: np.random.Generator) -> Lines:
    """Lines for baskets of members `rows` at `at`; an impulse basket holds nothing that habit asks for."""
    due_basket, due_product = _due(shelf, rows, at, impulse, rng)
    fixed = impulse | (np.bincount(due_basket, minlength=len(rows)) == 0)
    more = rng.poisson(shelf.truth.extras[rows]) + fixed
    basket = np.concatenate([due_basket, np.repeat(np.arange(len(rows)), more)])
    liked = _liked(shelf, np.repeat(rows, more), np.repeat(at, more), np.repeat(impulse, more), rng)
    product = np.concatenate([due_product, liked])
    order = np.argsort(basket, kind="stable")
    return _priced(shelf, basket[order], product[order], len(due_product), order, rows, rng)


def _due(shelf: Shelf, rows: Whole, at: Floats, impulse: Flags, rng: np.random.Generator) -> tuple[Whole, Whole]:
    habits = shelf.habits
    passed = (at / shelf.days)[:, None]
    on = (habits.begins[rows] <= passed) & (passed < habits.ends[rows]) & ~impulse[:, None]
    lateness = (at[:, None] - shelf.last[rows]) / habits.gap_days[rows]
    chance = 0.75 / (1 + np.exp(np.clip(-(lateness - 1.0) / 0.25, -50, 50)))
    basket, slot = np.nonzero(on & (rng.random(on.shape) < chance))
    shelf.last[rows[basket], slot] = at[basket]
    return basket, habits.product[rows[basket], slot]


def _liked(shelf: Shelf, rows: Whole, at: Floats, impulse: Flags, rng: np.random.Generator) -> Whole:
    """Drawn by taste; out of season it is drawn once more (not for impulses, whose worth is stated without seasons)."""
    shop = shelf.shop
    width = len(shop.price)
    first = draw(shelf.cumulative, width, rows, rng.random(len(rows)))
    second = draw(shelf.cumulative, width, rows, rng.random(len(rows)))
    month = ((shelf.first_month + at / 30.44) % 12).astype(np.int64)
    keep = impulse | (rng.random(len(rows)) < shop.season[first, month])
    product = np.where(keep, first, second)
    return np.where(shop.launched[product] <= at / shelf.days, product, shop.stand_in[product])


def _priced(
    shelf: Shelf, basket: Whole, product: Whole, staples: int, order: Whole, rows: Whole, rng: np.random.Generator
) -> Lines:
    size = len(product)
    quantity = 1.0 + np.where(order < staples, rng.poisson(0.25, size), 0)
    thrift = shelf.truth.thrift[rows[basket]]
    marked = rng.random(size) < 0.10 * np.exp(0.7 * thrift - 0.25)
    discount = np.where(marked, rng.choice([0.1, 0.2, 0.3], size), 0.0) * shelf.shop.price[product] * quantity
    back = rng.random(size) < shelf.shop.returned[product]
    return Lines(basket, product, quantity, np.round(discount, 2), np.where(back, rng.uniform(2, 25, size), np.inf))
