"""What a candidate changes of the margin that comes after its reward window: a surrogate index on decisions by lot.

Nobody waits a year for the outcome of a decision. A decision drawn by lot is followed for some reward windows after its
own. From the past alone an index is fitted: the margin of the rest of a year, expected from what was known before and
from what came in such windows (the surrogates). The outcome is the margin that came while it was followed and the index
of the rest; the effect on it is learned as any other (Athey, Chetty, Imbens & Kang 2019, NBER 26463). The margin of the
decision's own window is not in it: that is the bill's first line.

What came in the own window, and what is known at its end, are left out of the surrogates on purpose: a basket that an
offer caused looks like one that came by itself, which says more of a member, and points that were given look like those
of somebody who spends. Counting them made points look worth twice what they were (`docs/results.md`).

Twice the effect is drawn to 0: differences between members are half believed (decision record 0016), and levels are
drawn to their type and to 0 by how far they stand out from their errors (`training.effects.zero`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.learned.effects import Effects
from training.effects import inputs
from training.effects.assembly import level_rows, spread
from training.effects.config import EffectConfig
from training.effects.inputs import Drawn, Floats
from training.effects.learner import learn, levels
from training.effects.pseudo import parameters, pseudo
from training.effects.shrinkage import shrink
from training.effects.zero import to_zero

_TREES, _LEAVES, _MIN_LEAF = 200, 15, 100
_USUAL = 0.01
"""Share of what is to come that one decision may well change; estimates less certain than that say next to nothing."""
_HIGHEST = 0.995
"""Margins above this place among members are taken for it: one great buyer must not teach the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Members at moments of the past, for the index. Rows need no lot."""

    features: Floats
    """(n, f), as known at that moment."""
    margins: Floats
    """(n, w): margin of each window after the next, NaN where it is taken not to have passed."""
    rest: Floats
    """(n,): margin from the last of those up to the horizon."""


@dataclass(frozen=True, slots=True)
class LaterStory:
    """What was found, for people."""

    units: int
    levels: tuple[tuple[str, float, float], ...]
    """Each arm's mean change in money and its standard error, as served."""
    raw: tuple[tuple[str, float, float], ...]
    """The same before it was drawn to 0."""


def learn_later(
    units: Drawn, margins: Floats, past: Past, names: tuple[str, ...], arms: tuple[str, ...], config: EffectConfig
) -> tuple[Effects, LaterStory]:
    """Effects on the margin after the window, in money.

    Args:
        units: drawn by lot, with features as before the decision; their outcome is not used.
        margins: (n, w), margin of each window after the own one; NaN where it has not passed, all NaN where a unit
            was not followed for long enough.
        past: what the index is fitted on.
        names: of the features.
        arms: candidate ids, doing nothing first.
        config: settings of the learner of effects.

    Raises:
        NothingToCompareError: no arm was drawn where doing nothing could have been drawn too.
        TooFewFollowedError: too few units have been followed.
    """
    there = np.flatnonzero(np.isfinite(margins).any(axis=1))
    nothing = int((units.arm[there] == 0).sum())
    others = len(there) - nothing
    if min(nothing, others) < config.enough:
        raise TooFewFollowedError(
            f"{others} decisions for a candidate and {nothing} for doing nothing were followed after "
            f"their window, at least {config.enough} of each are needed"
        )
    rest = index(np.column_stack([past.features, past.margins]), past.rest, config)
    mine = units.rows(there)
    came = np.nansum(margins[there], axis=1)
    came = np.minimum(came, np.quantile(came, _HIGHEST))
    to_come = rest.predict(np.column_stack([mine.features, margins[there]]))
    outcome = came + np.asarray(to_come, np.float64)
    mine = mine.with_outcome(outcome)
    form, _ = learn(mine, names, arms, config)
    form, raw = _drawn_to_zero(form, mine, arms, config)
    said = zip(arms[1:], form.level[1:].tolist(), np.sqrt(form.level_variance[1:]).tolist(), strict=False)
    return form, LaterStory(len(outcome), tuple(said), raw)


class TooFewFollowedError(ValueError):
    """Too few decisions were followed after their window."""


def index(features: Floats, margin: Floats, config: EffectConfig) -> Any:
    """Boosted trees of a margin to come, (n,), from features, (n, f)."""
    import lightgbm

    capped = np.minimum(margin, np.quantile(margin, _HIGHEST)) if len(margin) else margin
    settings = parameters(config, _LEAVES, min(_MIN_LEAF, max(1, len(margin) // 20)))
    return lightgbm.train(settings, lightgbm.Dataset(features, capped), num_boost_round=_TREES)


def _drawn_to_zero(
    form: Effects, units: Drawn, arms: tuple[str, ...], config: EffectConfig
) -> tuple[Effects, tuple[tuple[str, float, float], ...]]:
    """The same with levels drawn to 0 instead of what is common to all arms; and the estimates as they were."""
    seen = pseudo(units, inputs.parts(units.member, config.folds, config.seed), config)
    estimate, error = levels(units, seen)
    usable = np.flatnonzero(np.isfinite(estimate))
    group = tuple(units.groups[column + 1] for column in usable)
    inside = error[np.ix_(usable, usable)]
    common = shrink(estimate[usable], inside, group)
    mean, variance = to_zero(estimate[usable], inside, group, _USUAL * float(np.abs(units.outcome).mean()))
    rows = level_rows(usable, common.groups, units.groups)
    moved = form.level + spread(mean - common.mean, rows)
    said = [(arms[one + 1], float(estimate[one]), float(error[one, one] ** 0.5)) for one in usable.tolist()]
    return replace(form, level=moved, level_variance=spread(variance, rows)), tuple(said)
