"""What a data scientist would have picked instead: models of churn from recency, frequency and spend alone.

Each is tuned over a grid by AUC, on members left out in turn and on the youngest cut-off left out, and then learns from
all: the same rows, the same cut-offs and no less care than ours. BG/NBD needs no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training import bgnbd, metrics, purchase_days
from training.churn_rows import rows_of, slice_of
from training.frames import Cuts

Rows = NDArray[np.float64]
Scorer = Callable[[pd.DataFrame], Rows]
Fit = Callable[[pd.DataFrame], Scorer]
COLUMNS = ("recency_days", "baskets_90d", "baskets_365d", "spend_90d", "spend_365d")
_WIDEST = ("recency_days", "lifetime_baskets", "first_purchase_days", "baskets_90d", "spend_90d", "lifetime_spend")
_NARROWER = (("recency_days", "baskets_90d", "spend_90d"), ("recency_days", "baskets_365d", "spend_365d"))
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
_TREES = ((4, 50), (4, 100), (8, 50), (8, 100), (16, 100))
"""(leaves, trees)"""
_FOLDS = 2


def logistic(frame: pd.DataFrame, cuts: Cuts) -> Scorer:
    """A tuned logistic regression on logarithms of recency, frequency and spend.

    Which windows it uses and how strongly it is held back is chosen, among 15 settings.

    Returns:
        A function from a frame to probabilities (n,).
    """
    return _best(
        frame,
        cuts,
        [
            partial(_logistic, columns=columns, strength=strength)
            for columns in (COLUMNS, *_NARROWER)
            for strength in _STRENGTHS
        ],
    )


def boosted(frame: pd.DataFrame, cuts: Cuts, seed: int) -> Scorer:
    """Tuned LightGBM on recency, frequency and spend; windows and shape are chosen, among 15 settings."""
    return _best(
        frame,
        cuts,
        [
            partial(_boosted, columns=columns, leaves=leaves, trees=trees, seed=seed)
            for columns in (COLUMNS, _WIDEST, _NARROWER[1])
            for leaves, trees in _TREES
        ],
    )


def rhythm(purchases: pd.DataFrame, at: datetime) -> tuple[bgnbd.Buying, pd.DataFrame]:
    """BG/NBD as its authors have it, fitted on everybody who had bought by then.

    Args:
        purchases: lines, as in the table of this name.
        at: the cut-off.

    Returns:
        The model, and for each member what it knows of them (`training.purchase_days.summary`).
    """
    found = purchase_days.summary(purchases, at)
    return bgnbd.fit(purchase_days.habits(found)), found


def _best(frame: pd.DataFrame, cuts: Cuts, grid: Sequence[Fit]) -> Scorer:
    """The setting that ranks best, on average of members left out in turn and of the youngest cut-off left out."""
    learn, late = slice_of(frame, cuts.learn), slice_of(frame, (cuts.calibrate,))
    known = pd.concat([learn, late], ignore_index=True)
    fold = pd.factorize(known["member_id"], sort=True)[0] % _FOLDS
    label, label_late = (each["churned"].to_numpy(dtype=bool) for each in (known, late))

    def reached(fit: Fit) -> float:
        score = np.empty(len(known))
        for out in range(_FOLDS):
            score[fold == out] = fit(known[fold != out])(known[fold == out])
        return metrics.auc(label, score) + metrics.auc(label_late, fit(learn)(late))

    return max(grid, key=reached)(known)


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
    return np.log1p(np.maximum(np.nan_to_num(rows_of(frame, columns)), 0.0))


def _boosted(learn: pd.DataFrame, columns: Sequence[str], leaves: int, trees: int, seed: int) -> Scorer:
    import lightgbm

    settings = {
        "objective": "binary",
        "num_leaves": leaves,
        "learning_rate": 0.06,
        "min_data_in_leaf": 60,
        "lambda_l2": 10.0,
        "max_bin": 63,
        "num_threads": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(rows_of(learn, columns), learn["churned"].to_numpy(np.float64))
    model = lightgbm.train(settings, data, num_boost_round=trees)

    def score(frame: pd.DataFrame) -> Rows:
        chance: Rows = np.asarray(model.predict(rows_of(frame, columns)))
        return chance

    return score
