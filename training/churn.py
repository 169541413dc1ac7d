"""Churn: who will buy nothing within the horizon. Boosted trees, calibrated at a later time than they learned at.

The only door to LightGBM. Trees learn at several cut-offs; the curve from their sum to a probability is fitted one
horizon later; everything is judged one horizon after that. The yardstick is a logistic regression on recency,
frequency and spend, tuned on the same slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from features.learned import from_lightgbm
from features.learned.churn import Churn
from training import metrics
from training.calibration import isotonic, platt
from training.comparison import paired_auc
from training.frames import Cuts
from training.metrics import Interval

Rows = NDArray[np.float64]
_YARDSTICK = ("recency_days", "baskets_90d", "baskets_365d", "spend_90d", "spend_365d")
_NARROWER = (("recency_days", "baskets_90d", "spend_90d"), ("recency_days", "baskets_365d", "spend_365d"))
_STRIDE = 25
"""Numbers of trees are tried in these steps."""
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
Scorer = Callable[[pd.DataFrame], Rows]


class OneSidedError(ValueError):
    """A slice of members holds nobody who churned, or nobody who stayed."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class ChurnConfig:
    """What the churn model is trained with."""

    horizon_days: int | None = Field(default=None, ge=1)
    """Buying nothing for this long is churn; None takes the programme's `churn_horizon_days`."""
    cut_offs: int = Field(default=4, ge=1)
    """Cut-offs to learn at, at most."""
    every_days: int = Field(default=30, ge=1)
    max_lapse_days: int = Field(default=365, ge=1)
    """Who has bought nothing for longer has lapsed already and is left out."""
    trees: int = Field(default=200, ge=1)
    """At most; how many are kept is chosen on the slice that calibrates."""
    leaves: tuple[int, ...] = Field(default=(3, 6, 12), min_length=1)
    """Sizes of tree to choose from, likewise."""
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    min_leaf: int = Field(default=60, ge=1)
    feature_share: float = Field(default=0.3, gt=0, le=1)
    l2: float = Field(default=10.0, ge=0)
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


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How a churn model fared on members and a horizon it had not seen."""

    metrics: Mapping[str, float]
    against_yardstick: Interval
    """AUC of the trees minus AUC of the tuned logistic."""
    ablation: pd.DataFrame
    """family, features, auc_change, low, high: what the family brings, as AUC with it minus AUC without it."""
    churned: NDArray[np.bool_]
    chance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """How many trees of which size."""

    leaves: int
    trees: int


def tune(frame: pd.DataFrame, cuts: Cuts, names: Sequence[str], config: ChurnConfig, seed: int) -> Shape:
    """The shape that ranks best at the cut-off that calibrates, one horizon after the trees learned.

    It is the same slice on which the yardstick is tuned, so that neither has seen more than the other.
    """
    learn, choose = _slice(frame, cuts.learn), _slice(frame, (cuts.calibrate,))
    label, rows = choose["churned"].to_numpy(dtype=bool), _rows(choose, names)
    best, reached = Shape(config.leaves[0], config.trees), -1.0
    for leaves in config.leaves:
        trees = from_lightgbm(_grow(learn, names, config, Shape(leaves, config.trees), seed))
        sums = np.cumsum(trees.leaf_value[trees.leaves(rows)], axis=1)
        for count in range(_STRIDE, sums.shape[1] + 1, _STRIDE):
            auc = metrics.auc(label, sums[:, count - 1])
            if auc > reached:
                best, reached = Shape(leaves, count), auc
    return best


def fit(
    frame: pd.DataFrame, cuts: Cuts, names: Sequence[str], config: ChurnConfig, seed: int, shape: Shape | None = None
) -> Churn:
    """Grow trees at the cut-offs to learn at and calibrate them at the later one.

    Args:
        frame: member_id, at, churned and a column for each of `names` (NaN where missing).
        cuts: which rows of it learn and which calibrate.
        names: the features to use, in the order in which serving will give them.
        config: size and number of the trees.
        seed: same seed, same data: the same arrays.
        shape: how many trees of which size; None tunes it.

    Raises:
        OneSidedError: a slice is empty or holds only churners or only others.
    """
    shape = shape or tune(frame, cuts, names, config, seed)
    trees = from_lightgbm(_grow(_slice(frame, cuts.learn), names, config, shape, seed))
    calibrate = _slice(frame, (cuts.calibrate,))
    curve = platt if config.calibration == "platt" else isotonic
    raw, chance = curve(trees.raw(_rows(calibrate, names)), calibrate["churned"].to_numpy(dtype=bool))
    return Churn(trees, raw, chance)


def report(
    frame: pd.DataFrame,
    cuts: Cuts,
    judged_at: datetime,
    families: Mapping[str, Sequence[str]],
    config: ChurnConfig,
    seed: int,
) -> Report:
    """Fit at `cuts`, and say what it is worth at the later cut-off `judged_at`.

    Args:
        frame: as for `fit`, with rows at `judged_at` too.
        cuts: every label of theirs is known by `judged_at`.
        judged_at: the cut-off whose members and horizon nothing was fitted on.
        families: family → its features; all of them are used.
        config: the model's configuration.
        seed: for trees and resamples.
    """
    names = tuple(name for members in families.values() for name in members)
    later = _slice(frame, (judged_at,))
    churned = later["churned"].to_numpy(dtype=bool)
    shape = tune(frame, cuts, names, config, seed)
    chance = fit(frame, cuts, names, config, seed, shape).probability(_rows(later, names))
    yardstick = recency_frequency_spend(frame, cuts)(later)
    gap = paired_auc(churned, chance, yardstick, seed, config.resamples)
    measured = measure(churned, chance) | {
        "yardstick_auc": metrics.auc(churned, yardstick),
        "auc_over_yardstick": gap.value,
        "auc_over_yardstick_low": gap.low,
        "auc_over_yardstick_high": gap.high,
        "trees": float(shape.trees),
        "leaves": float(shape.leaves),
    }
    without = pd.DataFrame()
    if config.ablation:

        def less(family: str) -> NDArray[np.float64]:
            kept = tuple(name for other, members in families.items() if other != family for name in members)
            return fit(frame, cuts, kept, config, seed, shape).probability(_rows(later, kept))

        gaps = {family: paired_auc(churned, chance, less(family), seed, config.resamples) for family in families}
        without = _table(gaps, families)
    return Report(measured, gap, without, churned, chance)


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


def recency_frequency_spend(frame: pd.DataFrame, cuts: Cuts) -> Scorer:
    """The yardstick: a logistic regression on logarithms of recency, frequency and spend.

    It learns on the slice the trees learn on; which windows it uses and how strongly it is held back is chosen on the
    slice the trees are calibrated on.

    Returns:
        A function from a frame to probabilities (n,).
    """
    learn, choose = _slice(frame, cuts.learn), _slice(frame, (cuts.calibrate,))
    label = choose["churned"].to_numpy(dtype=bool)
    best, best_auc = None, -1.0
    for columns in (_YARDSTICK, *_NARROWER):
        for strength in _STRENGTHS:
            scorer = _logistic(learn, columns, strength)
            reached = metrics.auc(label, scorer(choose))
            if reached > best_auc:
                best, best_auc = scorer, reached
    assert best is not None, "an AUC is never below 0"
    return best


def _logistic(learn: pd.DataFrame, columns: Sequence[str], strength: float) -> Scorer:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, solver="newton-cholesky"))
    model.fit(_logs(learn, columns), learn["churned"].to_numpy())

    def score(frame: pd.DataFrame) -> Rows:
        chance: Rows = model.predict_proba(_logs(frame, columns))[:, 1]
        return chance

    return score


def _logs(frame: pd.DataFrame, columns: Sequence[str]) -> Rows:
    return np.log1p(np.maximum(np.nan_to_num(_rows(frame, columns)), 0.0))


def _grow(learn: pd.DataFrame, names: Sequence[str], config: ChurnConfig, shape: Shape, seed: int) -> str:
    """LightGBM's text of the trees; the same on every run for one seed and any number of threads."""
    import lightgbm

    label = learn["churned"].to_numpy(dtype=np.float64)
    data = lightgbm.Dataset(_rows(learn, names), label, feature_name=list(names))
    text: str = lightgbm.train(_parameters(config, shape, seed), data, num_boost_round=shape.trees).model_to_string()
    return text


def _parameters(config: ChurnConfig, shape: Shape, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": shape.leaves,
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


def _table(gaps: Mapping[str, Interval], families: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    columns = ["family", "features", "auc_change", "low", "high"]
    rows = [(name, len(families[name]), gap.value, gap.low, gap.high) for name, gap in gaps.items()]
    return pd.DataFrame(rows, columns=columns).sort_values("auc_change", ascending=False, ignore_index=True)


def _slice(frame: pd.DataFrame, ats: Sequence[datetime]) -> pd.DataFrame:
    part = frame[frame["at"].isin(list(ats))]
    if part["churned"].nunique() < 2:
        when = ", ".join(f"{at:%Y-%m-%d}" for at in ats)
        raise OneSidedError(
            f"churn: of {len(part)} members at {when} {int(part['churned'].sum())} churned: to learn or to judge it "
            "takes both kinds; load more history or set another churn.horizon_days in training.yaml"
        )
    return part


def _rows(frame: pd.DataFrame, names: Sequence[str]) -> Rows:
    return frame[list(names)].to_numpy(dtype=np.float64)
