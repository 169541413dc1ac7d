"""Outcomes to expect, and from them what each unit says of each arm's effect, whatever it got itself.

`ψ_a = μ_a(x) − μ_0(x) + 1{A=a}/π_a (Y − μ_a(x)) − 1{A=0}/π_0 (Y − μ_0(x))` (Kennedy 2023, arXiv:2004.14497), with the
logged π and μ learned on other members: its mean at any x is the effect, however wrong μ is. A unit says the more the
likelier both arms were: its weight is `1 / (1/π_a + 1/π_0)` (overlap weights: Li, Morgan & Zaslavsky 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.effects.config import EffectConfig
from training.effects.inputs import Drawn, Floats, Whole


@dataclass(frozen=True, slots=True, eq=False)
class Pseudo:
    """What the units say; rows are units, columns the arms after doing nothing."""

    said: Floats
    """(n, k − 1): ψ, 0 where its weight is 0."""
    weight: Floats
    """(n, k − 1)"""
    share: Floats
    """(n, k − 1): chance of each arm among those that are not doing nothing; rows sum to 1, or are 0."""
    mixed: Floats
    """(n,): ψ of all arms together, as they were drawn."""
    mixed_weight: Floats
    certain: Floats
    """(n,): one over the variance of the outcome where so much was expected, 1 on average."""
    expected: Floats
    """(n,): the outcome that was to be expected, from other members."""
    part: Whole
    """(n,): the part of the members each row belongs to."""


def pseudo(units: Drawn, part: Whole, config: EffectConfig) -> Pseudo:
    """Learn what is to be expected on the other parts, and work ψ out."""
    expected = _expected(units, part, config)
    k, n = units.chances.shape[1], len(units.arm)
    weight = _weights(units.chances, config.least_probability)
    share = np.where(weight > 0, units.chances[:, 1:], 0.0)
    together = share.sum(axis=1, keepdims=True)
    share = np.divide(share, together, out=np.zeros_like(share), where=together > 0)
    shift = np.full(k, _shift(units, units.outcome - expected, weight))
    shift[0] = 0.0
    base = expected - (units.chances * shift).sum(axis=1)
    got = np.arange(n), units.arm
    rest = units.outcome - base - shift[units.arm]
    pull = np.zeros((n, k))
    pull[got] = rest / units.chances[got]
    said = np.where(weight > 0, shift[1:] + pull[:, 1:] - pull[:, :1], 0.0)
    chance, none = together[:, 0], units.chances[:, 0]
    both = weight.any(axis=1)
    mixed_weight = np.where(both, chance * none / np.where(both, chance + none, 1.0), 0.0)
    return Pseudo(
        said, weight, share, (share * said).sum(axis=1), mixed_weight, _certain(units.outcome, expected), expected, part
    )


def _weights(chances: Floats, least: float) -> Floats:
    none, other = chances[:, :1], chances[:, 1:]
    both = (none >= max(least, 1e-9)) & (other >= max(least, 1e-9))
    return np.where(both, none * other / np.where(both, none + other, 1.0), 0.0)


def _certain(outcome: Floats, expected: Floats) -> Floats:
    """Those who buy often vary more: their outcomes say less of who differs from whom (weighted least squares)."""
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, _STEPS + 1)))
    if len(edges) < 3:  # all are alike
        return np.ones(len(outcome))
    step = np.clip(np.searchsorted(edges, expected, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(step, minlength=len(edges) - 1).clip(1)
    spread = np.bincount(step, (outcome - expected) ** 2, minlength=len(edges) - 1) / count
    middle = np.bincount(step, expected, minlength=len(edges) - 1) / count
    spread = np.maximum(spread, _LEAST_SPREAD * spread.mean())
    found: Floats = 1.0 / np.interp(expected, middle, spread)
    return np.asarray(found / found.mean())


_STEPS = 20
_LEAST_SPREAD = 0.05
"""Nobody's outcome is taken to be more certain than this share of the mean variance."""


def _shift(units: Drawn, left: Floats, weight: Floats) -> float:
    """How far the arms together lie from doing nothing, in what the expected outcome leaves over.

    One number for all: it only narrows intervals, and one for each arm would fit the few rows of a rare one.
    """
    none, rest = units.chances[:, 0].clip(1e-9), (1 - units.chances[:, 0]).clip(1e-9)
    inside = np.where(weight.any(axis=1), none * rest, 0.0)
    here, there = np.where(units.arm > 0, inside / rest, 0.0), np.where(units.arm == 0, inside / none, 0.0)
    if not (here.any() and there.any()):
        return 0.0
    return float(here @ left / here.sum() - there @ left / there.sum())


def _expected(units: Drawn, part: Whole, config: EffectConfig) -> Floats:
    found = np.zeros(len(units.arm))
    for each in np.unique(part):
        model = outcome_model(units.rows(part != each), config)
        found[part == each] = model.predict(units.features[part == each])
    return found


def outcome_model(units: Drawn, config: EffectConfig) -> Any:
    """Boosted trees of the outcome, whatever was got; same rows, same trees."""
    import lightgbm

    data = lightgbm.Dataset(units.features, units.outcome)
    settings = parameters(config, config.leaves, min(config.min_leaf, max(1, len(units.arm) // 20)))
    return lightgbm.train(settings, data, num_boost_round=config.trees)


def parameters(config: EffectConfig, leaves: int, min_leaf: int) -> dict[str, Any]:
    """Settings of LightGBM for a mean."""
    return {
        "objective": "regression",
        "num_leaves": leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min_leaf,
        "feature_fraction": 0.7,
        "lambda_l2": 1.0,
        "max_bin": 63,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
