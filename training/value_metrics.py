"""How good forecasts of money are: in total, by decile, and in the order of members, each with its interval.

Members are resampled, and both models are judged on the same resamples (paired bootstrap, Efron & Tibshirani 1993,
ch. 13). Slices at several cut-offs are pooled by judging each by itself and taking the mean: a member who stands in
several is drawn into all of them or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import Interval

Vector = NDArray[np.float64]
_DECILES = 10
LOWER_IS_BETTER = ("total_error", "decile_error", "absolute_error")
MEASURES = (*LOWER_IS_BETTER, "gini", "normalised_gini")


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Members at one cut-off: what they brought in the horizon, and what each model had said."""

    member: NDArray[np.int64]
    """(n,): who, as a number that is the same in all slices."""
    actual: Vector
    forecasts: Mapping[str, Vector]


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """One forecast of one slice, best first."""

    order: NDArray[np.intp]
    actual: Vector
    forecast: Vector


def measure(actual: Vector, forecast: Vector) -> dict[str, float]:
    """`MEASURES` of one forecast, without resampling."""
    return _measured(_sorted(actual, forecast), _by(actual), np.ones(len(actual)))


def gini(actual: Vector, forecast: Vector) -> float:
    """Twice the area between the share of money in the best members by forecast and the diagonal.

    0 is no order; the most is reached by the order of `actual` itself. `normalised_gini` divides by that.
    """
    return _gini(actual[np.argsort(-forecast, kind="stable")], np.ones(len(actual)))


def compare(
    slices: Sequence[Slice], first: str, second: str, seed: int, resamples: int
) -> tuple[dict[str, dict[str, Interval]], dict[str, Interval]]:
    """Both forecasts and their difference, `first` minus `second`, with 95 % intervals over members.

    Returns:
        Model → measure → figure, and measure → difference; means over the slices. Errors count as absolute values.
    """
    members = int(max(part.member.max() for part in slices)) + 1
    ready = [({name: _sorted(part.actual, part.forecasts[name]) for name in (first, second)}, part) for part in slices]
    ideal = [_by(part.actual) for part in slices]

    def figures(weight: Vector) -> NDArray[np.float64]:
        """Both models' measures, (2, n_measures)."""
        found = [
            [list(_measured(orders[name], best, weight[part.member]).values()) for name in (first, second)]
            for (orders, part), best in zip(ready, ideal, strict=True)
        ]
        mean: NDArray[np.float64] = np.asarray(found).mean(axis=0)
        return mean

    rng = np.random.default_rng(seed)
    drawn = np.array([
        figures(np.bincount(rng.integers(0, members, members), minlength=members).astype(np.float64))
        for _ in range(resamples)
    ])  # fmt: skip
    even = figures(np.ones(members))
    by_model = {
        name: {measure: _interval(even[i, j], drawn[:, i, j]) for j, measure in enumerate(MEASURES)}
        for i, name in enumerate((first, second))
    }
    gaps = {
        measure: _interval(even[0, j] - even[1, j], drawn[:, 0, j] - drawn[:, 1, j])
        for j, measure in enumerate(MEASURES)
    }
    return by_model, gaps


def _interval(value: float, drawn: Vector) -> Interval:
    told = drawn[np.isfinite(drawn)]
    low, high = np.quantile(told, (0.025, 0.975)) if len(told) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def _sorted(actual: Vector, forecast: Vector) -> _Sorted:
    order = np.argsort(-forecast, kind="stable")
    return _Sorted(order, actual[order], forecast[order])


def _by(actual: Vector) -> _Sorted:
    return _sorted(actual, actual)


def _measured(ranked: _Sorted, ideal: _Sorted, weight: Vector) -> dict[str, float]:
    mine, best = weight[ranked.order], weight[ideal.order]
    money, said = mine * ranked.actual, mine * ranked.forecast
    total = money.sum()
    if not total > 0:
        return dict.fromkeys(MEASURES, float("nan"))
    share = np.cumsum(mine) - mine / 2
    decile = np.minimum((share / mine.sum() * _DECILES).astype(np.intp), _DECILES - 1)
    gap = np.bincount(decile, said - money, _DECILES)
    order, most = _gini(ranked.actual, mine), _gini(ideal.actual, best)
    return {
        "total_error": abs(float(said.sum() / total) - 1),
        "decile_error": float(np.abs(gap).sum() / total),
        "absolute_error": float((mine * np.abs(ranked.forecast - ranked.actual)).sum() / total),
        "gini": order,
        "normalised_gini": order / most if most else float("nan"),
    }


def _gini(actual: Vector, weight: Vector) -> float:
    money = weight * actual
    held = np.cumsum(money) - money / 2
    return float(2 * (weight @ held) / (weight.sum() * money.sum()) - 1)
