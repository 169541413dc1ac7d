"""Factorisation over members and products and their tags, so that new products have a place (library: LightFM).

Kula 2015, "Metadata embeddings for user and item cold-start recommendations"; WARP loss of Weston et al. 2011.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Factors
from features.learned.factors import confidence
from training.interactions import Interactions
from training.recipes.popularity import popular
from training.recipes.recipe import Fitted

_RIDGE = 1.0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LightfmHybridConfig:
    """Configuration of `lightfm_hybrid`."""

    factors: int = Field(default=64, ge=1, le=1024)
    loss: Literal["warp", "bpr", "logistic"] = "warp"
    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    member_penalty: float = Field(default=1e-6, ge=0)
    product_penalty: float = Field(default=1e-5, ge=0)
    half_life_days: float = Field(default=180.0, gt=0)
    """After this time a purchase weighs half as much."""
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0


def _with_identity(tags: sp.csr_matrix) -> sp.csr_matrix:
    """Every row has a feature of its own beside its tags."""
    return sp.csr_matrix(sp.hstack([sp.identity(tags.shape[0], dtype=np.float32), tags], format="csr"))


def _weights(interactions: Interactions, half_life_days: float) -> sp.coo_matrix:
    """Weights of mean 1: the library multiplies its steps by them."""
    found = interactions.counts.tocoo()
    weight = confidence(found.data, interactions.last_at.tocoo().data, interactions.seconds, 1.0, half_life_days)
    return sp.coo_matrix(
        ((weight / max(weight.mean(), 1e-300)).astype(np.float32), (found.row, found.col)), shape=found.shape
    )


def _bridge(
    interactions: Interactions, members: NDArray[np.float32], products: NDArray[np.float32], half_life_days: float
) -> NDArray[np.float64]:
    """(k + 1, k): from the mean vector of what a member bought to the member's vector, by ridge regression.

    It stands in for members without a stored vector, for whom this loss has no closed form.
    """
    weights = _weights(interactions, half_life_days).tocsr()
    total = np.asarray(weights.sum(axis=1)).ravel()
    known = total > 0
    mean = (weights[known] @ products.astype(np.float64)) / total[known, None]
    given = np.hstack([mean, np.ones((len(mean), 1))])
    penalty = _RIDGE * np.diag([*np.ones(products.shape[1]), 0.0]) + 1e-9 * np.eye(products.shape[1] + 1)
    return np.linalg.solve(given.T @ given + penalty, given.T @ members[known].astype(np.float64))


def fit(interactions: Interactions, config: LightfmHybridConfig) -> Fitted:
    """A vector is the sum of the embeddings of identity and tags; members without purchases still have tags."""
    from lightfm import LightFM  # heavy: only when fitting

    weights = _weights(interactions, config.half_life_days)
    of_members, of_products = _with_identity(interactions.member_tags), _with_identity(interactions.product_tags)
    model = LightFM(
        no_components=config.factors,
        loss=config.loss,
        learning_rate=config.learning_rate,
        user_alpha=config.member_penalty,
        item_alpha=config.product_penalty,
        random_state=config.seed,
    )
    model.fit(
        sp.coo_matrix((np.ones_like(weights.data), (weights.row, weights.col)), shape=weights.shape),
        user_features=of_members,
        item_features=of_products,
        sample_weight=weights,
        epochs=config.epochs,
        num_threads=1,
    )
    members = np.asarray(of_members @ model.user_embeddings, np.float32)
    products = np.asarray(of_products @ model.item_embeddings, np.float32)
    form = Factors(
        product_ids=interactions.product_ids,
        vectors=products,
        biases=np.asarray(of_products @ model.item_biases, np.float32),
        popularity=popular(interactions, config.popularity_days),
        gram=np.empty((0, 0)),
        bridge=_bridge(interactions, members, products, config.half_life_days),
        half_life_days=config.half_life_days,
    )
    return Fitted(form, _known_rows(interactions, members))


def _known_rows(interactions: Interactions, members: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN for members with neither purchases nor tags: their embedding is still as random as it began."""
    empty = (np.diff(interactions.counts.indptr) == 0) & (np.diff(interactions.member_tags.indptr) == 0)
    return np.where(empty[:, None], np.float32(np.nan), members)
