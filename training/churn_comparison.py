"""What a backtest of churn and the next purchase says: ranking, calibration and distributions, beside peers.

All cut-offs are pooled. Intervals come from resamples of members with all their cut-offs (a cluster bootstrap), because
what a member does at one cut-off tells much of what they do at the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training import metrics, next_purchase
from training.churn_backtest import ALIKE, OURS, Backtest
from training.comparison import paired_auc, paired_mean, weights
from training.metrics import Interval

_SHARES = (0.5, 0.8)
_SLOPES, _SIMULATED = 100, 200


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Tables for people, one row for each model unless said otherwise."""

    churn: pd.DataFrame
    """model, auc, ours_minus (AUC of ours − its own), low, high, brier_skill, calibration_slope, slope_low, slope_high,
    calibration_error, and calibration_error_perfect: the mean of it had the model's own chances come true."""
    cut_offs: pd.DataFrame
    """One row for each cut-off: at, members, churn_rate, and AUC, slope and mean chance of ours."""
    distribution: pd.DataFrame
    """model, days_off (CRPS up to the horizon), skill (1 − its days_off ÷ those of all alike), ours_minus (days), low,
    high, coverage_50, coverage_80."""
    rows: int
    members: int


def compare(found: Backtest, seed: int, resamples: int = 500) -> Comparison:
    """All figures of a backtest."""
    return Comparison(
        pd.DataFrame(list(_churn(found, seed, resamples))),
        pd.DataFrame(list(_cut_offs(found))),
        pd.DataFrame(list(_distributions(found, seed, resamples))),
        rows=len(found.churned),
        members=int(found.member.max()) + 1,
    )


def _churn(found: Backtest, seed: int, resamples: int) -> Iterator[dict[str, Any]]:
    ours = found.chance[OURS]
    for model, chance in found.chance.items():
        gap = Interval(0.0, 0.0, 0.0)
        if model != OURS:
            gap = paired_auc(found.churned, ours, chance, seed, resamples, found.member)
        slope = _slope(found, chance, seed)
        yield {
            "model": model,
            "auc": metrics.auc(found.churned, chance),
            "ours_minus": gap.value,
            "low": gap.low,
            "high": gap.high,
            "brier_skill": metrics.brier_skill(found.churned, chance),
            "calibration_slope": slope.value,
            "slope_low": slope.low,
            "slope_high": slope.high,
            "calibration_error": metrics.expected_calibration_error(found.churned, chance),
            "calibration_error_perfect": perfect_error(chance, seed),
        }


def _slope(found: Backtest, chance: NDArray[np.float64], seed: int) -> Interval:
    slopes = []
    for weight in weights(found.member, seed, _SLOPES):
        drawn = np.repeat(np.arange(len(weight)), weight.astype(np.intp))
        slopes.append(metrics.calibration_slope(found.churned[drawn], chance[drawn]))
    low, high = np.nanquantile(slopes, (0.025, 0.975))
    return Interval(metrics.calibration_slope(found.churned, chance), float(low), float(high))


def perfect_error(chance: NDArray[np.float64], seed: int) -> float:
    """The calibration error that chance alone leaves: its mean over labels drawn from the chances themselves."""
    rng = np.random.default_rng(seed)
    drawn = (rng.random(len(chance)) < chance for _ in range(_SIMULATED))
    return float(np.mean([metrics.expected_calibration_error(label, chance) for label in drawn]))


def _cut_offs(found: Backtest) -> Iterator[dict[str, Any]]:
    for at in sorted(found.at.unique()):
        here = (found.at == at).to_numpy()
        churned = found.churned[here]
        yield {
            "at": at,
            "members": int(here.sum()),
            "churn_rate": float(churned.mean()),
            "said": float(found.chance[OURS][here].mean()),
            "calibration_slope": metrics.calibration_slope(churned, found.chance[OURS][here]),
            **{f"auc {model}": metrics.auc(churned, chance[here]) for model, chance in found.chance.items()},
        }


def _distributions(found: Backtest, seed: int, resamples: int) -> Iterator[dict[str, Any]]:
    days = next_purchase.points(found.horizon)
    off = {name: next_purchase.days_off(each, found.waited, days) for name, each in found.silence.items()}
    came = ~np.isnan(found.waited)
    for model, each in off.items():
        gap = paired_mean(off[OURS] - each, seed, resamples, found.member)
        yield {
            "model": model,
            "days_off": float(each.mean()),
            "skill": 1.0 - float(each.mean() / off[ALIKE].mean()),
            "ours_minus": gap.value,
            "low": gap.low,
            "high": gap.high,
            **_covered(found.told[model], found.silence[model][:, -1], came),
        }


def _covered(then: NDArray[np.float64], end: NDArray[np.float64], came: NDArray[np.bool_]) -> Mapping[str, float]:
    return {f"coverage_{share * 100:.0f}": next_purchase.coverage(then, end, came, share) for share in _SHARES}
