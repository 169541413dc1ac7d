"""Implicit-feedback matrix factorisation by alternating least squares (library: implicit).

Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from threadpoolctl import threadpool_limits

from features.learned import Factors
from features.learned.factors import confidence
from training.interactions import Interactions
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted
from training.search import Between


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AlsConfig:
    """Configuration of `als`."""

    factors: int = Field(default=64, ge=1, le=1024)
    regularization: float = Field(default=10.0, gt=0)
    alpha: float = Field(default=3.0, gt=0)
    """How much a purchase adds to the confidence, which is 1 for what was not bought."""
    half_life_days: float = Field(default=180.0, gt=0)
    """After this time a purchase adds half as much."""
    iterations: int = Field(default=15, ge=1)
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0


SEARCH = {"factors": Between(16, 256, log=True), "iterations": Between(5, 30), "alpha": Between(0.5, 100, log=True)}


def _confidences(interactions: Interactions, config: AlsConfig) -> sp.csr_matrix:
    found = interactions.counts.copy()
    extra = confidence(found.data, interactions.last_at.data, interactions.seconds, config.alpha, config.half_life_days)
    found.data = (1.0 + extra).astype(np.float32)
    return found


def _factorised(confidences: sp.csr_matrix, config: AlsConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of members and products. The members' are solved once more, for the products' were moved last."""
    from implicit.cpu.als import AlternatingLeastSquares  # heavy: only when fitting

    with threadpool_limits(limits=1):  # again: the import has just brought a BLAS of its own
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            alpha=1.0,
            iterations=config.iterations,
            num_threads=1,
            random_state=config.seed,
            dtype=np.float32,
        )
        model.fit(confidences, show_progress=False)
        members = model.recalculate_user(np.arange(confidences.shape[0]), confidences)
    return np.asarray(members, np.float32), np.asarray(model.item_factors, np.float32)


def fit(interactions: Interactions, config: AlsConfig) -> Fitted:
    """Product vectors with the closed form for a member's own; the library's answers are never passed on."""
    confidences = _confidences(interactions, config)
    members, products = _factorised(confidences, config)
    members[np.diff(confidences.indptr) == 0] = np.nan
    exact = products.astype(np.float64)
    form = Factors(
        product_ids=interactions.product_ids,
        vectors=products,
        biases=np.zeros(len(products), np.float32),
        popularity=popular(interactions, config.popularity_days),
        gram=exact.T @ exact + config.regularization * np.eye(config.factors),
        bridge=np.empty((0, 0)),
        alpha=config.alpha,
        half_life_days=config.half_life_days,
    )
    return Fitted(form, members)


def cost(interactions: Interactions, config: AlsConfig) -> Cost:
    """Time grows with pairs · factors and rows · factors² for each iteration; memory with the pairs and the vectors."""
    pairs, rows, k = interactions.counts.nnz, sum(interactions.counts.shape), config.factors
    steps = config.iterations * (pairs * k * 2 + rows * k * k)
    return Cost(steps * 1.2e-9 + rows * k**3 * 1e-10, pairs * 5e-5 + rows * k * 1.2e-5)
