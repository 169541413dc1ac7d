"""The learner of effects: from units drawn by lot to what each candidate causes for whom.

1. What each unit says of each arm (`pseudo`). 2. Levels: the mean of it for each arm. 3. One direction in which members
differ (`direction`), learned from all arms together, as the arms of one programme move the same people. 4. How far each
arm follows it. 5. What differs for one arm alone. Levels and slopes are drawn to the arm's group (`shrinkage`), and
differences between members are taken only as far as members left out bear them out, because a decision takes the
highest of many estimates and so the luckiest error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from features.entities import DO_NOTHING
from features.learned import from_lightgbm
from features.learned.effects import Effects
from training.effects import inputs
from training.effects.answers import Answers, chances_of, learn_answers
from training.effects.assembly import Parts, assembled, calibrated
from training.effects.config import EffectConfig
from training.effects.direction import Direction, Places, columns, direction, places, ridge
from training.effects.inputs import Drawn, Floats, Whole
from training.effects.pseudo import Pseudo, outcome_model, pseudo
from training.effects.shrinkage import Shrunk, shrink


class NothingToCompareError(ValueError):
    """No arm was drawn where doing nothing could have been drawn too."""


@dataclass(frozen=True, slots=True)
class Story:
    """What was found on the way, for people."""

    shape: str
    """In which shape members differ; see `training.effects.direction`."""
    borne_out: float
    """0 … 1: how much of the difference between members was kept."""
    t: float
    """The slope of the direction on members left out, over its standard error."""
    gains: dict[str, tuple[float, float]] = field(default_factory=dict)
    own: float = 0.0
    """The ridge of what differs for single arms; 0 where nothing of that was kept."""
    direct: float = 1.0
    """Weight of what the outcome itself says of members' differences."""
    answered: float = 0.0
    """Weight of what answers say of them."""
    told: Floats = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """(n, k − 1): effects of the units, from other members."""


def fit(
    features: Floats,
    arm: Whole,
    chances: Floats,
    outcome: Floats,
    config: EffectConfig | None = None,
    groups: Sequence[str] | None = None,
    *,
    member: Whole | None = None,
    feature_names: Sequence[str] | None = None,
    arms: Sequence[str] | None = None,
    responded: Floats | None = None,
) -> Effects:
    """Learn effects, in units of `outcome`.

    Args:
        features: (n, f), as known before the decision; NaN where missing.
        arm: (n,), what was drawn; 0 is doing nothing.
        chances: (n, k), logged probability of each arm; 0 or NaN where it was not possible.
        outcome: (n,).
        config: settings.
        groups: (k,), the type of each arm, that of doing nothing included; None: each its own.
        member: (n,), rows of one member hang together; None: each row another member.
        feature_names: (f,).
        arms: (k,), ids; None numbers them.
        responded: (n,), 1 where what was given was accepted or redeemed; says more of effects, and makes
            `.everything(features).response`.

    Returns:
        `.predict(features)` → effects and standard errors, (n, k) each, with 0 for doing nothing; and in the same form
        what a new arm of each group starts from (`.row`, `.predict_one`).

    Raises:
        ValueError: what was given does not fit together.
    """
    units = inputs.drawn(features, arm, chances, outcome, None if groups is None else tuple(groups), member)
    names = tuple(feature_names or (f"f{each}" for each in range(features.shape[1])))
    ids = tuple(arms or (DO_NOTHING.id, *(str(each) for each in range(1, chances.shape[1]))))
    return learn(units, names, ids, config or EffectConfig(), responded)[0]


