"""The direction in which members differ: who gains more from any of the arms, and who less.

Several shapes compete on members left out: none; along what they do anyway; linear in the places of all their
features, by ridge; shallow boosted trees; the last two by halves. The loss is that of the DR-learner, `Σ w (ψ − h)²`,
weighted by what a unit can say, which is the R-learner's for one arm (Nie & Wager 2021). What wins is then taken as far
as its slope on members left out bears it, and not at all where the slope may be chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.learned import from_lightgbm
from features.learned.effects import basis
from features.learned.trees import Trees
from training.effects.config import EffectConfig
from training.effects.inputs import Drawn, Floats, Whole
from training.effects.pseudo import Pseudo, parameters

_KNOTS = 21


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where each feature's values stand among members, and the rows seen so."""

    knots: Floats
    places: Floats
    basis: Floats
    """(n, 2f)"""

    @property
    def ranks(self) -> Floats:
        """(n, f): the places alone."""
        return self.basis[:, : len(self.knots)]


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """What won."""

    shape: str
    """constant, expected, linear, boosted or blended."""
    left_out: Floats
    """(n,): h of each row, from other members."""
    weight: Floats
    """(2f,)"""
    trees: Trees
    gains: dict[str, tuple[float, float]]
    """Shape → how much of the loss it explains on members left out, and the standard error of that."""

    def at(self, features: Floats, place: Places) -> Floats:
        """(n,): h of the rows learned from."""
        grown = self.trees.raw(features) if len(self.trees.split_starts) > 1 else 0.0
        found: Floats = place.basis @ self.weight + grown
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    shape: str
    left_out: Floats
    refit: Callable[[], tuple[Floats, Trees]]


def places(features: Floats) -> Places:
    """Quantiles of each feature; a constant one has no place but the middle."""
    grid = np.linspace(0.0, 1.0, _KNOTS)
    knots, where = [], []
    for column in features.T:
        known = column[np.isfinite(column)]
        found = np.quantile(known, grid) if len(known) else np.zeros(_KNOTS)
        values, at = np.unique(found, return_inverse=True)
        middle = np.bincount(at, weights=2 * grid - 1) / np.bincount(at)
        more = _KNOTS - len(values)
        step = max(abs(float(values[-1])), 1.0)
        knots.append(np.concatenate((values, values[-1] + step * np.arange(1, more + 1))))
        where.append(np.concatenate((middle, np.full(more, middle[-1]))))
    tables = np.array(knots).reshape(-1, _KNOTS), np.array(where).reshape(-1, _KNOTS)
    return Places(*tables, basis(features, *tables))


def no_trees(names: int) -> Trees:
    """A form of no trees at all."""
    whole, real = np.zeros(0, np.int32), np.zeros(0)
    start = np.zeros(1, np.int32)
    return Trees(
        np.array([f"f{each}" for each in range(names)], np.str_), start, start, whole, real, np.zeros(0, np.int8),
        np.zeros(0, np.bool_), whole, whole, real, real, real,
    )  # fmt: skip


def direction(units: Drawn, seen: Pseudo, target: Floats, place: Places, config: EffectConfig) -> Direction:
    """Let the shapes compete for `target`, ψ of all arms together less their levels."""
    weight = seen.mixed_weight * seen.certain
    target = target - weight @ target / max(float(weight.sum()), 1e-12)
    before = weight * target**2
    scored: dict[str, tuple[float, float, _Candidate]] = {}
    for one in _candidates(units, seen, target, place, config):
        _keep_best(scored, one, before - weight * (target - one.left_out) ** 2, units)
    blend = _blend(scored["linear"][2], scored["boosted"][2])
    _keep_best(scored, blend, before - weight * (target - blend.left_out) ** 2, units)
    gains = {"constant": (0.0, 0.0)} | {shape: (gain, error) for shape, (gain, error, _) in scored.items()}
    gain, _, best = max(scored.values(), key=lambda each: each[0])
    if gain <= 0:
        width = units.features.shape[1]
        return Direction("constant", np.zeros(len(target)), np.zeros(2 * width), no_trees(width), gains)
    return Direction(best.shape, best.left_out, *best.refit(), gains)


def _keep_best(scored: dict[str, tuple[float, float, _Candidate]], one: _Candidate, gain: Floats, units: Drawn) -> None:
    total, error = float(gain.sum()), float(np.sqrt((np.bincount(units.member, gain) ** 2).sum()))
    if one.shape not in scored or total > scored[one.shape][0]:
        scored[one.shape] = (total, error, one)


