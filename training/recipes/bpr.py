"""Bayesian personalised ranking: what was bought above what was not (library: implicit).

Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit feedback". Each
step draws a purchase, and a product to rank below it.

The library draws that product as often as it was bought, so what is learned is how much more a member wants a product
than others do; the logarithm of the chance it was drawn with is added back (Yi et al. 2019, "Sampling-bias-corrected
neural modeling for large corpus item recommendations", equation 3). On the inner split of MovieLens 100k this took
NDCG@10 from .171 to .252.

Time grows with passes times pairs, memory with pairs and the vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Factors
from training.interactions import Interactions
from training.recipes.bridge import bridge, weights
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted

_NEVER = 0.5
"""As many buyers a product has that nobody bought, where a logarithm is taken."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BprConfig:
    """Configuration of `bpr`."""

    factors: int = Field(default=64, ge=1, le=1024)
    learning_rate: float = Field(default=0.01, gt=0)
    regularization: float = Field(default=0.01, ge=0)
    passes: int = Field(default=100, ge=1)
    """How often as many steps are made as there are pairs."""
    most_steps: int = Field(default=300_000_000, ge=1)
    """Of a long history fewer passes are made, but no fewer than 10."""
    lately: float = Field(default=0.5, ge=0, le=1)
    """How far the popularity that is added back is that of the last `popularity_days`, not of the whole history."""
    half_life_days: float = Field(default=180.0, gt=0)
    """After this time a purchase counts half for a member whose vector is not stored."""
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    """More than one update the vectors without locks: quicker, and never twice the same."""


def _passes(interactions: Interactions, config: BprConfig) -> int:
    return min(config.passes, max(10, config.most_steps // int(interactions.counts.nnz)))


def _learned(interactions: Interactions, config: BprConfig) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors of members and products; the last number of each is 1 and the product's bias."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking  # heavy: only when fitting

    model = BayesianPersonalizedRanking(
        factors=config.factors,
        learning_rate=config.learning_rate,
        regularization=config.regularization,
        iterations=_passes(interactions, config),
        num_threads=config.threads,
        random_state=config.seed,
    )
    model.fit(interactions.counts.copy(), show_progress=False)  # it may sort what it is given
    return np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)


def _wanted_anyway(interactions: Interactions, config: BprConfig) -> NDArray[np.float64]:
    """Logarithm of how popular each product is, (n_products,), for a part of what was bought lately."""
    buyers = np.maximum(np.bincount(interactions.counts.indices, minlength=len(interactions.product_ids)), _NEVER)
    lately = popular(interactions, config.popularity_days).astype(np.float64)
    least = lately[lately > 0].min() / 2
    ever = np.log(buyers / interactions.counts.shape[0])
    found: NDArray[np.float64] = config.lately * np.log(np.maximum(lately, least)) + (1 - config.lately) * ever
    return found


def fit(interactions: Interactions, config: BprConfig) -> Fitted:
    """Vectors and biases; a member whose vector is not stored gets one over a bridge from what was bought."""
    members, products = _learned(interactions, config)
    members, vectors = members[:, :-1].copy(), products[:, :-1].copy()
    biases = products[:, -1].astype(np.float64)
    sold = np.bincount(interactions.counts.indices, minlength=len(biases)) > 0
    biases[~sold] = biases[sold].min()  # the library leaves them at 0, above what was drawn and lost
    form = Factors(
        product_ids=interactions.product_ids,
        vectors=vectors,
        biases=(biases + _wanted_anyway(interactions, config)).astype(np.float32),
        popularity=popular(interactions, config.popularity_days),
        gram=np.empty((0, 0)),
        bridge=bridge(weights(interactions, config.half_life_days), members, vectors),
        half_life_days=config.half_life_days,
    )
    members[np.diff(interactions.counts.indptr) == 0] = np.nan
    return Fitted(form, members)


def cost(interactions: Interactions, config: BprConfig) -> Cost:
    """Time grows with the steps, dearer where the vectors leave the core's cache; memory with pairs and vectors."""
    pairs, rows, k = interactions.counts.nnz, sum(interactions.counts.shape), config.factors
    steps = _passes(interactions, config) * pairs
    return Cost(steps * (1e-7 + k * 5e-9) / config.threads, pairs * 4e-5 + rows * k * 1.2e-5)
