"""Lifetime value: net margin to come of each member, over 12 and 36 months, with intervals.

1. BG/NBD and gamma-gamma, fitted on features at every cut-off, give a baseline (`training.lifetime_story`).
2. Trees (LightGBM, Tweedie deviance: many bring nothing, a few bring much) learn what members brought relative to the
   mean of their cut-off, beginning at the square root of the baseline, and are shrunk towards it: the logarithm of a
   value is `trust` parts what they say and the rest the baseline. They move money between members, never in total.
3. The total is the baseline's, times what past cut-offs say it was wrong by, shrunk towards nothing by how much they
   disagree (James & Stein 1961, positive part): one season says little of the next.
4. Intervals are split-conformal on members the trees had not seen, by size of forecast (Vovk 2005, Mondrian; Lei et al.
   2018). Longer horizons than the learned one are stretched by what the story expects more in the longer time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from features.learned.lifetime import DERIVED, Lifetime
from features.learned.lightgbm_text import from_lightgbm
from features.learned.trees import Trees
from training.lifetime_frames import rows
from training.lifetime_story import Story, TooFewBuyersError, story

Vector = NDArray[np.float64]
_START = 0.5
"""Power of the baseline that trees begin at: at 1 they only mend it, at 0 they forget it."""
_SEASON = 0.15
"""Standard deviation of the logarithm by which a total differs from one season to the next, before anything is seen."""
_WRONG = 0.3
"""Nor is the logarithm of a total ever mended by more than this."""
_A_BIN = 100
"""Members behind a point of the interval table, at least."""
_BINS = 12


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class LifetimeConfig:
    """What the lifetime-value model is trained with."""

    horizon_days: int | None = Field(default=None, ge=7)
    """The horizon it learns; None takes the longest of 365, 180, 90 and 30 that leaves one to judge it by."""
    cut_offs: int = Field(default=3, ge=1)
    """Cut-offs to learn at, one horizon apart, at most."""
    most: int = Field(default=60_000, ge=100)
    """Members at a cut-off, at most; of more, an even sample."""
    discount: float = Field(default=0.10, ge=0, lt=1)
    """By which money of a year later is less worth."""
    confidence: float = Field(default=0.8, gt=0, lt=1)
    """Share of members whose value shall lie in the interval."""
    trust: float = Field(default=0.6, ge=0, le=1)
    """Weight of the trees against the baseline."""
    trees: int = Field(default=120, ge=1)
    leaves: int = Field(default=4, ge=2, le=64)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    min_leaf: int = Field(default=60, ge=1)
    feature_share: float = Field(default=0.3, gt=0, le=1)
    l2: float = Field(default=10.0, ge=0)
    variance_power: float = Field(default=1.3, gt=1, lt=2)
    threads: int = Field(default=1, ge=1)
    resamples: int = Field(default=200, ge=1)
    """Resamples of members behind every interval of a figure."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Members of one cut-off, ready to learn from or to be told of."""

    member_id: NDArray[np.object_]
    features: Vector
    derived: Vector
    """What the story of this cut-off says of them."""
    brought: Vector
    rate: float
    """Net margin in a unit of money spent, so far."""
    story: Story

    def only(self, chosen: NDArray[np.bool_]) -> Cut:
        """Some of the members; the story stays that of all."""
        return replace(
            self,
            member_id=self.member_id[chosen],
            features=self.features[chosen],
            derived=self.derived[chosen],
            brought=self.brought[chosen],
        )

    def later_known(self, brought: Vector) -> Cut:
        """The same members with other labels."""
        return replace(self, brought=brought)


def cut(part: pd.DataFrame, names: Sequence[str], days: int, config: LifetimeConfig) -> Cut:
    """The members of one cut-off of `training.lifetime_frames.frame`, with the story that holds there.

    Args:
        part: rows of one cut-off.
        names: features, in the order in which serving will give them.
        days: the horizon of the labels.
        config: the model's.
    """
    if not len(part):
        raise TooFewBuyersError("lifetime: nobody had bought at a cut-off; load more history")
    told = story(part, days, config.discount)
    features = rows(part, names)
    derived = _model(told, _none(names), 0.0, 1.0, days, config).derived(features)
    paid = float(part["paid"].sum())
    rate = float(part["earned"].sum()) / paid if paid > 0 else 0.0
    brought = part["brought"].to_numpy(np.float64)
    return Cut(part["member_id"].to_numpy(dtype=object), features, derived, brought, rate, told)


def fit(
    cuts: Sequence[Cut], present: Cut, names: Sequence[str], days: int, config: LifetimeConfig, seed: int
) -> Lifetime:
    """A model that stands at `present`; its interval is `[0, ∞)`-wide until `calibrated`.

    Args:
        cuts: to learn at, oldest first.
        present: the moment it stands at, whose labels are not looked at.
        names: features, in the order in which serving will give them.
        days: the horizon of the labels.
        config: size of the trees.
        seed: same seed, same cut-offs: the same arrays.

    Raises:
        TooFewBuyersError: a cut-off to learn at has nobody who brought anything.
    """
    trees = _grow(cuts, names, config, seed)
    trees = replace(trees, leaf_value=trees.leaf_value * config.trust, split_value=trees.split_value * config.trust)
    power = config.trust * _START + 1 - config.trust
    bare = _model(present.story, trees, 0.0, power, days, config)
    shape = bare.value(present.features)
    total = np.exp(present.derived[:, 0]).sum() * present.rate * np.exp(_mistaken(cuts))
    level = float(np.log(max(total, 1e-9)) - np.log(shape.sum()))
    return replace(bare, level=level)


