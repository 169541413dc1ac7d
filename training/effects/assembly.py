"""What was learned, put into the form that serves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from features.learned.answering import Answering
from features.learned.effects import EXPECTED, NEW, Effects
from features.learned.trees import Trees
from training.effects.answers import Answers, calibration, chances_of
from training.effects.direction import Direction, Places, no_trees
from training.effects.inputs import Drawn, Floats, Whole
from training.effects.pseudo import Pseudo
from training.effects.shrinkage import Shrunk


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """All that the learner found."""

    seen: Pseudo
    place: Places
    found: Direction
    usable: Whole
    """Columns of ψ about which something can be said."""
    level: Shrunk
    slope: Shrunk | None
    kept: float
    """Factor on the slopes."""
    own: Floats | None
    own_share: float
    expected: Trees
    answers: Answers | None
    answer_share: float
    """Weight of what answers say of members' differences."""
    assumed_share: float
    """Weight of effects in proportion to the chance of an answer."""


def assembled(parts: Parts, names: tuple[tuple[str, ...], ...], features: Floats) -> Effects:
    """Put it together: doing nothing, the arms, a new arm of each group, a new one of a new group.

    Args:
        parts: what was learned.
        names: of the features (without EXPECTED), the arms, and their groups.
        features: (n, f + 1), of the rows learned from.
    """
    feature_names, arms, groups = names
    level, slope, usable, place = parts.level, parts.slope, parts.usable, parts.place
    rows = level_rows(usable, level.groups, groups)
    weight = parts.seen.weight[:, usable]
    h = parts.found.at(features, place) if parts.kept else np.zeros(len(features))
    middle = (weight * h[:, None]).sum(axis=0) / weight.sum(axis=0)
    many = len(level.mean)
    alone = np.zeros((many, place.basis.shape[1]))
    mean = level.mean.copy()
    if parts.own is not None:
        alone[: len(usable)] = parts.own[usable] * parts.own_share
        inside = (weight.T @ place.basis) / weight.sum(axis=0)[:, None]
        mean[: len(usable)] -= (alone[: len(usable)] * inside).sum(axis=1)
    width = len(feature_names)
    all_groups = (*groups, *level.groups, NEW)
    return Effects(
        feature_names=np.array(feature_names, np.str_),
        arms=np.array([*arms, *[NEW] * (len(rows) - len(arms))], np.str_),
        groups=np.array(all_groups, np.str_),
        knots=place.knots,
        places=place.places,
        level=spread(mean, rows),
        level_variance=spread(level.variance, rows),
        slope=spread(np.zeros(many) if slope is None else slope.mean * parts.kept, rows),
        slope_variance=spread(np.zeros(many) if slope is None else slope.variance * parts.kept**2, rows),
        centre=spread(np.concatenate((middle, np.full(many - len(usable), middle.mean()))), rows),
        weight=parts.found.weight if parts.kept else np.zeros_like(parts.found.weight),
        own=spread(alone, rows),
        trees=_named(parts.found.trees if parts.kept else no_trees(width + 1), (*feature_names, EXPECTED)),
        expected=_named(parts.expected, feature_names),
        answers=_answering(parts, feature_names, all_groups, spread(level.mean, rows)),
    )


def calibrated(form: Effects, units: Drawn, told: Floats, answers: Answers, responded: Floats) -> Effects:
    """The same with chances of an answer that hold, on members left out."""
    given = np.flatnonzero(units.arm > 0)
    arm = units.arm[given]
    known = units.chances.shape[1]
    line = calibration(answers.left_out[given, arm], told[given, arm - 1], responded[given], arm, known)
    new = np.tile(line[0], (len(form.groups) - known, 1))
    return replace(form, answers=replace(form.answers, line=np.concatenate((line, new))))


def _answering(parts: Parts, feature_names: tuple[str, ...], groups: tuple[str, ...], level: Floats) -> Answering:
    """Rows as in the form; a new arm has the shift of none, and the share of answers caused that all have."""
    k, width, found = len(groups), len(feature_names), parts.answers
    if found is None:
        none = np.zeros(k)
        nobody = np.zeros(0, np.str_)
        return Answering(
            no_trees(width), nobody, np.full(k, -1), none, np.zeros((k, 4)), none, np.zeros(width + 1), none
        )
    known = len(found.shift)
    view = _for_all_rows(parts, groups, found.view)
    usual = _for_all_rows(parts, groups, chances_of(found.left_out[:, 1:]))
    assumed = parts.assumed_share * np.divide(level, usual, out=np.zeros(k), where=usual > 0)
    ratio = np.concatenate((found.ratio, np.full(k - known, float(found.ratio[1:].mean()))))
    return Answering(
        trees=_named(found.trees, (*feature_names, *found.groups)),
        groups=np.array(found.groups, np.str_),
        column=np.array([found.groups.index(one) if one in found.groups else -1 for one in groups], np.int64),
        shift=np.concatenate((found.shift, np.zeros(k - known))),
        line=np.tile([0.0, 1.0, 0.0, 0.0], (k, 1)),
        ratio=parts.answer_share * ratio + assumed,
        ranks=parts.answer_share * found.ranks,
        middle=parts.answer_share * view + assumed * usual,
        share=1.0,
    )


def _for_all_rows(parts: Parts, groups: tuple[str, ...], values: Floats) -> Floats:
    """(k,): the mean of an arm's column, for a new arm that of its group, else of all; 0 for doing nothing."""
    weight = parts.seen.weight
    mean = (weight * values).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-12)
    every = float(mean[parts.usable].mean())
    found = [0.0]
    for row, group in enumerate(groups[1:]):
        own = [float(mean[each]) for each in parts.usable if groups[each + 1] == group]
        found.append(float(mean[row]) if row in parts.usable else float(np.mean(own)) if own else every)
    return np.array(found)


def level_rows(usable: Whole, known_groups: tuple[str, ...], groups: tuple[str, ...]) -> list[int]:
    """For each row of the form its row among what was shrunk, −1 for doing nothing; a bare arm starts as its group."""
    learned = {int(column) + 1: row for row, column in enumerate(usable)}
    new = {group: len(usable) + row for row, group in enumerate(known_groups)}
    any_new = len(usable) + len(known_groups)
    arms = [learned.get(arm, new.get(groups[arm], any_new)) for arm in range(1, len(groups))]
    return [-1, *arms, *new.values(), any_new]


def spread(values: Floats, rows: list[int]) -> Floats:
    """Values of what was shrunk, put into the rows of the form."""
    found: Floats = np.concatenate((values, np.zeros_like(values[:1])))[rows]
    return found


def _named(trees: Trees, names: tuple[str, ...]) -> Trees:
    return replace(trees, feature_names=np.array(names, np.str_))
