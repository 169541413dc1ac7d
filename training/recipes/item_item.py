"""Products bought by the same members: nearest neighbours by BM25 or cosine (library: implicit)."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import ItemItem
from training.interactions import Interactions
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ItemItemConfig:
    """Configuration of `item_item`."""

    similarity: Literal["bm25", "cosine"] = "bm25"
    neighbours: int = Field(default=50, ge=1, le=1000)
    """How many are kept for each product, itself among them where `itself`."""
    itself: bool = True
    """Whether a product is its own neighbour, so that what was bought is recommended again."""
    k1: float = Field(default=1.2, gt=0)
    b: float = Field(default=0.75, ge=0, le=1)
    """The two constants of BM25."""
    half_life_days: float = Field(default=90.0, gt=0)
    """After this time a purchase counts half when scores are added up."""
    popularity_days: float = Field(default=30.0, gt=0)


def _similarity(weights: sp.csr_matrix, config: ItemItemConfig) -> sp.csr_matrix:
    """(n_products, n_products), only the nearest of each row."""
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender  # heavy: only when fitting
    from implicit.utils import ParameterWarning

    width = config.neighbours + (not config.itself)
    if config.similarity == "bm25":
        model = BM25Recommender(K=width, K1=config.k1, B=config.b, num_threads=1)
    else:
        model = CosineRecommender(K=width, num_threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)  # about a format it converts to by itself
        model.fit(weights, show_progress=False)
    return sp.csr_matrix(model.similarity, dtype=np.float64)


def _padded(similarity: sp.csr_matrix, width: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows as a rectangle, best first, equal ones by position; filled up with position 0 and similarity 0."""
    found = similarity.tocoo()
    order = np.lexsort((found.col, -found.data, found.row))
    rows, columns, values = found.row[order], found.col[order], found.data[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    inside = place < width
    neighbours = np.zeros((similarity.shape[0], width), np.int32)
    near = np.zeros((similarity.shape[0], width), np.float32)
    neighbours[rows[inside], place[inside]] = columns[inside]
    near[rows[inside], place[inside]] = values[inside]
    return neighbours, near


def fit(interactions: Interactions, config: ItemItemConfig) -> Fitted:
    """Neighbours as arrays; the library's own answers are never passed on (it pads and returns what was filtered)."""
    weights = interactions.counts.copy()
    weights.data = np.log1p(weights.data)
    similarity = _similarity(weights, config)
    if not config.itself:
        similarity.setdiag(0.0)
    similarity.eliminate_zeros()
    neighbours, near = _padded(similarity, config.neighbours)
    popularity = popular(interactions, config.popularity_days)
    return Fitted(ItemItem(interactions.product_ids, neighbours, near, popularity, config.half_life_days))


def cost(interactions: Interactions, config: ItemItemConfig) -> Cost:
    """Time grows with the sum over members of (products bought)²."""
    bought = np.diff(interactions.counts.indptr).astype(np.float64)
    kept = len(interactions.product_ids) * config.neighbours
    return Cost(float(bought @ bought) * 6e-9 + kept * 1e-6, kept * 8e-5 + interactions.counts.nnz * 5e-5)
