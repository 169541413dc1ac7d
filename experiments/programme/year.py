"""A year of members' lives under decisions of ours: the same life as a history's, with each window's offer given.

The equations are those of `experiments.programme.life`: who fades, leaves and comes back, what points, engagement and
contacts do to that, who shops when. Only who is sent what is not by lot or campaign but by a `Chooser`, from what a
programme could know. Nothing here touches the frozen histories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.programme import ledger, life, offers
from experiments.programme.baskets import Shelf
from experiments.programme.chance import Flags, Floats, Whole
from experiments.programme.profiles import Profiles
from experiments.programme.seasons import Seasons
from experiments.programme.state import Life, Window
from experiments.worlds import World

FEATURES = (
    "days_since_basket", "baskets_90", "baskets_365", "margin_90", "margin_365", "mean_basket", "recency_over_gap",
    "points", "points_expiring", "contacts_28", "contacts_84", "member_days", "engagements_90", "redeemed_365",
)  # fmt: skip
"""What a programme knows of a member when a window begins; NaN where there is nothing to know."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Members of a block when their window begins; rows are those who may be decided about."""

    rows: Whole
    number: int
    features: Floats
    """(len(rows), FEATURES)"""
    warm: Flags
    rng: np.random.Generator


Chooser = Callable[[Seen], tuple[Whole, Floats]]
"""The arm for each row (0 is doing nothing) and the chance of every arm, (len(rows), arms)."""


@dataclass(slots=True, eq=False)
class Lived:
    """What became of a block: one row for each decision, and what each window of each member brought."""

    member: Whole
    number: Whole
    arm: Whole
    chances: Floats
    features: Floats
    margin: Floats
    """(members, windows): margin of what was bought, after markdowns and what offers took off."""
    discount: Floats
    """(members, windows): what offers took off; already gone from the margin."""
    points: Floats
    """(members, windows): points given beyond the usual ones."""
    gifts: Floats
    """(members, windows): gifts given."""
    baskets: Floats
    used: Floats
    """(members, windows): offers used."""


def lived(
    world: World,
    shelf: Shelf,
    profiles: Profiles,
    clock: Seasons,
    days: int,
    streams: Callable[[int], np.random.Generator],
    chooser: Chooser,
) -> Lived:
    """Let a block live from day 0 to `days`; every whole window of everybody who consents is decided by `chooser`.

    Args:
        world: its equations.
        shelf: members and shop, as `experiments.simulate` makes them.
        profiles: of the same members.
        clock: seasons of at least as many days.
        days: how long.
        streams: number of a window (−1: the beginning) → chance; the same for two choosers, so that the lives they
            lead to can be compared member by member.
        chooser: decides.
    """
    one = life.begun(world, shelf, profiles, clock, days, streams(-1))
    total = int(np.ceil(days / world.window_days))
    book = _Book(one)
    for number in range(total + 1):
        one.rng = streams(number)
        window, whole, clocks = life.opened(one, number, total)
        if number < total:
            budget = np.where(window.here, clocks[1] - clocks[0], 0.0) * window.speed
            rows = np.flatnonzero(whole & profiles.consents[:, 0])
            _decide(one, window, rows, budget, chooser, book)
        life.passed(one, window, clocks)
        book.read()
    return book.closed(total)


def _decide(one: Life, window: Window, rows: Whole, budget: Floats, chooser: Chooser, book: _Book) -> None:
    warm = one.last_basket >= window.start - offers.WARM_DAYS
    features = book.features(rows, window.start)
    arm, chances = chooser(Seen(rows, window.number, features, warm[rows], one.rng))
    given = np.full(len(budget), -1)
    given[rows] = arm
    life.settle(one, window, offers.Sent(given, np.full(len(budget), np.nan), warm), budget)
    book.note(rows, window, arm, chances, features)


