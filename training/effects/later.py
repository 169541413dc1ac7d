"""What a candidate changes of the margin that comes after its reward window: a surrogate index on decisions by lot.

Nobody waits a year for the outcome of a decision. From the past alone an index is fitted: the margin of the rest of a
year, expected from what is known of a member at any moment (`Past`). What is known when a decision's window closes, the
surrogates, is put into it, and the effect on the index is learned from the decisions drawn by lot as any other effect
(Athey, Chetty, Imbens & Kang 2019, NBER 26463). The margin of the window itself is not in it: that is the bill's first
line.

Three times it is drawn to 0. Differences between members are half believed (decision record 0016). Levels are drawn to
their type and to 0 (`training.effects.zero`). And the index itself is believed only as far as it is borne out: it takes
a basket that an offer caused for one that came by itself, which says more of a member. So what it expects of the next
weeks is compared with what followed the same decisions (`borne_out`), and all effects are multiplied by that.
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

_PRIOR_MEAN, _PRIOR_SPREAD = 0.5, 0.5
"""Before anything followed, an index is half believed: neither that it holds (1) nor that it says nothing (0)."""
_TREES, _LEAVES, _MIN_LEAF = 200, 15, 100
_HIGHEST = 0.995
"""Margins above this place among members are taken for it: one great buyer must not teach the rest."""
_EVIDENCE = 1.0
"""Believed as far as it is borne out: where that lies less than this many errors above 0, nothing is."""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Members at moments of the past, for the index. Rows need no lot."""

    features: Floats
    """(n, f), as known at that moment."""
    year: Floats
    """(n,): margin from then on to the horizon."""
    soon: Floats
    """(n,): margin of the days that `Closed.followed` counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Closed:
    """The units of `Drawn` when their windows closed."""

    features: Floats
    """(n, f)"""
    followed: Floats
    """(n,): margin of the days after the window; NaN where they have not passed."""


@dataclass(frozen=True, slots=True)
class LaterStory:
    """How far the index was believed, for people."""

    borne_out: float
    """Posterior mean of what followed, as a multiple of what the index expected of the same days."""
    error: float
    seen: float
    """The same before half of it was assumed; NaN where nothing had followed yet."""
    seen_error: float
    levels: tuple[tuple[str, float, float], ...]
    """Each arm's mean change in money and its standard error, as served."""


def learn_later(
    units: Drawn, closed: Closed, past: Past, names: tuple[str, ...], arms: tuple[str, ...], config: EffectConfig
) -> tuple[Effects, LaterStory]:
    """Effects on the margin after the window, in money.

    Args:
        units: drawn by lot, with features as before the decision; their outcome is not used.
        closed: the same rows when their windows had closed.
        past: what the index is fitted on.
        names: of the features.
        arms: candidate ids, doing nothing first.
        config: settings of the learner of effects.

    Raises:
        NothingToCompareError: no arm was drawn where doing nothing could have been drawn too.
    """
    year = index(past.features, past.year, config)
    mine = units.with_outcome(np.asarray(year.predict(closed.features), np.float64))
    form, _ = learn(mine, names, arms, config)
    form = _drawn_to_zero(form, mine, config)
    seen, seen_error = _followed(units, closed, past, names, arms, config)
    kept, error = believed(seen, seen_error)
    form = scaled(form, kept, error)
    said = zip(arms[1:], form.level[1:].tolist(), np.sqrt(form.level_variance[1:]).tolist(), strict=False)
    return form, LaterStory(kept, error, seen, seen_error, tuple(said))


def index(features: Floats, margin: Floats, config: EffectConfig) -> Any:
    """Boosted trees of a margin to come, (n,), from features, (n, f)."""
    import lightgbm

    capped = np.minimum(margin, np.quantile(margin, _HIGHEST)) if len(margin) else margin
    settings = parameters(config, _LEAVES, min(_MIN_LEAF, max(1, len(margin) // 20)))
    return lightgbm.train(settings, lightgbm.Dataset(features, capped), num_boost_round=_TREES)


def believed(seen: float, error: float) -> tuple[float, float]:
    """Posterior mean and error of the share of the index that holds, from what followed; between 0 and 1.

    Args:
        seen: what followed as a multiple of what was expected; NaN where nothing is known.
        error: its standard error.
    """
    if not np.isfinite(seen) or not np.isfinite(error) or error <= 0:
        return _PRIOR_MEAN, _PRIOR_SPREAD
    mine, theirs = 1 / _PRIOR_SPREAD**2, 1 / error**2
    mean = (mine * _PRIOR_MEAN + theirs * seen) / (mine + theirs)
    spread_ = float((mine + theirs) ** -0.5)
    return (float(np.clip(mean, 0.0, 1.0)) if mean > _EVIDENCE * spread_ * (error < 1) else 0.0), spread_


def scaled(form: Effects, share: float, error: float) -> Effects:
    """All effects times a share that is itself uncertain."""
    return replace(
        form,
        level=form.level * share,
        level_variance=form.level_variance * (share**2 + error**2) + (form.level * error) ** 2,
        slope=form.slope * share,
        slope_variance=form.slope_variance * share**2,
        own=form.own * share,
    )


def _drawn_to_zero(form: Effects, units: Drawn, config: EffectConfig) -> Effects:
    """The same with levels drawn to 0 instead of what is common to all arms."""
    seen = pseudo(units, inputs.parts(units.member, config.folds, config.seed), config)
    raw, error = levels(units, seen)
    usable = np.flatnonzero(np.isfinite(raw))
    group = tuple(units.groups[column + 1] for column in usable)
    inside = error[np.ix_(usable, usable)]
    common = shrink(raw[usable], inside, group)
    mean, variance = to_zero(raw[usable], inside, group)
    rows = level_rows(usable, common.groups, units.groups)
    return replace(
        form,
        level=form.level + spread(mean - common.mean, rows),
        level_variance=spread(variance, rows),
    )


def _followed(
    units: Drawn, closed: Closed, past: Past, names: tuple[str, ...], arms: tuple[str, ...], config: EffectConfig
) -> tuple[float, float]:
    """What followed as a multiple of what an index of the same days expected of the decision, and its error."""
    there = np.isfinite(closed.followed)
    if there.sum() < 2 * config.enough or not past.soon.any():
        return float("nan"), float("nan")
    soon = index(past.features, past.soon, config)
    some = units.rows(there)
    expected = some.with_outcome(np.asarray(soon.predict(closed.features[there]), np.float64))
    told = learn(expected, names, arms, config)[1].told
    real = some.with_outcome(np.minimum(closed.followed[there], np.quantile(closed.followed[there], _HIGHEST)))
    seen = pseudo(real, inputs.parts(some.member, config.folds, config.seed), config)
    guess = (seen.share * told).sum(axis=1)
    weight = seen.mixed_weight * seen.certain
    below = float(weight @ guess**2)
    if below <= 0:
        return float("nan"), float("nan")
    ratio = float((weight * guess) @ seen.mixed) / below
    pulls = np.bincount(some.member, weight * guess * (seen.mixed - ratio * guess) / below)
    return ratio, float(np.sqrt((pulls**2).sum()))