def _blend(linear: _Candidate, boosted: _Candidate) -> _Candidate:
    """Half of each: their errors differ."""

    def refit() -> tuple[Floats, Trees]:
        return linear.refit()[0] / 2, scaled(boosted.refit()[1], 0.5)

    return _Candidate("blended", (linear.left_out + boosted.left_out) / 2, refit)


def _candidates(
    units: Drawn, seen: Pseudo, target: Floats, place: Places, config: EffectConfig
) -> Iterator[_Candidate]:
    for shape in columns(place):
        yield from _linear(shape, seen, target, place, config)
    yield from _boosted(units, seen, target, config)


def scaled(trees: Trees, factor: float) -> Trees:
    """The same trees with all answers multiplied."""
    return Trees(
        trees.feature_names, trees.split_starts, trees.leaf_starts, trees.feature, trees.threshold, trees.missing,
        trees.default_left, trees.left, trees.right, trees.split_value * factor, trees.leaf_value * factor,
        trees.leaf_count,
    )  # fmt: skip


def columns(place: Places) -> Mapping[str, Whole]:
    """Shape → columns of φ it is linear in. The last feature is the outcome expected anyway."""
    width = place.basis.shape[1]
    return {"expected": np.array([width // 2 - 1, width - 1]), "linear": np.arange(width)}


def _linear(shape: str, seen: Pseudo, target: Floats, place: Places, config: EffectConfig) -> Iterator[_Candidate]:
    weight, some = seen.mixed_weight * seen.certain, columns(place)[shape]
    rows, width = place.basis[:, some], place.basis.shape[1]
    found = np.zeros((len(config.ridges), len(target)))
    for each in np.unique(seen.part):
        learn = seen.part != each
        found[:, ~learn] = (rows[~learn] @ ridge(rows[learn], target[learn], weight[learn], config.ridges)).T
    for number, strength in enumerate(config.ridges):

        def refit(strength: float = strength) -> tuple[Floats, Trees]:
            whole = np.zeros(width)
            whole[some] = ridge(rows, target, weight, (strength,))[:, 0]
            return whole, no_trees(width // 2)

        yield _Candidate(shape, found[number], refit)


def ridge(rows: Floats, target: Floats, weight: Floats, strengths: tuple[float, ...]) -> Floats:
    """Coefficients (p, n_strengths) of weighted ridges, the rows taken as they are off their mean."""
    total = max(float(weight.sum()), 1e-12)
    aside = rows - weight @ rows / total
    gram = (aside * weight[:, None]).T @ aside / total
    pull = (aside * weight[:, None]).T @ (target - weight @ target / total) / total
    values, vectors = np.linalg.eigh(gram)
    unit = max(float(np.trace(gram)) / len(gram), 1e-12)
    turned = vectors.T @ pull
    found: Floats = vectors @ np.stack([turned / (np.maximum(values, 0) + each * unit) for each in strengths], axis=1)
    return found


def _boosted(units: Drawn, seen: Pseudo, target: Floats, config: EffectConfig) -> Iterator[_Candidate]:
    weight, most = seen.mixed_weight * seen.certain, max(config.rounds)
    for leaves in config.shallow_leaves:
        found = np.zeros((len(config.rounds), len(target)))
        for each in np.unique(seen.part):
            learn = seen.part != each
            model = _grown(units.features[learn], target[learn], weight[learn], leaves, most, config)
            for number, rounds in enumerate(config.rounds):
                found[number, ~learn] = model.predict(units.features[~learn], num_iteration=rounds)
        for number, rounds in enumerate(config.rounds):

            def refit(leaves: int = leaves, rounds: int = rounds) -> tuple[Floats, Trees]:
                model = _grown(units.features, target, weight, leaves, rounds, config)
                return np.zeros(2 * units.features.shape[1]), from_lightgbm(model.model_to_string())

            yield _Candidate("boosted", found[number], refit)


def _grown(features: Floats, target: Floats, weight: Floats, leaves: int, rounds: int, config: EffectConfig) -> Any:
    import lightgbm

    keep = weight > 0
    data = lightgbm.Dataset(features[keep], target[keep], weight=weight[keep] / max(float(weight[keep].mean()), 1e-12))
    settings = parameters(config, leaves, max(10, int(config.shallow_min_share * keep.sum())))
    return lightgbm.train(settings | {"boost_from_average": False}, data, num_boost_round=rounds)
