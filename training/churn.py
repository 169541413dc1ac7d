"""When a member buys again, and so churn: who will buy nothing within the horizon.

One model for every horizon (`features.learned.churn`): a ridge logistic over recency, frequency, spend and the terms of
a BG/NBD rhythm, and boosted trees over all features, both over rows of `training.spells`; their log-odds are averaged.
Number and size of the trees, their share and, for each horizon, the line from log-odds to a probability are found on
members left out in turn, so nobody's own purchases speak for them; then both learn again from everybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from features.learned import Trees, from_lightgbm
from features.learned.churn import ADDED, Churn
from features.learned.silence_logistic import Logistic
from training import metrics
from training.calibration import isotonic, line
from training.churn_rows import Inputs, Rows, inputs, known_of
from training.frames import Cuts
from training.spells import Spells, days_learned, spells

_STRIDE = 25
"""Numbers of trees are tried in these steps."""
_SHARES = (0.25, 0.5, 0.75)
"""Shares of the trees in the average, to choose from."""
_FOLDS = 2
_HELD_BACK = 0.002
"""Strength of the ridge, as scikit-learn's C; on standardised terms."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class ChurnConfig:
    """What the churn model is trained with."""

    horizon_days: int | None = Field(default=None, ge=1)
    """Buying nothing for this long is churn; None takes the programme's `churn_horizon_days`."""
    cut_offs: int = Field(default=4, ge=1)
    """Cut-offs to learn at, at most, beside the youngest whose horizon is closed."""
    every_days: int = Field(default=30, ge=1)
    max_lapse_days: int = Field(default=365, ge=1)
    """Who has bought nothing for longer has lapsed already and is left out."""
    other_horizons: int = Field(default=3, ge=0)
    """How many horizons each member at each cut-off teaches beside the programme's own."""
    most_rows: int = Field(default=200_000, ge=1000)
    """Rows to learn from, at most; where there are more they are drawn by lot."""
    trees: int = Field(default=125, ge=1)
    """At most; how many are kept is chosen on members left out."""
    leaves: tuple[int, ...] = Field(default=(6,), min_length=1)
    """Sizes of tree to choose from, likewise."""
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    min_leaf: int = Field(default=200, ge=1)
    """Rows; a member gives several."""
    feature_share: float = Field(default=0.4, gt=0, le=1)
    l2: float = Field(default=50.0, ge=0)
    calibration: Literal["platt", "isotonic"] = "platt"
    threads: int = Field(default=1, ge=1)
    """More help from some hundred thousand rows on; below, and beside other work, they wait for each other."""
    resamples: int = Field(default=200, ge=1)
    """Resamples behind every interval."""
    ablation: bool = True
    """Fit again without each family of features in turn."""

    @property
    def horizon(self) -> int:
        """The horizon in days; to be asked once it is filled in."""
        if self.horizon_days is None:
            raise ValueError("churn.horizon_days is not filled in yet: take the programme's churn_horizon_days")
        return self.horizon_days


@dataclass(frozen=True, slots=True)
class Shape:
    """How many trees of which size, and what they weigh beside the linear model."""

    leaves: int
    trees: int
    share: float


def fit(
    frame: pd.DataFrame, cuts: Cuts, names: Sequence[str], config: ChurnConfig, seed: int, shape: Shape | None = None
) -> Churn:
    """Learn silences of all lengths from what followed the cut-offs of `cuts`.

    Args:
        frame: member_id, at, churned, next_days, followed_days and a column for each of `names` (NaN where missing).
        cuts: which rows of it are learned from.
        names: the features to use, in the order in which serving will give them; without lifetime_baskets,
            recency_days and first_purchase_days nothing is known of a rhythm.
        config: size and number of the trees.
        seed: same seed, same data: the same arrays.
        shape: how many trees of which size and weight; None finds it, and the curve, on members left out in turn. A
            given one leaves log-odds uncalibrated, which ranks as well and takes a third of the time.

    Raises:
        OneSidedError: the closed cut-offs hold only churners or only others.
    """
    known = known_of(frame, cuts)
    told = inputs(known, spells_of(known, config, seed), tuple(names), config.horizon)
    everybody = np.ones(len(told.u), bool)
    learned = days_learned(known["followed_days"].to_numpy(np.float64), config.horizon)
    days = np.sort(np.append(learned, float(config.horizon)))
    lines, curve = np.tile([1.0, 0.0], (len(days), 1)), _PLAIN
    if shape is None:
        shape, log_odds = _left_out(told, config, seed)
        lines = np.array([line(log_odds[told.days == each], told.silent[told.days == each]) for each in days])
        lines[:, 0] = _less_shy(lines[:, 0])
        if config.calibration == "isotonic":
            own, (slope, lift) = told.own, lines[days == config.horizon][0]
            curve = isotonic(slope * log_odds[own] + lift, told.silent[own])
    trees = grow(told, everybody, config, shape.leaves, shape.trees, seed)
    return Churn(
        trees,
        *curve,
        draw(told, everybody),
        stretch=lines[:, 0].copy(),
        lift=lines[:, 1].copy(),
        share=shape.share,
        days=days,
        horizon=float(config.horizon),
    )


def _less_shy(stretch: Rows) -> Rows:
    """A stretch above 1 loses half of itself (as a factor), at most `_SHYNESS`.

    Models of half the members are somewhat shyer than those of all; what is left is the shyness of the average itself.
    """
    return np.where(stretch > 1.0, np.maximum(np.sqrt(stretch), stretch / _SHYNESS), stretch)


