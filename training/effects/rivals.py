"""Other ways to rank members for one arm against doing nothing, on the same trees: what ours is compared with.

`response` is what most teams do: target those who are likely to respond. S, T and X: Künzel et al. 2019 (PNAS 116:10);
`dr`: Kennedy 2023 without anything of ours: no pooling, no shrinkage, no choice of shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.effects import inputs
from training.effects.config import EffectConfig
from training.effects.inputs import Floats
from training.effects.pseudo import parameters

Ranker = Callable[[Floats], Floats]
"""(n, f) → (n,): the higher, the sooner treated; an effect, but for `response`."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Units of two arms."""

    features: Floats
    treated: NDArray[np.bool_]
    chance: Floats
    """(n,), of being treated."""
    outcome: Floats


def response(trial: Trial, config: EffectConfig) -> Ranker:
    """The outcome of those who were treated."""
    return _model(trial.features[trial.treated], trial.outcome[trial.treated], config)


def s_learner(trial: Trial, config: EffectConfig) -> Ranker:
    """One model with the treatment as a feature."""
    model = _model(np.column_stack([trial.features, trial.treated]), trial.outcome, config)

    def rank(rows: Floats) -> Floats:
        one, none = np.ones((len(rows), 1)), np.zeros((len(rows), 1))
        return model(np.hstack([rows, one])) - model(np.hstack([rows, none]))

    return rank


def t_learner(trial: Trial, config: EffectConfig) -> Ranker:
    """One model for each arm."""
    with_it, without = _both(trial, config)
    return lambda rows: with_it(rows) - without(rows)


def x_learner(trial: Trial, config: EffectConfig) -> Ranker:
    """What each arm's members would have done in the other, taken off and learned again."""
    with_it, without = _both(trial, config)
    t = trial.treated
    gained = _model(trial.features[t], trial.outcome[t] - without(trial.features[t]), config)
    missed = _model(trial.features[~t], with_it(trial.features[~t]) - trial.outcome[~t], config)
    share = float(trial.chance.mean())
    return lambda rows: share * missed(rows) + (1 - share) * gained(rows)


def dr_learner(trial: Trial, config: EffectConfig) -> Ranker:
    """ψ from cross-fitted models of each arm, learned by the same trees."""
    part = inputs.parts(np.arange(len(trial.outcome)), config.folds, config.seed)
    said = np.zeros(len(trial.outcome))
    for each in range(config.folds):
        learn, rest = part != each, part == each
        apart = Trial(trial.features[learn], trial.treated[learn], trial.chance[learn], trial.outcome[learn])
        with_it, without = (model(trial.features[rest]) for model in _both(apart, config))
        t, p, y = trial.treated[rest], trial.chance[rest], trial.outcome[rest]
        said[rest] = with_it - without + np.where(t, (y - with_it) / p, -(y - without) / (1 - p))
    return _model(trial.features, said, config)


RIVALS: Mapping[str, Callable[[Trial, EffectConfig], Ranker]] = {
    "response": response,
    "S": s_learner,
    "T": t_learner,
    "X": x_learner,
    "DR": dr_learner,
}


def _both(trial: Trial, config: EffectConfig) -> tuple[Ranker, Ranker]:
    t = trial.treated
    return _model(trial.features[t], trial.outcome[t], config), _model(trial.features[~t], trial.outcome[~t], config)


def _model(features: Floats, outcome: Floats, config: EffectConfig) -> Ranker:
    import lightgbm

    settings: dict[str, Any] = parameters(config, config.leaves, config.min_leaf)
    trees = lightgbm.train(settings, lightgbm.Dataset(features, outcome), num_boost_round=config.trees)
    return lambda rows: np.asarray(trees.predict(rows), np.float64)