def learn(
    units: Drawn,
    feature_names: tuple[str, ...],
    arms: tuple[str, ...],
    config: EffectConfig,
    responded: Floats | None = None,
) -> tuple[Effects, Story]:
    """As `fit`, and what was found on the way."""
    bare = units
    part = inputs.parts(units.member, config.folds, config.seed)
    expected = from_lightgbm(outcome_model(units, config).model_to_string())
    seen = pseudo(units, part, config)
    raw, error = levels(units, seen)
    usable = np.flatnonzero(np.isfinite(raw))
    if not len(usable):
        raise NothingToCompareError("effects: no arm was drawn beside doing nothing, with a chance for both")
    units = replace(units, features=np.column_stack([units.features, seen.expected]))
    place = places(units.features)
    pooled = np.where(np.isfinite(raw), raw, 0.0)
    target = np.where(seen.mixed_weight > 0, seen.mixed - seen.share @ pooled, 0.0)
    found = direction(units, seen, target, place, config)
    group = tuple(units.groups[column + 1] for column in usable)
    level = shrink(raw[usable], error[np.ix_(usable, usable)], group)
    slope, kept, t = _slopes(units, seen, found, usable, group, config)
    told = _told(seen, found, pooled, slope, kept, usable)
    own, strength = _own(units, seen, told, place, usable, config)
    answers = None if responded is None else learn_answers(bare, place.ranks, responded, seen, config)
    told, mine, theirs, assumed = _both_views(units, seen, told, pooled, answers, config)
    form = assembled(
        Parts(seen, place, found, usable, level, slope, kept * mine, own, mine, expected, answers, theirs, assumed),
        (feature_names, arms, units.groups),
        units.features,
    )
    if answers is not None and responded is not None:
        form = calibrated(form, units, told, answers, responded)
    story = Story(found.shape if kept else "constant", kept, t, found.gains, strength, mine, theirs, told)
    return form, story


def _both_views(
    units: Drawn, seen: Pseudo, told: Floats, level: Floats, answers: Answers | None, config: EffectConfig
) -> tuple[Floats, float, float, float]:
    """Effects on members left out; how much of each of the two views enters; and how much of τ = ρ·p.

    What neither view bears out is taken to be in proportion to the chance of an answer, the same share of which is
    caused for everybody. Were it the same effect for everybody, those who hardly answer would seem the best bargain.
    Part of what they do bear out is taken so too (`proportional`): three guesses with errors of their own beat two.
    """
    if answers is None:
        return told, 1.0, 0.0, 0.0
    one, two = told - level, answers.view - _means(seen, answers.view)
    both = (one + two) / 2
    pooled, t = _borne_out(units, seen, (seen.share * both).sum(axis=1))
    believed = t**2 / (t**2 + config.evidence**2) if t > 0 else 0.0
    half = believed * min(_STEEPEST, pooled) / 2 if t > 0 else 0.0
    chance = chances_of(answers.left_out[:, 1:])
    usual = _means(seen, chance)
    assumed = np.where(usual > 0, level / np.maximum(usual, 1e-9), 0.0) * (chance - usual)
    half *= 1 - config.proportional
    rest = 1 - believed * (1 - config.proportional)
    return level + 2 * half * both + rest * assumed, half, half, rest


def _means(seen: Pseudo, values: Floats) -> Floats:
    found: Floats = (seen.weight * values).sum(axis=0) / np.maximum(seen.weight.sum(axis=0), 1e-12)
    return found


_STEEPEST = 2.0
"""Half of two views says half of what only one of them sees; more than twice is not believed."""


def levels(units: Drawn, seen: Pseudo) -> tuple[Floats, Floats]:
    """Mean effect of each arm, NaN where nothing can be said, and the covariance of its errors, by members."""
    k = seen.said.shape[1]
    total: Floats = seen.weight.sum(axis=0)
    got = np.bincount(units.arm, minlength=k + 1) > 1
    both = (total > 0) & got[1:] & got[0]
    mean: Floats = np.divide((seen.weight * seen.said).sum(axis=0), total, out=np.full(k, np.nan), where=both)
    pulls = np.where(both, seen.weight * (seen.said - np.nan_to_num(mean)) / np.where(total > 0, total, 1.0), 0.0)
    return mean, _covariance(pulls, units.member)


def _covariance(pulls: Floats, member: Whole) -> Floats:
    together: Floats = np.stack([np.bincount(member, column) for column in pulls.T], axis=1)
    found: Floats = together.T @ together
    return found