_SHYNESS = 1.05


_PLAIN = (np.linspace(-9.0, 9.0, 721), 1.0 / (1.0 + np.exp(-np.linspace(-9.0, 9.0, 721))))
"""The curve of log-odds that are taken at their word."""


def tune(frame: pd.DataFrame, cuts: Cuts, names: Sequence[str], config: ChurnConfig, seed: int) -> Shape:
    """The shape with the least log-loss on members left out in turn."""
    known = known_of(frame, cuts)
    return _left_out(inputs(known, spells_of(known, config, seed), tuple(names), config.horizon), config, seed)[0]


def measure(churned: NDArray[np.bool_], chance: NDArray[np.float64]) -> dict[str, float]:
    """Ranking and calibration of probabilities against what happened."""
    return {
        "auc": metrics.auc(churned, chance),
        "average_precision": metrics.average_precision(churned, chance),
        "brier_skill": metrics.brier_skill(churned, chance),
        "calibration_slope": metrics.calibration_slope(churned, chance),
        "expected_calibration_error": metrics.expected_calibration_error(churned, chance),
        "churn_rate": float(churned.mean()),
        "members": float(len(churned)),
    }


def spells_of(known: pd.DataFrame, config: ChurnConfig, seed: int) -> Spells:
    """The rows to learn from, those of other horizons by lot."""
    return spells(known, config.horizon, config.other_horizons, config.most_rows, np.random.default_rng(seed))


def _left_out(told: Inputs, config: ChurnConfig, seed: int) -> tuple[Shape, Rows]:
    """The best shape, and the log-odds of everybody under models that did not learn from them."""
    fold_of = np.random.default_rng(seed).permutation(int(told.member.max()) + 1) % _FOLDS
    fold = fold_of[told.member]
    counts = sorted({*range(_STRIDE, config.trees + 1, _STRIDE), config.trees})
    plain = np.empty(len(told.u))
    grown = {leaves: np.empty((len(told.u), len(counts))) for leaves in config.leaves}
    for out in range(_FOLDS):
        others, held = fold != out, fold == out
        plain[held] = draw(told, others).raw(told.terms[held], told.u[held])
        for leaves, sums in grown.items():
            trees = grow(told, others, config, leaves, config.trees, seed)
            sums[held] = _sums(trees, told.for_trees[held], counts)
    return min(_candidates(plain, grown, counts), key=lambda each: _log_loss(told.silent, each[1]))


def _candidates(plain: Rows, grown: dict[int, Rows], counts: Sequence[int]) -> Iterator[tuple[Shape, Rows]]:
    for (leaves, sums), share in itertools.product(grown.items(), _SHARES):
        for place, count in enumerate(counts):
            yield Shape(leaves, count, share), share * sums[:, place] + (1.0 - share) * plain


def _sums(trees: Trees, rows: Rows, counts: Sequence[int]) -> Rows:
    values = trees.leaf_value[trees.leaves(rows)]
    run = np.cumsum(values, axis=1)
    return run[:, np.minimum(np.array(counts), run.shape[1]) - 1]


def _log_loss(silent: NDArray[np.bool_], log_odds: Rows) -> float:
    return float(np.logaddexp(0.0, np.where(silent, -log_odds, log_odds)).mean())


def draw(told: Inputs, keep: NDArray[np.bool_]) -> Logistic:
    """The ridge logistic over terms, the horizon and their products, from the rows to keep."""
    from sklearn.linear_model import LogisticRegression

    terms, u, weight = told.terms[keep], told.u[keep], told.weight[keep]
    design = np.concatenate((terms, terms * u[:, None], u[:, None], (u * u)[:, None]), axis=1)
    middle = np.average(design, axis=0, weights=weight)
    spread = np.sqrt(np.average((design - middle) ** 2, axis=0, weights=weight))
    spread[spread < 1e-9] = 1.0
    model = LogisticRegression(C=_HELD_BACK, solver="newton-cholesky")
    model.fit((design - middle) / spread, told.silent[keep], sample_weight=weight)
    slopes = model.coef_[0] / spread
    n = terms.shape[1]
    own = told.own & keep
    return Logistic(
        logs=np.array(told.logs, np.str_),
        constant=np.array([model.intercept_[0] - slopes @ middle, *slopes[2 * n :]]),
        weight=slopes[:n].copy(),
        turn=slopes[n : 2 * n].copy(),
        mean=told.terms[own].mean(axis=0) if own.any() else np.zeros(n),
        rhythm=np.array([told.rhythm.r, told.rhythm.alpha, told.rhythm.a, told.rhythm.b]),
    )


def grow(told: Inputs, keep: NDArray[np.bool_], config: ChurnConfig, leaves: int, trees: int, seed: int) -> Trees:
    """Boosted trees from the rows to keep, the same on every run for one seed and any number of threads."""
    import lightgbm

    names = [*told.names, *ADDED]
    rises = [0] * len(told.names) + [0, 1, -1]  # silence grows with the rhythm's own, and rarer with the days
    label = told.silent[keep].astype(np.float64)
    data = lightgbm.Dataset(told.for_trees[keep], label, weight=told.weight[keep], feature_name=names)
    settings = _parameters(config, leaves, seed) | {"monotone_constraints": rises}
    return from_lightgbm(lightgbm.train(settings, data, num_boost_round=trees).model_to_string())


def _parameters(config: ChurnConfig, leaves: int, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_leaf,
        "feature_fraction": config.feature_share,
        "lambda_l2": config.l2,
        "max_bin": 63,
        "num_threads": config.threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
