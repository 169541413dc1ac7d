"""Estimates of many arms drawn to their group and to 0: what is believed of effects of which most may be none.

`θ_a = c + u_group + v_a`, each part with mean 0; how large each is, is not known, so the answer averages over what is
likely given the estimates (empirical Bayes on a grid: Morris 1983). Half of the belief beforehand is that there is
nothing at all: a spike at 0 (Mitchell & Beauchamp 1988). Unlike `training.effects.shrinkage`, nothing is common to all
arms until the estimates say so.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from training.effects.inputs import Floats

_SPREADS = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
"""Of each part, in units of what is usual."""
_BELIEF = np.array([1.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125])
"""In each of them beforehand, not summed to one: the larger, the less likely."""
_NOTHING = 0.5
"""Belief beforehand that no arm has an effect."""


def to_zero(estimate: Floats, covariance: Floats, group: tuple[str, ...], usual: float) -> tuple[Floats, Floats]:
    """Posterior mean and variance of each arm, then of a new one of each group (sorted), then of a new group's.

    Args:
        estimate: (k,).
        covariance: (k, k), of its errors.
        group: (k,).
        usual: an effect of ordinary size, above 0: estimates much less certain than that say nothing.
    """
    groups = tuple(sorted(set(group)))
    k, g = len(group), len(groups)
    inside = np.array([[one == each for each in groups] for one in group], dtype=np.float64)
    belongs = np.concatenate((inside, np.eye(g), np.zeros((1, g))))
    alone = np.concatenate((np.eye(k), np.zeros((g + 1, k))))
    error = covariance + np.eye(k) * max(float(np.trace(covariance)) / k, 1e-12) * 1e-6
    many = range(len(_SPREADS))
    found, belief = [], []
    for common, apart, own in product(many, many if g > 1 else (0,), many if k > g or g == 1 else (0,)):
        parts = (_SPREADS[[common, apart, own]] * usual) ** 2
        found.append(_given(estimate, error, belongs, alone, parts, inside))
        belief.append(float(_BELIEF[[common, apart, own]].prod()))
    weight = np.exp(np.array([one[0] for one in found]) - max(one[0] for one in found))
    believed = np.array(belief)
    believed[1:] *= (1 - _NOTHING) / believed[1:].sum()
    believed[0] = _NOTHING
    weight *= believed
    weight /= weight.sum()
    means = np.array([one[1] for one in found])
    mean = weight @ means
    variance = weight @ (np.array([one[2] for one in found]) + (means - mean) ** 2)
    return mean, variance


def _given(
    estimate: Floats, error: Floats, belongs: Floats, alone: Floats, parts: Floats, inside: Floats
) -> tuple[float, Floats, Floats]:
    common, apart, own = (float(each) for each in parts)
    k = len(estimate)
    prior = common + apart * inside @ inside.T + own * np.eye(k)
    reach = common + apart * belongs @ inside.T + own * alone
    total = prior + error
    pull = np.linalg.solve(total, reach.T).T
    likelihood = -0.5 * (np.linalg.slogdet(total)[1] + float(estimate @ np.linalg.solve(total, estimate)))
    variance = common + apart + own - (pull * reach).sum(axis=1)
    return float(likelihood), pull @ estimate, np.maximum(variance, 0.0)
