"""Estimates of many arms drawn to their group, and groups to what is common to all.

`θ_a = m + u_group + v_a`; how far groups and arms lie apart is not known, so the answer averages over what is likely of
it given the estimates (a grid under the restricted likelihood: Harville 1977; Morris 1983). An arm of which little is
known comes out near its group, and a new one is its group, with the spread of arms in its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.effects.inputs import Floats

_GROUP_SHARE = 0.7
"""Assumed where each arm is alone in its group: so much of the variance between arms is between groups."""
_SPREADS = np.concatenate(([0.0], np.geomspace(0.05, 3.0, 11)))


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """Rows: the arms, then a new one for each group in the order of `groups`, then a new one of a new group."""

    mean: Floats
    variance: Floats
    groups: tuple[str, ...]
    common: float
    """m"""
    common_variance: float


def shrink(estimate: Floats, covariance: Floats, group: tuple[str, ...]) -> Shrunk:
    """The best guess for each arm, from all of them.

    Args:
        estimate: (k,).
        covariance: (k, k), of its errors.
        group: (k,).
    """
    groups = tuple(sorted(set(group)))
    inside = np.array([[one == each for each in groups] for one in group], dtype=np.float64)
    k, g = inside.shape
    rows = np.concatenate((inside, np.eye(g), np.zeros((1, g))))
    error = covariance + np.eye(k) * max(float(np.trace(covariance)) / k, 1e-12) * 1e-6
    unit = max(float(np.std(estimate)), float(np.sqrt(np.trace(error) / k)))
    weights, means, variances, commons = [], [], [], []
    for apart, own in _pairs(g, k):
        one = _given(estimate, error, inside, rows, (apart * unit) ** 2, (own * unit) ** 2)
        weights.append(one[0])
        means.append(one[1])
        variances.append(one[2])
        commons.append(one[3])
    weight = np.exp(np.array(weights) - max(weights))
    weight /= weight.sum()
    mean = weight @ np.array(means)
    variance = weight @ (np.array(variances) + (np.array(means) - mean) ** 2)
    common, common_variance = weight @ np.array(commons)
    return Shrunk(mean, variance, groups, float(common), float(common_variance))


def _pairs(groups: int, arms: int) -> list[tuple[float, float]]:
    """Spreads between groups and between arms of one group, to average over."""
    if groups == arms:  # the data cannot tell the two apart
        return [(float(each * _GROUP_SHARE**0.5), float(each * (1 - _GROUP_SHARE) ** 0.5)) for each in _SPREADS]
    if groups == 1:
        return [(0.0, float(each)) for each in _SPREADS]
    return [(float(apart), float(own)) for apart in _SPREADS for own in _SPREADS]


def _given(
    estimate: Floats, error: Floats, inside: Floats, rows: Floats, apart: float, own: float
) -> tuple[float, Floats, Floats, tuple[float, float]]:
    """Log-likelihood, means and variances where the spreads (variances) are known."""
    k = len(estimate)
    total = error + apart * inside @ inside.T + own * np.eye(k)
    inverse = np.linalg.inv(total)
    ones = np.ones(k)
    precision = float(ones @ inverse @ ones)
    common = float(ones @ inverse @ estimate) / precision
    rest = estimate - common
    likelihood = -0.5 * (np.linalg.slogdet(total)[1] + np.log(precision) + float(rest @ inverse @ rest))
    with_arms = apart * rows @ inside.T
    with_arms[:k] += own * np.eye(k)
    pull = with_arms @ inverse
    mean = common + pull @ rest
    prior = apart + own
    lever = 1.0 - pull @ ones
    variance = prior - (pull * with_arms).sum(axis=1) + lever**2 / precision
    return float(likelihood), mean, np.maximum(variance, 0.0), (common, 1.0 / precision)
