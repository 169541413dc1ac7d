"""Prices in a stream of visits: solved every night, every hour, or moved after every visit as well.

Visits come by hour and weekday; how many there will be is forecast from the week before, and may be forecast wrongly.
What giving is worth may change half-way, without notice. Prices are solved on members who came in the last week,
appraised as of now (as `tessera prices` does it), with what is left of the budgets. Dual mirror descent (Balseiro,
Lu & Mirrokni, arXiv:2011.10124) moves them between solutions:
`λ ← λ · exp(η · (k − ρ) / ρ)`, ρ being what is left for a visit to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.allocation.truth import Floats
from serving.prices import solve

DAYS, PER_DAY, CANDIDATES, BUDGETS = 14, 4_000, 8, 3
SAMPLE = 1_000
_HOURS = 24
_FLOOR = 1e-3
"""Smallest price from which mirror descent can rise, relative to that of the night before the stream."""


@dataclass(frozen=True, slots=True)
class Scene:
    """How the stream differs from what the week before said of it."""

    name: str
    traffic: float = 1.0
    """Visits that come, relative to those forecast."""
    richer: float = 1.0
    """Values in the second half, relative to those of the first."""
    noise: float = 0.3
    """Spread of an hour's traffic around its mean (log-normal)."""


SCENES = (
    Scene("as forecast"),
    Scene("a third more visits", traffic=1.33),
    Scene("a third fewer visits", traffic=0.67),
    Scene("worth twice as much in the second half", richer=2.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Visits in order: `hour` (n,), `values` (n, m) and `costs` (n, m, b); those of the week before; what there is."""

    hour: Floats
    values: Floats
    """As in the week before; `worth` of the hour multiplies them."""
    worth: Floats
    """(n_hours,)"""
    costs: Floats
    before: tuple[Floats, Floats]
    amounts: Floats


def stream(scene: Scene, seed: int) -> Stream:
    """Draw a stream; each budget has about a third of what would be wanted of it as forecast."""
    rng = np.random.default_rng([seed, 61])
    shape = _day_and_week(np.arange(DAYS * _HOURS)) * PER_DAY / _HOURS * scene.traffic
    counts = rng.poisson(shape * np.exp(scene.noise * rng.normal(size=len(shape)) - scene.noise**2 / 2))
    hour = np.repeat(np.arange(len(shape)), counts).astype(np.float64)
    level, uses = 0.5 + rng.random(CANDIDATES), rng.random((1, CANDIDATES, BUDGETS)) < 0.7
    values, costs = _visits(len(hour), level, uses, rng)
    worth = np.where(np.arange(len(shape)) >= len(shape) / 2, scene.richer, 1.0)
    before = _visits(7 * PER_DAY, level, uses, rng)
    best = before[0].argmax(axis=1)
    wanted = before[1][np.arange(len(best)), best][before[0].max(axis=1) > 0].sum(axis=0)
    return Stream(hour, values, worth, costs, before, wanted * DAYS / 7 * (0.25 + 0.2 * rng.random(BUDGETS)))


def _visits(n: int, level: Floats, uses: np.ndarray, rng: np.random.Generator) -> tuple[Floats, Floats]:
    keen = rng.lognormal(0.0, 0.6, (n, 1))
    values: Floats = level * keen * rng.normal(0.6, 1.0, (n, CANDIDATES))
    costs: Floats = rng.gamma(2.0, 0.5, (n, CANDIDATES, BUDGETS)) * uses
    costs[:, :, 0] = 1.0  # a message
    return values, costs


def _day_and_week(hours: np.ndarray) -> Floats:
    """Traffic of an hour relative to the mean: busy evenings, quiet nights, a third more at weekends."""
    of_day = 1.0 + 0.8 * np.sin((hours % _HOURS - 9.0) * 2 * np.pi / _HOURS)
    weekend: Floats = np.where(hours // _HOURS % 7 >= 5, 1.33, 1.0) / (1 + 2 / 7 * 0.33) * of_day
    return weekend


def earned(found: Stream, every_hours: int, step: float, seed: int) -> float:
    """Money earned by prices that are solved every so many hours, and moved by `step` (η) after every visit.

    A candidate for which a budget has not enough left is not given.
    """
    rng = np.random.default_rng([seed, 67])
    left, total, prices = found.amounts.copy(), 0.0, np.zeros(BUDGETS)
    starts = np.searchsorted(found.hour, np.arange(0, DAYS * _HOURS + 1))
    pace = PER_DAY / _HOURS * _day_and_week(np.arange(DAYS * _HOURS))
    warm = None
    for hour in range(DAYS * _HOURS):
        rows = slice(int(starts[hour]), int(starts[hour + 1]))
        ahead = float(pace[hour:].sum()) * _seen_so_far(hour, rows.start, pace)
        if hour % every_hours == 0:
            prices = _solved(found, hour, rows.start, ahead, left, warm, rng)
            warm = prices
        rate = left / max(ahead, 1.0)
        total += _hour(found.values[rows] * found.worth[hour], found.costs[rows], prices, left, rate, step)
    return total


def _seen_so_far(hour: int, visits: int, pace: Floats) -> float:
    """Traffic so far over that forecast, the last week's forecast counting as a day."""
    return (visits + PER_DAY) / (float(pace[:hour].sum()) + PER_DAY)


def _solved(
    found: Stream, hour: int, seen: int, ahead: float, left: Floats, warm: Floats | None, rng: np.random.Generator
) -> Floats:
    """Prices on a sample of the last week's visits, those of this stream before older ones, as they are worth now."""
    recent = slice(max(seen - 7 * PER_DAY, 0), seen)
    fresh = seen - recent.start
    rows = rng.integers(0, 7 * PER_DAY, SAMPLE)
    new = rows < fresh
    values, costs = found.before[0][rows], found.before[1][rows]
    values[new], costs[new] = found.values[recent][rows[new]], found.costs[recent][rows[new]]
    amounts = left * SAMPLE / max(ahead, 1.0)
    return solve(values * found.worth[hour], costs, amounts, warm=warm, tolerance=1e-4).prices


def _hour(values: Floats, costs: Floats, prices: Floats, left: Floats, rate: Floats, step: float) -> float:
    """The visits of an hour, one after the other; `left` and `prices` are changed in place."""
    total = 0.0
    least = np.maximum(prices * _FLOOR, 1e-9)
    for value, cost in zip(values, costs, strict=True):
        score = np.where((cost <= left).all(axis=1), value - cost @ prices, -np.inf)
        best = int(score.argmax())
        taken = cost[best] if score[best] > 0 else np.zeros(BUDGETS)
        if score[best] > 0:
            total += float(value[best])
            left -= taken
        if step:
            pull = np.clip((taken - rate) / np.maximum(rate, 1e-9), -20.0, 20.0)
            prices[:] = np.maximum(prices * np.exp(step * pull), least)
    return total


def bound(found: Stream) -> float:
    """What could have been earned by somebody who knew the whole stream beforehand."""
    values = found.values * found.worth[found.hour.astype(np.int64)][:, None]
    return solve(values, found.costs, found.amounts, tolerance=1e-5).bound
