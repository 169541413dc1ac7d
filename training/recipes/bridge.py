"""From what a member bought to the member's vector, for losses that have no closed form for it."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned.factors import confidence
from training.interactions import Interactions

_RIDGE = 1.0


def weights(interactions: Interactions, half_life_days: float) -> sp.csr_matrix:
    """How much each purchase weighs, of mean 1."""
    found = interactions.counts.copy()
    weight = confidence(found.data, interactions.last_at.data, interactions.seconds, 1.0, half_life_days)
    found.data = (weight / max(weight.mean(), 1e-300)).astype(np.float32)
    return found


def bridge(weight: sp.csr_matrix, members: NDArray[np.float32], products: NDArray[np.float32]) -> NDArray[np.float64]:
    """(k + 1, k): from the mean vector of what a member bought, and 1, to the member's vector, by ridge regression.

    It stands in for members without a stored vector.

    Args:
        weight: (n_members, n_products), as from `weights`.
        members: (n_members, k)
        products: (n_products, k)
    """
    total = np.asarray(weight.sum(axis=1)).ravel()
    known = total > 0
    mean = (weight[known] @ products.astype(np.float64)) / total[known, None]
    given = np.hstack([mean, np.ones((len(mean), 1))])
    penalty = _RIDGE * np.diag([*np.ones(products.shape[1]), 0.0]) + 1e-9 * np.eye(products.shape[1] + 1)
    return np.linalg.solve(given.T @ given + penalty, given.T @ members[known].astype(np.float64))
