"""Every slate that a decision could have been, with its chance: by going down every way the draws can fall."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from features.entities import Catalog
from serving import slate
from serving.assignment import NONE
from serving.decide import appraise
from serving.policy import Policy
from serving.slate import Drawn
from serving.snapshot import Ask, Decision, Learned, Snapshot

Slate = tuple[str, ...]


def of(decision: Decision | Drawn) -> Slate:
    """A slate as a key."""
    if isinstance(decision, Decision):
        return tuple(f"{one.placement}/{one.rank}/{one.id}" for one in decision.results)
    given = [(one, one.candidate.id if one.candidate else "do_nothing") for one in decision.choices]
    return tuple(f"{one.placement}/{one.rank}/{name}" for one, name in given)


class _Walk:
    """Takes the place of the draw: goes the way given, then always the first, and notes the ways it left aside."""

    def __init__(self, way: tuple[int, ...]) -> None:
        self.way, self.gone, self.chance = way, (), 1.0
        self.others: list[tuple[int, ...]] = []

    way: tuple[int, ...]
    gone: tuple[int, ...]

    def draw(self, chances: Sequence[float], _: float) -> int:
        options = [index for index, each in enumerate(chances) if each > 0.0]
        if len(self.gone) < len(self.way):
            chosen = self.way[len(self.gone)]
        else:
            chosen, *others = options
            self.others += [(*self.gone, other) for other in others]
        self.gone = (*self.gone, chosen)
        self.chance *= chances[chosen]
        return chosen


def slates(
    snapshot: Snapshot, asked: Ask, learned: Learned, catalog: Catalog, policy: Policy, fell: float | None = None
) -> tuple[dict[Slate, float], dict[Slate, float]]:
    """Slate → its chance, from the chances of the draws and of the floor alone; and slate → what would be logged.

    `fell` is the chance that the floor fell, where more is known of it than its share.
    """
    seen = appraise(snapshot, asked, learned, catalog, policy, NONE)
    floor = policy.families[asked.family].do_nothing_floor if fell is None else fell
    true: dict[Slate, float] = {}
    logged: dict[Slate, float] = {}
    ways: list[tuple[bool, tuple[int, ...], float]] = [(False, (), 1.0 - floor), *[(True, (), floor)] * (floor > 0)]
    while ways:
        falls, way, before = ways.pop()
        walk = _Walk(way)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slate, "draw", walk.draw)
            patch.setattr(slate, "nothing_is_drawn", lambda *_, falls=falls: falls)
            drawn = slate.arrange(seen.allowed, snapshot, asked, policy, held_out=seen.held_out)
        ways += [(falls, other, before) for other in walk.others]
        name = of(drawn)
        true[name] = true.get(name, 0.0) + before * walk.chance
        logged[name] = math.prod(one.probability for one in drawn.choices)
    return true, logged


def chi_square(observed: Mapping[Slate, int], chances: Mapping[Slate, float], least: float = 5.0) -> tuple[float, int]:
    """The statistic and its degrees of freedom; slates expected fewer than `least` times are counted together."""
    n = sum(observed.values())
    assert set(observed) <= {name for name, chance in chances.items() if chance > 0.0}
    often = [name for name, chance in chances.items() if n * chance >= least]
    rest = 1.0 - math.fsum(chances[name] for name in often)
    cells = [(observed.get(name, 0), n * chances[name]) for name in often]
    if n * rest >= least:
        cells.append((n - sum(observed.get(name, 0) for name in often), n * rest))
    return sum((seen - wanted) ** 2 / wanted for seen, wanted in cells), len(cells) - 1


def p_value(found: Sequence[tuple[float, int]]) -> float:
    """Of independent statistics together."""
    return float(stats.chi2.sf(sum(one for one, _ in found), sum(freedom for _, freedom in found)))


def drawn_as_logged(rows: Sequence[tuple[str, Mapping[str, float]]]) -> tuple[float, int]:
    """Whether draws with chances of their own come as these say: candidate drawn, and candidate → chance.

    The sum of what came less what was to be expected, against its covariance (a martingale along the rows; Wald's
    statistic), over candidates expected at least five times.
    """
    expected: Counter[str] = Counter()
    for _, chances in rows:
        expected.update({name: chance for name, chance in chances.items() if chance > 0.0})
    names = {name: place for place, name in enumerate(sorted(one for one, much in expected.items() if much >= 5.0))}
    beyond, spread = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for given, chances in rows:
        assert chances[given] > 0.0
        mine = np.zeros(len(names))
        for name, chance in chances.items():
            if name in names:
                mine[names[name]] = chance
        beyond -= mine
        if given in names:
            beyond[names[given]] += 1.0
        spread += np.diag(mine) - np.outer(mine, mine)
    values, vectors = np.linalg.eigh(spread)
    kept = values > 1e-8 * max(values.max(initial=0.0), 1.0)
    return float((((vectors[:, kept].T @ beyond) ** 2) / values[kept]).sum()), int(kept.sum())