class _Book:
    """What a programme writes down of a block while it lives."""

    def __init__(self, one: Life) -> None:
        self.life = one
        self.n = len(one.left)
        self.decisions: list[tuple[Whole, Whole, Whole, Floats, Floats]] = []
        self.contacts: list[tuple[Floats, Flags]] = []
        self.at, self.margin = np.zeros(0), np.zeros(0)
        self.member = np.zeros(0, np.int64)
        self.arm = np.zeros(0, np.int64)

    def read(self) -> None:
        """Take in the baskets so far."""
        one = self.life
        (at,) = one.log.columns("basket", "at")
        which, product, arm = one.log.wholes("line", "basket", "product", "arm")
        quantity, discount, back = one.log.columns("line", "quantity", "discount", "back_at")
        shop = one.shelf.shop
        kept = np.where(back < one.days, 0.0, quantity * shop.margin[product] - discount)
        self.member, self.at = one.log.wholes("basket", "member")[0], at
        self.margin = np.bincount(which, kept, len(at)).astype(np.float64)
        self.arm = np.full(len(at), -1)
        self.arm[which] = arm

    def features(self, rows: Whole, start: Floats) -> Floats:
        """FEATURES of `rows` at the start of their windows."""
        one, n = self.life, self.n
        member, at = self.member, self.at
        age = start[member] - at

        def total(values: Floats, within: float) -> Floats:
            some = (age >= 0) & (age < within)
            return np.bincount(member[some], values[some], n).astype(np.float64)

        ones = np.ones(len(at))
        since = np.where(np.isfinite(one.last_basket), start - one.last_basket, np.nan)
        many, year = total(ones, np.inf), total(ones, 365.0)
        first = np.full(n, np.inf)
        np.minimum.at(first, member, at)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(many > 1, (one.last_basket - first) / (many - 1), np.nan)
            basket = np.where(many > 0, total(self.margin, np.inf) / many, np.nan)
            table = np.column_stack([
                since, total(ones, 90.0), year, total(self.margin, 90.0), total(self.margin, 365.0), basket,
                since / gap, ledger.balance(one.book, np.arange(n)),
                ledger.expiring(one.book, np.arange(n), start), *self._contacted(start, (28.0, 84.0)),
                np.minimum(start - np.maximum(one.profiles.enrolled, -400.0), 1200.0), self._engaged(start),
                self._redeemed(start),
            ])  # fmt: skip
        return np.asarray(table[rows], np.float64)

    def _contacted(self, start: Floats, withins: tuple[float, ...]) -> list[Floats]:
        found = [np.zeros(self.n) for _ in withins]
        for at, sent in self.contacts[-8:]:
            for count, within in zip(found, withins, strict=True):
                count[sent & (start - at <= within + 1e-6)] += 1
        return found

    def _engaged(self, start: Floats) -> Floats:
        member, at = self.life.log.columns("engagement", "member", "at")
        who = member.astype(np.int64)
        some = (start[who] - at >= 0) & (start[who] - at < 90.0)
        return np.bincount(who[some], minlength=self.n).astype(np.float64)

    def _redeemed(self, start: Floats) -> Floats:
        member, at = self.life.log.columns("redeem", "member", "at")
        who = member.astype(np.int64)
        some = (start[who] - at >= 0) & (start[who] - at < 365.0)
        return np.bincount(who[some], minlength=self.n).astype(np.float64)

    def note(self, rows: Whole, window: Window, arm: Whole, chances: Floats, features: Floats) -> None:
        """Keep what was decided."""
        number = np.full(len(rows), window.number)
        self.decisions.append((rows, number, arm, chances, features))
        sent = np.zeros(self.n, np.bool_)
        sent[rows[arm > 0]] = True
        self.contacts.append((window.start.copy(), sent))

    def closed(self, total: int) -> Lived:
        """Sum up by windows."""
        one, world, member = self.life, self.life.world, self.member
        begin = one.days - one.profiles.phase - world.window_days * total
        number = np.clip(((self.at - begin[member]) // world.window_days).astype(np.int64), 0, total)
        cell = member * (total + 1) + number

        def table(values: Floats) -> Floats:
            return np.bincount(cell, values, self.n * (total + 1)).reshape(self.n, total + 1).astype(np.float64)

        arms, used = world.arms, self.arm
        kinds = np.array([*(each.type for each in arms), "none"])[used]
        bonus = np.array([*(each.points if each.type == "points_fixed" else 0.0 for each in arms), 0.0])[used]
        (which,) = one.log.wholes("line", "basket")
        (discount,) = one.log.columns("line", "discount")
        priced = np.isin(kinds, ("discount_percent", "discount_amount"))
        off = np.where(priced, np.bincount(which, discount, len(self.at)), 0.0)
        (points,) = one.log.columns("basket", "points")
        bonus = bonus + np.where(kinds == "points_multiplier", points / 2.0, 0.0)
        rows, number_of, arm, chances, features = zip(*self.decisions, strict=True)
        return Lived(
            member=np.concatenate(rows),
            number=np.concatenate(number_of),
            arm=np.concatenate(arm),
            chances=np.concatenate(chances),
            features=np.concatenate(features),
            margin=table(self.margin),
            discount=table(off),
            points=table(bonus),
            gifts=table((kinds == "gift").astype(np.float64)),
            baskets=table(np.ones(len(self.at))),
            used=table((self.arm >= 0).astype(np.float64)),
        )


def by_lot(world: World) -> Chooser:
    """Everything by lot in every window, with the chances of the histories' stretch."""
    table = np.array([[arm.cold, arm.warm] for arm in world.arms])

    def choose(seen: Seen) -> tuple[Whole, Floats]:
        chances = table[:, seen.warm.astype(np.int64)].T
        return drawn(chances, seen.rng), chances

    return choose


def drawn(chances: Floats, rng: np.random.Generator) -> Whole:
    """One arm for each row."""
    upto = np.cumsum(chances, axis=1)
    arm: Whole = np.minimum((rng.random(len(chances))[:, None] >= upto).sum(axis=1), chances.shape[1] - 1)
    return arm
