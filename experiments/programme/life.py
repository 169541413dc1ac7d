"""Two years of one block of members, window by window: who fades, who is sent what, who shops when, and for what."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments.programme import ledger, offers
from experiments.programme.baskets import Lines, Shelf, fill
from experiments.programme.chance import Flags, Floats, Log, Whole
from experiments.programme.ledger import Ledger
from experiments.programme.profiles import Profiles
from experiments.programme.seasons import Seasons, operational, real
from experiments.worlds import World

ACTIVE, FADING, GONE = range(3)
_ENGAGES = np.array([1.0, 0.4, 0.03])
"""Rate of engagements by standing, relative to an active member's."""


@dataclass(slots=True)
class Life:
    """The state of a block; arrays (n,). It moves while the block lives."""

    world: World
    shelf: Shelf
    profiles: Profiles
    clock: Seasons
    days: int
    rng: np.random.Generator
    book: Ledger
    standing: Whole
    left: Floats
    """Operational days until the next basket that comes by itself."""
    bad: Floats
    engaged: Floats
    contacts: Floats
    """Recent bad experiences, engagements, contacts: halved at every window."""
    last_basket: Floats
    baskets: int = 0
    log: Log = field(default_factory=Log)


@dataclass(slots=True)
class Window:
    """One reward window of every member; arrays (n,). `extra_at` and `uses` are used up as it passes."""

    number: int
    start: Floats
    end: Floats
    here: Flags
    speed: Floats
    arm: Whole
    extra_at: Floats
    uses: Flags


def live(world: World, shelf: Shelf, profiles: Profiles, clock: Seasons, days: int, rng: np.random.Generator) -> Life:
    """Let a block live from day 0 to `days`; the logs of the result hold all that happened."""
    truth, n = shelf.truth, len(shelf.truth.gap_days)
    gap = rng.gamma(truth.regularity) / truth.regularity * truth.gap_days
    old = profiles.enrolled < 0
    away = rng.random(n) < 1 - np.exp(truth.hazard * 0.4 * np.maximum(profiles.enrolled, -500) / 14)
    life = Life(
        world, shelf, profiles, clock, days, rng, ledger.ledger(world, n),
        standing=np.where(old & away, GONE, ACTIVE),
        left=gap * np.where(old, rng.random(n), 0.3 * rng.random(n)),
        bad=np.zeros(n), engaged=np.zeros(n), contacts=np.zeros(n), last_basket=np.full(n, -np.inf),
    )  # fmt: skip
    windows = int(np.ceil(days / world.window_days))
    for number in range(windows + 1):
        _pass(life, number, windows)
    ledger.expire(life.book, np.arange(n), np.full(n, float(days)))
    return life


def _pass(life: Life, number: int, windows: int) -> None:
    world, profiles = life.world, life.profiles
    begin = life.days - profiles.phase - world.window_days * (windows - number)
    end = np.minimum(begin + world.window_days, life.days)
    start = np.clip(np.maximum(begin, profiles.enrolled), 0, life.days)
    window = Window(
        number, start, end, start < end, np.zeros(len(start)), np.full(len(start), -1),
        np.full(len(start), np.inf), np.zeros(len(start), dtype=np.bool_),
    )  # fmt: skip
    rows = np.flatnonzero(window.here)
    ledger.expire(life.book, rows, start[rows])
    whole = (begin >= 0) & (profiles.enrolled <= begin)
    _move(life, whole)
    window.speed[rows] = _speed(life, rows, start[rows])
    op_start, op_end = (operational(life.clock, life.shelf.truth.week, t) for t in (start, end))
    budget = np.where(window.here, op_end - op_start, 0.0) * window.speed
    if number < windows:
        lot = number >= windows - world.stretch_windows
        _contact(life, window, whole & profiles.consents[:, 0], budget, lot)
    _engage(life, window)
    _shop(life, window, op_start, op_end)


def _move(life: Life, whole: Flags) -> None:
    """Active → fading → gone, and back; once per window."""
    world, truth = life.world, life.shelf.truth
    points = ledger.balance(life.book, np.arange(len(whole))) / 1000
    log_risk = (
        world.bad_weight * life.bad
        + world.irritation * truth.irritability * life.contacts
        - world.engagement_loyalty * np.minimum(life.engaged, 3)
        - world.points_loyalty * np.minimum(points, 2)
    )
    uniform = life.rng.random((2, len(whole)))
    fades = uniform[0] < np.minimum(truth.hazard * np.exp(log_risk), 0.9)
    leaves, recovers = uniform[0] < world.leaving, uniform[1] < world.recovering
    returns = uniform[0] < world.returning
    standing = life.standing
    moved = np.select(
        [
            (standing == ACTIVE) & fades,
            (standing == FADING) & leaves,
            (standing == FADING) & recovers,
            (standing == GONE) & returns,
        ],
        [FADING, GONE, ACTIVE, ACTIVE],
        standing,
    )
    life.standing = np.where(whole, moved, standing)
    life.bad *= 0.5


