"""Two years of one block of members, window by window: who fades, who is sent what, who shops when."""

from __future__ import annotations

import numpy as np

from experiments.programme import ledger, offers
from experiments.programme.baskets import Shelf
from experiments.programme.chance import Flags, Floats, Whole
from experiments.programme.checkout import check_out
from experiments.programme.profiles import Profiles
from experiments.programme.seasons import Seasons, operational, real
from experiments.programme.state import ACTIVE, FADING, GONE, Life, Window
from experiments.worlds import World

_ENGAGES = np.array([1.0, 0.4, 0.03])
"""Rate of engagements by standing, relative to an active member's."""


def live(world: World, shelf: Shelf, profiles: Profiles, clock: Seasons, days: int, rng: np.random.Generator) -> Life:
    """Let a block live from day 0 to `days`; the logs of the result hold all that happened."""
    life = begun(world, shelf, profiles, clock, days, rng)
    windows = int(np.ceil(days / world.window_days))
    for number in range(windows + 1):
        _pass(life, number, windows)
    ledger.expire(life.book, np.arange(len(life.left)), np.full(len(life.left), float(days)))
    return life


def begun(world: World, shelf: Shelf, profiles: Profiles, clock: Seasons, days: int, rng: np.random.Generator) -> Life:
    """A block on day 0."""
    truth, n = shelf.truth, len(shelf.truth.gap_days)
    gap = rng.gamma(truth.regularity) / truth.regularity * truth.gap_days
    old = profiles.enrolled < 0
    away = rng.random(n) < 1 - np.exp(truth.hazard * 0.4 * np.maximum(profiles.enrolled, -500) / 14)
    return Life(
        world, shelf, profiles, clock, days, rng, ledger.ledger(world, n),
        standing=np.where(old & away, GONE, ACTIVE),
        left=gap * np.where(old, rng.random(n), 0.3 * rng.random(n)),
        bad=np.zeros(n), engaged=np.zeros(n), contacts=np.zeros(n), last_basket=np.full(n, -np.inf),
    )  # fmt: skip


def _pass(life: Life, number: int, windows: int) -> None:
    world = life.world
    window, whole, clock = opened(life, number, windows)
    if number < windows:
        budget = np.where(window.here, clock[1] - clock[0], 0.0) * window.speed
        lot = number >= windows - world.stretch_windows
        _contact(life, window, whole & life.profiles.consents[:, 0], budget, lot)
    passed(life, window, clock)


def opened(life: Life, number: int, windows: int) -> tuple[Window, Flags, tuple[Floats, Floats]]:
    """Every member's window of a number, whether it is a whole one, and where it begins and ends in operational days.

    Who fades, leaves and comes back is settled with it.
    """
    world, profiles = life.world, life.profiles
    begin = life.days - profiles.phase - world.window_days * (windows - number)
    end = np.minimum(begin + world.window_days, life.days)
    start = np.clip(np.maximum(begin, profiles.enrolled), 0, life.days)
    window = Window(
        number, start, end, start < end, np.zeros(len(start)), np.full(len(start), -1),
        np.full(len(start), np.inf), np.zeros(len(start), dtype=np.bool_), np.zeros(len(start), dtype=np.int64),
    )  # fmt: skip
    rows = np.flatnonzero(window.here)
    ledger.expire(life.book, rows, start[rows])
    whole = (begin >= 0) & (profiles.enrolled <= begin)
    _move(life, whole)
    window.speed[rows] = _speed(life, rows, start[rows])
    week = life.shelf.truth.week
    return window, whole, (operational(life.clock, week, start), operational(life.clock, week, end))


def passed(life: Life, window: Window, clock: tuple[Floats, Floats]) -> None:
    """Let the window pass: engagements and baskets."""
    _engage(life, window)
    _shop(life, window, *clock)
    life.log.add("passed", came=window.came[window.arm >= 0])


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
    by_points = 1 + world.points_pull * urgent
    by_engagement = 1 + world.engagement_pull * np.minimum(life.engaged[rows], 3)
    speed: Floats = by_standing * by_points * by_engagement
    return speed


def _contact(life: Life, window: Window, allowed: Flags, budget: Floats, by_lot: bool) -> None:
    """Send what lot or campaign says."""
    world, truth, rng = life.world, life.shelf.truth, life.rng
    warm = life.last_basket >= window.start - offers.WARM_DAYS
    if by_lot:
        sent = offers.by_lot(world, allowed, warm, rng)
    elif window.number % world.campaign_every == 0:
        sent = offers.by_campaign(world, truth, allowed, warm, rng)
    else:
        life.contacts *= 0.5
        return
    settle(life, window, sent, budget)


def settle(life: Life, window: Window, sent: offers.Sent, budget: Floats) -> None:
    """What an offer sent will cause in its window; `budget` (n,) are the window's operational days at their speed."""
    world, truth, rng, warm = life.world, life.shelf.truth, life.rng, sent.warm
    natural = life.left <= budget
    reach = np.where(life.standing == GONE, world.gone_reach, 1.0) * np.exp(-world.fatigue * life.contacts)
    uniform = rng.random((3, len(budget)))
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
            check_out(life, window, rows, at, impulse)
        window.extra_at[rows[impulse]] = np.inf
        by_itself = rows[~impulse]
        now[by_itself] = op[~impulse]
        window.came[by_itself] += 1
        shape = truth.regularity[by_itself]
        life.left[by_itself] = life.rng.gamma(shape) / shape * truth.gap_days[by_itself]
    life.left = np.where(window.here, life.left - (op_end - now) * window.speed, life.left)