def _slopes(
    units: Drawn, seen: Pseudo, found: Direction, usable: Whole, group: tuple[str, ...], config: EffectConfig
) -> tuple[Shrunk | None, float, float]:
    """How far each arm follows the direction on members left out, the share of that to keep, and its t."""
    if found.shape == "constant":
        return None, 0.0, 0.0
    weight = seen.weight[:, usable] * seen.certain[:, None]
    aside = found.left_out[:, None] - _middle(weight, found.left_out)
    below = (weight * aside**2).sum(axis=0)
    if not (below > 0).all():
        return None, 0.0, 0.0
    beyond = seen.said[:, usable] - _middle(weight, seen.said[:, usable])
    raw = (weight * aside * beyond).sum(axis=0) / below
    pulls = weight * aside * (beyond - raw * aside) / below
    slope = shrink(raw, _covariance(pulls, units.member), group)
    pooled, t = _borne_out(units, seen, found.left_out)
    # A slope above 1 would say more than was learned; it only ever shrinks.
    kept = t**2 / (t**2 + config.evidence**2) * min(1.0, 1.0 / pooled) if t > 0 else 0.0
    return (slope, kept, t) if kept else (None, 0.0, t)


def _borne_out(units: Drawn, seen: Pseudo, left_out: Floats) -> tuple[float, float]:
    """Slope of all arms together along the direction on members left out, and its t."""
    weight = seen.mixed_weight * seen.certain
    aside = left_out - weight @ left_out / weight.sum()
    beyond = seen.mixed - weight @ seen.mixed / weight.sum()
    below = float(weight @ aside**2)
    slope = float((weight * aside) @ beyond) / below
    pulls = np.bincount(units.member, weight * aside * (beyond - slope * aside) / below)
    return slope, slope / max(float(np.sqrt((pulls**2).sum())), 1e-300)


def _middle(weight: Floats, values: Floats) -> Floats:
    """Weighted mean for each column of `weight`; `values` are (n,) or one column for each."""
    found: Floats = (weight * (values[:, None] if values.ndim == 1 else values)).sum(axis=0) / weight.sum(axis=0)
    return found


def _told(seen: Pseudo, found: Direction, level: Floats, slope: Shrunk | None, kept: float, usable: Whole) -> Floats:
    """(n, k − 1): effects so far, on members left out."""
    told = np.tile(level, (len(seen.mixed), 1))
    if slope is not None:
        aside = found.left_out[:, None] - _middle(seen.weight[:, usable], found.left_out)
        told[:, usable] += kept * slope.mean[: len(usable)] * aside
    return told


def _own(
    units: Drawn, seen: Pseudo, told: Floats, place: Places, usable: Whole, config: EffectConfig
) -> tuple[Floats | None, float]:
    """(k − 1, 2f) and the ridge: what differs for one arm beside the others; None where members left out deny it."""
    k = seen.said.shape[1]
    if len(usable) < 2:
        return None, 0.0
    apart = np.where(seen.weight > 0, seen.said - told - (seen.mixed - (seen.share * told).sum(axis=1))[:, None], 0.0)
    weight = np.where(seen.weight > 0, seen.share, 0.0) * seen.certain[:, None]
    strengths = tuple(10 * each for each in config.ridges)
    best: tuple[float, float, float, Whole] = (0.0, 0.0, 0.0, np.zeros(0, np.int64))
    for some in columns(place).values():
        gain = _own_gain(seen, apart, weight, place.basis[:, some], usable, strengths)
        number = int(gain.sum(axis=1).argmax())
        by_member = np.bincount(units.member, gain[number])
        total = float(by_member.sum())
        if total > best[0]:
            best = (total, total / float(np.sqrt((by_member**2).sum())), strengths[number], some)
    total, t, strength, some = best
    if total <= 0 or t <= config.evidence:
        return None, 0.0
    own = np.zeros((k, place.basis.shape[1]))
    for column in usable:
        own[column, some] = ridge(place.basis[:, some], apart[:, column], weight[:, column], (strength,))[:, 0]
    return own * t**2 / (t**2 + config.evidence**2), strength


def _own_gain(
    seen: Pseudo, apart: Floats, weight: Floats, rows: Floats, usable: Whole, strengths: tuple[float, ...]
) -> Floats:
    """(n_strengths, n): how much each row's loss falls on members left out."""
    gain = np.zeros((len(strengths), len(apart)))
    for each in np.unique(seen.part):
        learn, rest = seen.part != each, seen.part == each
        for column in usable:
            w = weight[:, column]
            guess = rows[rest] @ ridge(rows[learn], apart[learn, column], w[learn], strengths)
            gain[:, rest] += (w[rest, None] * (2 * apart[rest, column, None] * guess - guess**2)).T
    return gain