def _speed(life: Life, rows: Whole, at: Floats) -> Floats:
    """How fast each member's shopping clock runs: standing, points about to expire, engagement."""
    world = life.world
    by_standing = np.array([1.0, world.fading_speed, 0.0])[life.standing[rows]]
    urgent = ledger.expiring(life.book, rows, at) >= 100
    return (
        by_standing * (1 + world.points_pull * urgent) * (1 + world.engagement_pull * np.minimum(life.engaged[rows], 3))
    )


def _contact(life: Life, window: Window, allowed: Flags, budget: Floats, by_lot: bool) -> None:
    """Send what lot or campaign says, and settle what it will cause."""
    world, truth, rng = life.world, life.shelf.truth, life.rng
    warm = life.last_basket >= window.start - offers.WARM_DAYS
    if by_lot:
        sent = offers.by_lot(world, allowed, warm, rng)
    elif window.number % world.campaign_every == 0:
        sent = offers.by_campaign(world, truth, allowed, warm, rng)
    else:
        life.contacts *= 0.5
        return
    natural = life.left <= budget
    reach = np.where(life.standing == GONE, world.gone_reach, 1.0) * np.exp(-world.fatigue * life.contacts)
    uniform = rng.random((3, len(allowed)))
    extra = uniform[0] < reach * offers.of_arm(world, truth.lift, sent.arm)
    away = uniform[0] < offers.of_arm(world, truth.drop, sent.arm)
    window.arm = sent.arm
    window.uses = extra | (uniform[1] < offers.of_arm(world, truth.uses, sent.arm))
    window.extra_at = np.where(extra, window.start + world.window_days * (0.02 + 0.96 * uniform[2] ** 1.5), np.inf)
    life.left = np.where(away & natural, budget + rng.exponential(0.2 * truth.gap_days), life.left)
    rows = np.flatnonzero(sent.arm >= 0)
    life.log.add(
        "decided", member=rows, at=window.start[rows], arm=sent.arm[rows], probability=sent.probability[rows],
        warm=warm[rows], window=np.full(len(rows), window.number), natural=natural[rows], reach=reach[rows],
    )  # fmt: skip
    life.contacts = 0.5 * life.contacts + (sent.arm > 0)


def _engage(life: Life, window: Window) -> None:
    length = np.maximum(window.end - window.start, 0)
    count = life.rng.poisson(life.shelf.truth.engagement_rate * _ENGAGES[life.standing] * length)
    rows = np.repeat(np.arange(len(count)), count)
    at = window.start[rows] + life.rng.random(len(rows)) * length[rows]
    life.log.add("engagement", member=rows, at=at, kind=life.rng.random(len(rows)), value=life.rng.random(len(rows)))
    life.engaged = 0.5 * life.engaged + count


def _shop(life: Life, window: Window, op_start: Floats, op_end: Floats) -> None:
    """Baskets in order of time: each round is every member's next one, until the window is over."""
    truth, now = life.shelf.truth, op_start.copy()
    rows = np.flatnonzero(window.here)
    while len(rows):
        with np.errstate(divide="ignore"):
            op = now[rows] + life.left[rows] / window.speed[rows]
        due = op <= op_end[rows]
        natural_at = np.full(len(rows), np.inf)
        some = rows[due]
        natural_at[due] = np.clip(real(life.clock, truth.week[some], op[due]), window.start[some], window.end[some])
        at = np.minimum(natural_at, window.extra_at[rows])
        on = np.isfinite(at)
        rows, at, op, impulse = rows[on], at[on], op[on], (window.extra_at[rows] < natural_at)[on]
        if len(rows):
            _basket(life, window, rows, at, impulse)
        window.extra_at[rows[impulse]] = np.inf
        by_itself = rows[~impulse]
        now[by_itself] = op[~impulse]
        shape = truth.regularity[by_itself]
        life.left[by_itself] = life.rng.gamma(shape) / shape * truth.gap_days[by_itself]
    life.left = np.where(window.here, life.left - (op_end - now) * window.speed, life.left)


