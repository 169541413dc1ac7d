"""From the sum of trees to a probability: curves fitted on members and a time the trees did not learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_POINTS = 129
"""Points of a Platt curve; between two of them a straight line is off by less than 0.001."""
_MARGIN = 1.0
"""How far the curve reaches beyond the sums it was fitted on."""
_SURE = 0.002
"""No calibrated probability is nearer to 0 or 1 than this."""
_STEPS = 50
_PRIOR_SD = (0.25, 0.5)
_LEAST_SLOPE = 0.1


def platt(raw: Vector, churned: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    """A logistic curve, with targets drawn in a little so that few members do not make certainty (Platt 1999).

    Returns:
        (raw, chance) of the curve's points. Where the sums rank the wrong way round the curve is flat.
    """
    hits, misses = float(churned.sum()), float((~churned).sum())
    target = np.where(churned, (hits + 1) / (hits + 2), 1 / (misses + 2))
    slope, offset = _logistic(raw, target)
    if slope <= 0:
        slope, mean = 0.0, float(target.mean())
        offset = float(np.log(mean / (1 - mean)))
    points = np.linspace(raw.min() - _MARGIN, raw.max() + _MARGIN, _POINTS)
    return points, _inside(_sigmoid(slope * points + offset))


def line(raw: Vector, happened: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of a logistic curve, held to 1 and 0 where there is little to tell otherwise.

    The most likely ones under normal priors, so that a horizon with few rows does not stretch what it was told.
    """
    design = np.column_stack([raw, np.ones_like(raw)])
    middle, held = np.array([1.0, 0.0]), np.array(_PRIOR_SD) ** -2.0
    beta = middle.copy()
    for _ in range(_STEPS):
        chance = _sigmoid(design @ beta)
        gradient = design.T @ (happened - chance) - held * (beta - middle)
        step = np.linalg.solve((design.T * (chance * (1 - chance))) @ design + np.diag(held), gradient)
        beta += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    return max(float(beta[0]), _LEAST_SLOPE), float(beta[1])


def isotonic(raw: Vector, churned: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    """The best curve that never falls (pool adjacent violators); needs some thousand members to be better than `platt`.

    Returns:
        (raw, chance) of the curve's points.
    """
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(out_of_bounds="clip").fit(raw, churned.astype(np.float64))
    return np.asarray(curve.X_thresholds_, np.float64), _inside(np.asarray(curve.y_thresholds_, np.float64))


def _inside(chance: Vector) -> Vector:
    return np.clip(chance, _SURE, 1 - _SURE)


def _sigmoid(value: Vector) -> Vector:
    return 1.0 / (1.0 + np.exp(-np.clip(value, -30.0, 30.0)))


def _logistic(raw: Vector, target: Vector) -> tuple[float, float]:
    """Slope and offset by Newton's method, with a ridge so small that it only matters when the slices separate."""
    centre, spread = float(raw.mean()), float(raw.std()) or 1.0
    design = np.column_stack([(raw - centre) / spread, np.ones_like(raw)])
    beta = np.zeros(2)
    for _ in range(_STEPS):
        chance = _sigmoid(design @ beta)
        gradient = design.T @ (target - chance) - 1e-6 * beta
        curvature = (design.T * (chance * (1 - chance))) @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        beta += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0] / spread), float(beta[1] - beta[0] * centre / spread)
