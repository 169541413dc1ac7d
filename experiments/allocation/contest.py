"""The contest: the same programme, the same budgets, several ways to share them out, judged by true effects."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from experiments.allocation import rivals, truth
from experiments.allocation.ground import Ground, ground
from experiments.allocation.learned import estimated, held_back
from experiments.allocation.truth import Economy, Floats
from experiments.worlds import World
from serving.prices import solve

MEMBERS, LOGGED = 40_000, 30_000
TIGHT = 0.5
"""Budgets are this share of what would be taken if everybody were given the best for them, by the knowable truth."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one way came to in one programme."""

    world: str
    seed: int
    way: str
    effects: str
    """Whose effects it went by: `learned`, `knowable`, or each member's `own`."""
    value: float
    """Money truly earned."""
    bound: float
    """The linear programme's value under the knowable truth, known to the oracle alone."""
    strict: float
    """The same under every member's own truth, which holds chance that no feature tells."""
    spent: tuple[float, float, float]
    """Share of each budget that was truly taken."""


def budgets(known: Economy) -> Floats:
    """Money, points and messages: a share of what the best for everybody would take, by the knowable truth."""
    best = known.value.argmax(axis=1)
    rows = np.flatnonzero(known.value.max(axis=1) > 0)
    found: Floats = np.array([TIGHT * float(table[rows, best[rows]].sum()) for table in known.costs])
    return found


def run(world: World, seed: int, folder: Path | None = None) -> list[Row]:
    """Make one programme, learn from its log, and let every way share the budgets out.

    Returns:
        A row for each way on learned effects, and for prices on the knowable and on each member's own effects.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = ground(world, seed, Path(place), members=MEMBERS, logged=LOGGED)
    seen = estimated(made)
    return judged(made, seed, seen, held_back(made, seen, budgets(truth.knowable(made.truth, made.world))))


def judged(made: Ground, seed: int, seen: Economy, planned: Floats | None = None) -> list[Row]:
    """The rows of one programme, given what was learned of it.

    Args:
        made: the programme.
        seed: its own.
        seen: what was learned.
        planned: (3,), what every way on learned effects plans with; None: all that there is.
    """
    own, known = truth.own(made.truth, made.world), truth.knowable(made.truth, made.world)
    amounts = budgets(known)
    planned = amounts if planned is None else planned
    strict, bound = (solve(one.value, one.costs, amounts).bound for one in (own, known))
    asked = [(name, way, "learned", seen) for name, way in rivals.WAYS.items()]
    asked += [("prices", rivals.by_prices, "knowable", known), ("prices", rivals.by_prices, "own", own)]
    found = []
    for name, way, whose, economy in asked:
        kept = rivals.kept(way(economy, planned if whose == "learned" else amounts), own, amounts)
        value = rivals.worth(kept, own)
        given = np.flatnonzero(kept >= 0)
        spent = [float(t[given, kept[given]].sum() / a) for t, a in zip(own.costs, amounts.tolist(), strict=True)]
        found.append(Row(made.world.name, seed, name, whose, value, bound, strict, (spent[0], spent[1], spent[2])))
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """A mean over programmes with its 95 % interval (Student's t), which `n` programmes bear."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.n > 1 else f"{self.mean:.3f}"


def reading(values: Sequence[float]) -> Reading:
    """Mean and interval of one figure for each programme."""
    many = np.asarray(values, np.float64)
    mean = float(many.mean())
    if len(many) < 2:
        return Reading(mean, float("nan"), float("nan"), len(many))
    half = float(stats.t.ppf(0.975, len(many) - 1) * many.std(ddof=1) / np.sqrt(len(many)))
    return Reading(mean, mean - half, mean + half, len(many))


def of(rows: Sequence[Row], way: str, effects: str, *, strict: bool = False) -> Reading:
    """Money earned as a share of the bound, over programmes."""
    mine = [one for one in rows if one.way == way and one.effects == effects]
    return reading([one.value / (one.strict if strict else one.bound) for one in mine])


def ahead(rows: Sequence[Row], way: str, other: str) -> Reading:
    """How far one way is ahead of another on learned effects, as a share of the bound, paired by programme."""
    value = {(one.way, one.seed): one.value / one.bound for one in rows if one.effects == "learned"}
    seeds = sorted({seed for _, seed in value})
    return reading([value[way, seed] - value[other, seed] for seed in seeds])