def calibrated(model: Lifetime, value: Vector, brought: Vector) -> Lifetime:
    """The model with an interval in which `confidence` of these members lay, whom its trees had not seen.

    Members are cut into bins of like forecasts. In each the lower end leaves out (1 − confidence)/2 below, or nobody
    where that many bring nothing; the upper end is the smallest that keeps `confidence` of the bin, counted as one
    member more. Ends are multiples of the forecast; between bins they are read off a straight line. Net margin below 0
    counts as 0.

    Args:
        model: whose table is replaced.
        value: (n,), what was said over the learned horizon.
        brought: (n,), what it came to.
    """
    order = np.argsort(value, kind="stable")
    bins = np.array_split(order, int(np.clip(len(order) // _A_BIN, 1, _BINS)))
    points, low, high = [], [], []
    for each in bins:
        ratio = np.sort(np.maximum(brought[each], 0.0) / np.maximum(value[each], 1e-9))
        n = len(ratio)
        below = int(np.floor((1 - model.confidence) / 2 * (n + 1)))
        least = ratio[max(below - 1, 0)] if below else 0.0
        under = int((ratio < least).sum())
        kept = min(under + int(np.ceil(model.confidence * (n + 1))), n) - 1
        points.append(float(np.median(np.log(np.maximum(value[each], 1e-9)))))
        low.append(float(least))
        high.append(float(max(ratio[kept], least)))
    distinct, first = np.unique(points, return_index=True)
    return replace(model, points=distinct, low=np.array(low)[first], high=np.array(high)[first])


def coverage(model: Lifetime, value: Vector, brought: Vector) -> float:
    """Share of members whose net margin lay in the interval around what was said."""
    logs = np.log(np.maximum(value, 1e-9))
    low, high = (np.interp(logs, model.points, ends) * value for ends in (model.low, model.high))
    came = np.maximum(brought, 0.0)
    slack = 1e-9 * np.maximum(value, 1.0)
    return float(((came >= low - slack) & (came <= high + slack)).mean())


def _model(told: Story, trees: Trees, level: float, power: float, days: int, config: LifetimeConfig) -> Lifetime:
    return Lifetime(
        trees=trees,
        buying=np.array([told.buying.r, told.buying.alpha, told.buying.a, told.buying.b]),
        spending=np.array([told.spending.p, told.spending.q, told.spending.v]),
        frequency=told.frequency,
        age=told.age,
        purchases=told.purchases,
        points=np.zeros(1),
        low=np.zeros(1),
        high=np.full(1, 1e12),
        level=level,
        power=power,
        days=float(days),
        discount=config.discount,
        confidence=config.confidence,
    )


def _none(names: Sequence[str]) -> Trees:
    """Trees that say nothing."""
    none, zero = np.zeros(1, np.int32), np.zeros(1)
    return Trees(
        feature_names=np.array([*names, *DERIVED], np.str_),
        split_starts=np.array([0, 1], np.int32),
        leaf_starts=np.array([0, 1], np.int32),
        feature=none,
        threshold=np.array([np.inf]),
        missing=np.zeros(1, np.int8),
        default_left=np.zeros(1, np.bool_),
        left=none - 1,
        right=none - 1,
        split_value=zero,
        leaf_value=zero,
        leaf_count=zero,
    )


def _grow(cuts: Sequence[Cut], names: Sequence[str], config: LifetimeConfig, seed: int) -> Trees:
    """Trees on the logarithm of what members brought relative to the mean of their cut-off."""
    import lightgbm

    labels, starts = [], []
    for each in cuts:
        brought = np.maximum(each.brought, 0.0)
        if not brought.sum() > 0:
            raise TooFewBuyersError("lifetime: nobody brought anything after a cut-off; load more history")
        start = _START * each.derived[:, 0]
        labels.append(brought / brought.mean())
        starts.append(start - np.log(np.exp(start).mean()))
    data = lightgbm.Dataset(
        np.concatenate([np.concatenate([each.features, each.derived], axis=1) for each in cuts]),
        np.concatenate(labels),
        init_score=np.concatenate(starts),
        feature_name=[*names, *DERIVED],
    )
    text: str = lightgbm.train(_parameters(config, seed), data, num_boost_round=config.trees).model_to_string()
    # The raw sum of a Tweedie model is the logarithm of its answer; that sum is what is wanted.
    return from_lightgbm(text.replace("\nobjective=tweedie", "\nobjective=regression", 1))


def _parameters(config: LifetimeConfig, seed: int) -> dict[str, Any]:
    return {
        "objective": "tweedie",
        "tweedie_variance_power": config.variance_power,
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_leaf,
        "feature_fraction": config.feature_share,
        "lambda_l2": config.l2,
        "boost_from_average": False,
        "max_bin": 63,
        "num_threads": config.threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _mistaken(cuts: Sequence[Cut]) -> float:
    """The logarithm by which totals of the baseline were too small at past cut-offs, shrunk towards 0."""
    ratios = [
        np.maximum(each.brought, 0.0).sum() / max(float(np.exp(each.derived[:, 0]).sum()) * each.rate, 1e-9)
        for each in cuts
    ]
    seen = np.log(np.array([ratio for ratio in ratios if 0 < ratio < np.inf] or [1.0]))
    spread = float(((seen - seen.mean()) ** 2).sum()) + _SEASON**2
    doubt = spread / len(seen)
    mean = float(seen.mean())
    shrunk = mean * max(0.0, 1.0 - doubt / mean**2) if mean else 0.0
    return float(np.clip(shrunk, -_WRONG, _WRONG))