def _basket(life: Life, window: Window, rows: Whole, at: Floats, impulse: Flags) -> None:
    lines = fill(life.shelf, rows, at, impulse, life.rng)
    # An offer that causes a basket is used on that basket, not on an earlier one.
    using = window.uses[rows] & (impulse | ~np.isfinite(window.extra_at[rows]))
    window.uses[rows[using]] = False
    arm = np.where(using, window.arm[rows], -1)
    price = life.shelf.shop.price[lines.product]
    gross = price * lines.quantity - lines.discount
    discount = np.round(lines.discount + _off(life.world, arm, gross, lines.basket), 2)
    amount = price * lines.quantity - discount
    number = life.baskets + np.arange(len(rows))
    life.baskets += len(rows)
    lot, points, back = _points(life, rows, at, arm, lines, amount)
    life.log.add(
        "basket",
        number=number,
        member=rows,
        at=at,
        arm=arm,
        lot=lot,
        points=points,
        window=np.full(len(rows), window.number),
    )
    life.log.add(
        "line", basket=number[lines.basket], member=rows[lines.basket], product=lines.product, quantity=lines.quantity,
        discount=discount, at=at[lines.basket], back_at=at[lines.basket] + lines.return_after, back_points=back, lot=lot[lines.basket],
        arm=arm[lines.basket],
    )  # fmt: skip
    value = np.bincount(lines.basket, weights=discount - lines.discount, minlength=len(rows))
    life.log.add(
        "redeem",
        member=rows[using],
        at=at[using],
        arm=arm[using],
        window=np.full(int(using.sum()), window.number),
        value=value[using],
    )
    _after(life, rows, at, impulse, lines)


def _off(world: World, arm: Whole, gross: Floats, basket: Whole) -> Floats:
    """Money that the offer takes off each line."""
    used = arm[basket]
    share = np.array([a.discount if a.type == "discount_percent" else 0.0 for a in world.arms])
    money = np.array([a.discount if a.type == "discount_amount" else 0.0 for a in world.arms])
    total = np.bincount(basket, weights=gross, minlength=len(arm))[basket]
    part = np.where(used >= 0, share[used], 0.0) + np.where(used >= 0, np.minimum(money[used] / total, 1.0), 0.0)
    return gross * part


def _points(
    life: Life, rows: Whole, at: Floats, arm: Whole, lines: Lines, amount: Floats
) -> tuple[Whole, Floats, Floats]:
    """Earn by the tier of the moment, then perhaps redeem: (lot, points earned, points a return takes back per line)."""
    world, book, n = life.world, life.book, len(rows)
    ledger.expire(book, rows, at)
    rate = np.array([t.earn_rate for t in world.tiers])[ledger.tier(book, world, rows, at)]
    factor = np.array([a.points if a.type == "points_multiplier" else 1.0 for a in world.arms])
    bonus = np.array([a.points if a.type == "points_fixed" else 0.0 for a in world.arms])
    rate = rate * np.where(arm >= 0, factor[arm], 1.0)
    kept = lines.return_after + at[lines.basket] > life.days
    back = np.where(kept, 0.0, np.floor(np.maximum(amount, 0) * rate[lines.basket]))
    spend = np.bincount(lines.basket, weights=amount, minlength=n)
    earned = np.floor(spend * rate + 1e-9) + np.where(arm >= 0, bonus[arm], 0.0)
    taken = np.bincount(lines.basket, weights=back, minlength=n)
    want = life.rng.random((2, n))
    have = ledger.balance(book, rows)
    wish = np.maximum(ledger.SMALLEST, np.floor(have * (0.5 + 0.5 * want[1]) / 100) * 100)
    redeems = (have >= ledger.SMALLEST) & (want[0] < 0.12)
    ledger.redeem(book, rows[redeems], at[redeems], life.baskets - n + np.flatnonzero(redeems), wish[redeems])
    net_spend = spend - np.bincount(lines.basket, weights=np.where(kept, 0.0, amount), minlength=n)
    lot = ledger.earn(book, rows, at, np.maximum(earned - taken, 0), net_spend)
    return lot, earned, back


def _after(life: Life, rows: Whole, at: Floats, impulse: Flags, lines: Lines) -> None:
    life.last_basket[rows] = at
    returned = np.bincount(lines.basket, weights=np.isfinite(lines.return_after), minlength=len(rows)) > 0
    uniform = life.rng.random((2, len(rows)))
    life.bad[rows] += uniform[0] < life.world.bad_experience + 0.25 * returned
    back = impulse & (life.standing[rows] == GONE) & (uniform[1] < 0.5)
    life.standing[rows[back]] = ACTIVE
