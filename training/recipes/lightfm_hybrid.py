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
from training.interactions import Interactions
from training.recipes.bridge import bridge, weights
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted
from training.search import Between


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LightfmHybridConfig:
    """Configuration of `lightfm_hybrid`."""

    factors: int = Field(default=64, ge=1, le=1024)
    loss: Literal["warp", "bpr", "logistic"] = "warp"
    epochs: int = Field(default=20, ge=1)
    most_steps: int = Field(default=10_000_000, ge=1)
    """Of a long history fewer epochs are made, but no fewer than 5. On inner splits with 5 instead of 20 what is new to
    a member came out as well; only what was bought before came out lower."""
    learning_rate: float = Field(default=0.05, gt=0)
    member_penalty: float = Field(default=1e-6, ge=0)
    product_penalty: float = Field(default=1e-5, ge=0)
    half_life_days: float = Field(default=180.0, gt=0)
    """After this time a purchase weighs half as much."""
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    """More than one update the vectors without locks: quicker, and never twice the same."""


SEARCH = {
    "factors": Between(16, 256, log=True),
    "epochs": Between(5, 60, log=True),
    "learning_rate": Between(0.005, 0.15, log=True),
    "member_penalty": Between(1e-8, 1e-3, log=True),
    "product_penalty": Between(1e-8, 1e-3, log=True),
}


def _with_identity(tags: sp.csr_matrix) -> sp.csr_matrix:
    """Every row has a feature of its own beside its tags."""
    return sp.csr_matrix(sp.hstack([sp.identity(tags.shape[0], dtype=np.float32), tags], format="csr"))


def _epochs(interactions: Interactions, config: LightfmHybridConfig) -> int:
    return min(config.epochs, max(5, config.most_steps // max(int(interactions.counts.nnz), 1)))


def fit(interactions: Interactions, config: LightfmHybridConfig) -> Fitted:
    """A vector is the sum of the embeddings of identity and tags; members without purchases still have tags."""
    from lightfm import LightFM  # heavy: only when fitting

    weight = weights(interactions, config.half_life_days)
    given = weight.tocoo()  # the library multiplies its steps by them
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
        sp.coo_matrix((np.ones_like(given.data), (given.row, given.col)), shape=given.shape),
        user_features=of_members,
        item_features=of_products,
        sample_weight=given,
        epochs=_epochs(interactions, config),
        num_threads=config.threads,
    )
    members = np.asarray(of_members @ model.user_embeddings, np.float32)
    products = np.asarray(of_products @ model.item_embeddings, np.float32)
    form = Factors(
        product_ids=interactions.product_ids,
        vectors=products,
        biases=np.asarray(of_products @ model.item_biases, np.float32),
        popularity=popular(interactions, config.popularity_days),
        gram=np.empty((0, 0)),
        bridge=bridge(weight, members, products),
        half_life_days=config.half_life_days,
    )
    return Fitted(form, _known_rows(interactions, members))


def _known_rows(interactions: Interactions, members: NDArray[np.float32]) -> NDArray[np.float32]:
    """NaN for members with neither purchases nor tags: their embedding is still as random as it began."""
    empty = (np.diff(interactions.counts.indptr) == 0) & (np.diff(interactions.member_tags.indptr) == 0)
    return np.where(empty[:, None], np.float32(np.nan), members)


def cost(interactions: Interactions, config: LightfmHybridConfig) -> Cost:
    """Time grows with epochs · pairs · factors · (1 + tags of members and products); memory with pairs and vectors."""
    pairs, rows, k = interactions.counts.nnz, sum(interactions.counts.shape), config.factors
    tags = 1.0 + (interactions.member_tags.nnz + 2 * interactions.product_tags.nnz) / max(rows, 1)
    return Cost(
        _epochs(interactions, config) * pairs * k * tags * 2e-8 / config.threads, pairs * 6e-5 + rows * k * 2.5e-5
    )
