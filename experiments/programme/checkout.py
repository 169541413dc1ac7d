"""One basket of each of some members: what is in it, what the offer takes off, points earned and redeemed."""

from __future__ import annotations

import numpy as np

from experiments.programme import ledger
from experiments.programme.baskets import Lines, fill
from experiments.programme.chance import Flags, Floats, Whole
from experiments.programme.state import ACTIVE, GONE, Life, Window
from experiments.worlds import World


def check_out(life: Life, window: Window, rows: Whole, at: Floats, impulse: Flags) -> None:
    """Members `rows` pay for a basket at `at`; an impulse is a basket that an offer or action caused."""
    lines = fill(life.shelf, rows, at, impulse, life.rng)
    # An offer that causes a basket is used on that basket, not on an earlier one.
    using = window.uses[rows] & (impulse | ~np.isfinite(window.extra_at[rows]))
    window.uses[rows[using]] = False
    arm = np.where(using, window.arm[rows], -1)
    price = life.shelf.shop.price[lines.product]
    gross = price * lines.quantity - lines.discount
    discount = np.round(lines.discount + _off(life.world, arm, gross, lines.basket), 2)
    number = life.baskets + np.arange(len(rows))
    life.baskets += len(rows)
    lot, points, back = _points(life, rows, at, arm, lines, price * lines.quantity - discount)
    life.log.add("basket", member=rows, at=at, lot=lot, points=points)
    life.log.add(
        "line",
        basket=number[lines.basket],
        member=rows[lines.basket],
        product=lines.product,
        quantity=lines.quantity,
        discount=discount,
        arm=arm[lines.basket],
        back_at=at[lines.basket] + lines.return_after,
        back_points=back,
    )
    value = np.bincount(lines.basket, weights=discount - lines.discount, minlength=len(rows))[using]
    number_of_window = np.full(len(value), window.number)
    life.log.add("redeem", member=rows[using], at=at[using], window=number_of_window, value=np.round(value, 2))
    _after(life, rows, at, impulse, lines)


def _off(world: World, arm: Whole, gross: Floats, basket: Whole) -> Floats:
    """Money that the offer takes off each line."""
    used = arm[basket]
    share = np.array([a.discount if a.type == "discount_percent" else 0.0 for a in world.arms])
    money = np.array([a.discount if a.type == "discount_amount" else 0.0 for a in world.arms])
    total = np.bincount(basket, weights=gross, minlength=len(arm))[basket]
    part = np.where(used >= 0, share[used], 0.0) + np.where(used >= 0, np.minimum(money[used] / total, 1.0), 0.0)
    off: Floats = gross * part
    return off


def _points(
    life: Life, rows: Whole, at: Floats, arm: Whole, lines: Lines, amount: Floats
) -> tuple[Whole, Floats, Floats]:
    """Earn by the tier of the moment, perhaps redeem: (lot, points earned, points that a return of each line costs)."""
    world, book = life.world, life.book

    def per_basket(values: Floats) -> Floats:
        return np.bincount(lines.basket, weights=values, minlength=len(rows)).astype(np.float64)

    ledger.expire(book, rows, at)
    rate = np.array([t.earn_rate for t in world.tiers])[ledger.tier(book, world, rows, at)]
    factor = np.array([a.points if a.type == "points_multiplier" else 1.0 for a in world.arms])
    bonus = np.array([a.points if a.type == "points_fixed" else 0.0 for a in world.arms])
    rate = rate * np.where(arm >= 0, factor[arm], 1.0)
    returned = lines.return_after + at[lines.basket] < life.days
    back = np.where(returned, np.floor(np.maximum(amount, 0) * rate[lines.basket]), 0.0)
    earned = np.floor(per_basket(amount) * rate + 1e-9) + np.where(arm >= 0, bonus[arm], 0.0)
    _redeem(life, rows, at)
    spend = per_basket(np.where(returned, 0.0, amount))
    lot = ledger.earn(book, rows, at, np.maximum(earned - per_basket(back), 0), spend)
    return lot, earned, back


def _redeem(life: Life, rows: Whole, at: Floats) -> None:
    chance = life.rng.random((2, len(rows)))
    have = ledger.balance(life.book, rows)
    wish = np.maximum(ledger.SMALLEST, np.floor(have * (0.5 + 0.5 * chance[1]) / 100) * 100)
    on = np.flatnonzero((have >= ledger.SMALLEST) & (chance[0] < 0.12))
    ledger.redeem(life.book, rows[on], at[on], life.baskets - len(rows) + on, wish[on])


def _after(life: Life, rows: Whole, at: Floats, impulse: Flags, lines: Lines) -> None:
    life.last_basket[rows] = at
    returned = np.bincount(lines.basket, weights=np.isfinite(lines.return_after), minlength=len(rows)) > 0
    uniform = life.rng.random((2, len(rows)))
    life.bad[rows] += uniform[0] < life.world.bad_experience + 0.25 * returned
    back = impulse & (life.standing[rows] == GONE) & (uniform[1] < 0.5)
    life.standing[rows[back]] = ACTIVE
