"""Each product foretold from the others by ridge regression, in closed form.

EASE^R: Steck, WWW 2019, "Embarrassingly shallow autoencoders for sparse data": with G = XᵀX and P = (G + λI)⁻¹, the
weights B_ij = −P_ij/P_jj for i ≠ j and B_jj = 0 minimise ‖X − XB‖² + λ‖B‖² where no product may foretell itself.

Time grows with Σ over members of (products bought)² + m³ and memory with m², for the m products in the square (6,689
of them, which 512 MB hold: 10 s on one core). Where `memory_mb` or `most_products` leaves some out, the most-bought are
in the square and each of the rest is foretold from its nearest `neighbours` only (`training.recipes.nearest`).
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from scipy.linalg import lapack

from features.learned import Linear
from training.interactions import Interactions
from training.recipes.degrees import evened, gram, typical_norm, weighted
from training.recipes.nearest import nearest
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted, RecipeError
from training.search import Between, Range

_BYTES = 12
"""For each pair of products in the square: 8 of the inverse, 4 of the weights."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EaseConfig:
    """Configuration of `ease`."""

    regularization: float = Field(default=5.0, gt=0)
    """λ as a multiple of a member's typical squared length (`degrees.typical_norm`)."""
    member_power: float = Field(default=0.3, ge=0, le=1)
    """Members' rows are divided by (sum of the row)^this: busy members count less."""
    product_power: float = Field(default=0.25, ge=0, le=1)
    """Products' columns are divided by (sum of the column)^this, so that λ weighs less on rare ones."""
    half_life_days: float = Field(default=365.0, gt=0)
    """After this time a purchase counts half, in learning and in scoring."""
    memory_mb: float = Field(default=512.0, gt=0)
    """The square of products with products may take this much while fitting; a third of it is kept in the artefact."""
    most_products: int = Field(default=12_000, ge=0)
    """The square has no more products than this, whatever the memory, for time grows with the cube (12,000: 1 min)."""
    neighbours: int = Field(default=100, ge=1, le=1000)
    """How many foretell a product outside the square."""
    popularity_days: float = Field(default=30.0, gt=0)


SEARCH: dict[str, Range | None] = {
    "regularization": Between(0.5, 50, log=True),
    "member_power": Between(0, 0.6),
    "product_power": Between(0, 0.6),
    "half_life_days": Between(30, 3000, log=True),
    "neighbours": None,
    "popularity_days": None,
}


def fit(interactions: Interactions, config: EaseConfig) -> Fitted:
    """Weights between products; members have no vectors."""
    form = empty(interactions, config.half_life_days, config.popularity_days)
    return Fitted(with_weights(form, weighted(interactions, config.half_life_days), config))


def empty(interactions: Interactions, half_life_days: float, popularity_days: float) -> Linear:
    """A linear form in which nothing speaks for anything yet."""
    n = len(interactions.product_ids)
    return Linear(
        product_ids=interactions.product_ids,
        popularity=popular(interactions, popularity_days),
        head=np.empty(0, np.int32),
        dense=np.empty((0, 0), np.float32),
        starts=np.zeros(n + 1, np.int64),
        neighbours=np.empty(0, np.int32),
        weights=np.empty(0, np.float32),
        factors=np.empty((n, 0), np.float32),
        inward=np.ones(n, np.float32),
        outward=np.ones(n, np.float32),
        half_life_days=half_life_days,
    )


def with_weights(form: Linear, bought: sp.csr_matrix, config: EaseConfig) -> Linear:
    """`form` with the weights of EASE, learned from `degrees.weighted` purchases."""
    if not bought.nnz:
        raise RecipeError("ease: every purchase is too old to count; raise half_life_days")
    rows, divisor = evened(bought, config.member_power, config.product_power)
    ridge = config.regularization * typical_norm(rows)
    buyers = rows.getnnz(axis=0)
    head = _most_bought(buyers, config)
    dense, precision = _square(rows[:, head], ridge)
    tail = np.setdiff1d(np.flatnonzero(buyers), head)
    sparse = nearest(rows, ridge, tail, head, precision, config.neighbours)
    dense *= (divisor[head] / divisor[head, None]).astype(np.float32)
    bought = np.repeat(np.arange(len(divisor)), np.diff(sparse.starts))
    weights = (sparse.weights * divisor[sparse.neighbours] / divisor[bought]).astype(np.float32)
    return replace(
        form,
        head=head.astype(np.int32),
        dense=dense,
        starts=sparse.starts,
        neighbours=sparse.neighbours,
        weights=weights,
    )


def _most_bought(buyers: NDArray[np.integer], config: EaseConfig) -> NDArray[np.intp]:
    """The products in the square, rising."""
    room = min(isqrt(int(config.memory_mb * 2**20 / _BYTES)), config.most_products)
    order = np.argsort(-buyers, kind="stable")[:room]
    return np.sort(order[buyers[order] > 0])


def _square(rows: sp.csr_matrix, ridge: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """B of the products in these columns, (m, m), and the diagonal of P, (m,)."""
    m = rows.shape[1]
    if not m:
        return np.empty((0, 0), np.float32), np.empty(0)
    inverse = gram(rows).T  # symmetric; LAPACK works in place on columns
    inverse[np.diag_indices(m)] += ridge
    inverse, _ = lapack.dpotrf(inverse, lower=1, clean=0, overwrite_a=1)
    inverse, _ = lapack.dpotri(inverse, lower=1, overwrite_c=1)
    precision = inverse.diagonal().copy()
    weights = np.empty((m, m), np.float32)
    for at in range(m):  # only the lower half was computed
        weights[at:, at] = inverse[at:, at]
        weights[at, at:] = inverse[at:, at]
    weights /= -precision.astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return weights, precision


def cost(interactions: Interactions, config: EaseConfig) -> Cost:
    """Time grows with the cube of the products in the square, and with (products bought)² of each member."""
    square = float(len(_most_bought(interactions.counts.getnnz(axis=0), config)))
    bought = np.diff(interactions.counts.indptr).astype(np.float64)
    tail = max(0.0, interactions.counts.shape[1] - square)
    seconds = 3.2e-11 * square**3 + 1.5e-8 * float(bought @ bought) + 5e-4 * tail
    return Cost(seconds, square**2 * _BYTES / 2**20 + interactions.counts.nnz * 1e-4 + 300)
