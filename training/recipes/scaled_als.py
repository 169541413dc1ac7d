"""Implicit ALS whose regularisation grows with what is known of a row, and with a stated weight of the unobserved.

Rendle, Krichene, Zhang, Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks",
arXiv:2110.14037. With x the vectors of members, y those of products, w how sure a purchase is and ω the weight of every
pair, bought or not, it minimises

    Σ w (x·y − 1)² over what was bought + ω Σ (x·y − t)² over all pairs
    + λ Σ (Σw + ω n_products) |x|² over members + λ Σ (Σw + ω n_members) |y|² over products

where t is 1 for what was bought and 0 for all else. Neither ω nor λ is set itself, so that one setting means the same
on a small and on a large catalogue: ω follows from the total weight of all pairs for each unit of purchases, and λ is
a multiple of what keeps out noise. Of purchases strewn by chance over n rows the largest singular value is about
√(Σw²/n) for the shorter side n (Marchenko and Pastur 1967); λ is such that a direction must stand out above a multiple
of it.

With n purchases in a row, an iteration takes time like n · k · min(n, k) + min(n, k)³ for each row; memory grows with
the pairs, and with k for each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Factors
from features.learned.factors import confidence
from training.interactions import Interactions
from training.recipes.popularity import popular
from training.recipes.recipe import Cost, Fitted

_FEWEST = np.float32(1e-9)
"""Least weight of a purchase, however old: its square root must stay above 0 in 32 bits."""
_AT_ONCE = 2**22
"""So many numbers of a gathered block are held at once."""
_WIDENING = 1.2
"""A row is padded to at most so many times its length, to be solved beside longer ones."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ScaledAlsConfig:
    """Configuration of `scaled_als`."""

    factors: int = Field(default=128, ge=1, le=2048)
    regularization: float = Field(default=0.7, gt=0)
    """λ as a multiple of what keeps out noise; below 1 something weaker is let in too."""
    unobserved: float = Field(default=10.0, gt=0)
    """Weight of all pairs of member and product together, for each unit of weight of the purchases."""
    half_life_days: float = Field(default=180.0, gt=0)
    """After this time a purchase weighs half as much."""
    iterations: int = Field(default=8, ge=1)
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0


@plain_dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Rows of like length, padded with weight 0 to the longest."""

    rows: NDArray[np.intp]
    """(b,)"""
    index: NDArray[np.int32]
    """(b, length): columns."""
    weight: NDArray[np.float32]
    """(b, length)"""


def _blocks(weights: sp.csr_matrix, factors: int) -> Iterator[_Block]:
    """All rows with anything in them, shortest first, in few blocks of bounded size."""
    lengths = np.diff(weights.indptr)
    order = np.argsort(lengths, kind="stable")
    begin = int(np.searchsorted(lengths[order], 1))
    while begin < len(order):
        short = int(lengths[order[begin]])
        alike = int(np.searchsorted(lengths[order], max(short + 1, _WIDENING * short), side="right"))
        longest = int(lengths[order[alike - 1]])
        most = max(1, _AT_ONCE // (max(longest, factors) * max(factors, 1)))
        rows = order[begin : min(alike, begin + most)]
        begin += len(rows)
        width = int(lengths[rows[-1]])
        place = weights.indptr[rows].astype(np.int64)[:, None] + np.arange(width)
        there = np.arange(width) < lengths[rows][:, None]
        place = np.where(there, place, 0)
        yield _Block(
            rows,
            np.where(there, weights.indices[place], 0),
            np.where(there, weights.data[place], np.float32(0.0)),
        )


def _narrow(
    vectors: NDArray[np.float32], weight: NDArray[np.float32], diagonal: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`_wide` through a system as large as the row is long (Woodbury): x = D⁻¹VᵀR (R V D⁻¹ Vᵀ R + I)⁻¹ R⁻¹ (w + 1)."""
    root = np.sqrt(weight)
    scaled = vectors * root[:, :, None]
    spread = scaled / diagonal[:, None, :]
    system = spread @ scaled.transpose(0, 2, 1)
    system[:, np.arange(root.shape[1]), np.arange(root.shape[1])] += 1.0
    target = np.divide(weight + 1.0, root, out=np.zeros_like(root), where=root > 0)
    solved = np.linalg.solve(system, target[:, :, None])
    found: NDArray[np.float32] = (solved.transpose(0, 2, 1) @ spread)[:, 0]
    return found


def _wide(
    vectors: NDArray[np.float32], weight: NDArray[np.float32], diagonal: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve (D + Vᵀ W V) x = Vᵀ (w + 1) for each row of the block.

    Args:
        vectors: (b, length, k)
        weight: (b, length), 0 where padded.
        diagonal: (b, k)
    """
    k = vectors.shape[2]
    system = vectors.transpose(0, 2, 1) @ (vectors * weight[:, :, None])
    system[:, np.arange(k), np.arange(k)] += diagonal
    target = np.where(weight > 0, weight + 1.0, 0.0)[:, None, :] @ vectors
    found: NDArray[np.float32] = np.linalg.solve(system, target.transpose(0, 2, 1))[:, :, 0]
    return found


def solved(vectors: NDArray[np.float32], weights: sp.csr_matrix, regularization: float) -> NDArray[np.float32]:
    """The vectors of one side that are best while those of the other stay as they are, (n_rows, k).

    Each solves (VᵀV + Σ w v vᵀ + λ(n + Σ w) I) x = Σ (w + 1) v over the row's own purchases. In the coordinates in
    which VᵀV is diagonal, a row shorter than k needs a system no larger than itself.

    Args:
        vectors: (n, k) of the other side.
        weights: (n_rows, n): how sure each purchase is, in units of the weight of a pair that was not bought.
        regularization: λ.
    """
    exact = vectors.astype(np.float64)
    lengths, axes = np.linalg.eigh(exact.T @ exact)
    turned = (exact @ axes).astype(np.float32)
    ridge = regularization * (vectors.shape[0] + np.asarray(weights.sum(axis=1, dtype=np.float64)).ravel())
    out = np.zeros((weights.shape[0], vectors.shape[1]), np.float32)
    for block in _blocks(weights, vectors.shape[1]):
        diagonal = (np.maximum(lengths, 0.0) + ridge[block.rows, None]).astype(np.float32)
        solve = _narrow if block.index.shape[1] < vectors.shape[1] else _wide
        out[block.rows] = solve(turned[block.index], block.weight, diagonal)
    return np.asarray(out @ axes.T.astype(np.float32), np.float32)


def _weights(interactions: Interactions, config: ScaledAlsConfig) -> tuple[sp.csr_matrix, float, float]:
    """Weights of purchases in units of that of a pair not bought, the `alpha` that gives them, and λ."""
    weights = interactions.counts.copy()
    plain = confidence(weights.data, interactions.last_at.data, interactions.seconds, 1.0, config.half_life_days)
    total, squares = max(float(plain.sum()), 1e-300), float(plain @ plain)
    alpha = float(weights.shape[0]) * weights.shape[1] / (config.unobserved * total)
    noise = np.sqrt(max(weights.shape) * squares) / (config.unobserved * total)
    weights.data = np.maximum(alpha * plain, _FEWEST).astype(np.float32)
    return weights, alpha, config.regularization * noise


def fit(interactions: Interactions, config: ScaledAlsConfig) -> Fitted:
    """Product vectors with the closed form for a member's own; the products' are moved first, the members' last."""
    weights, alpha, ridge = _weights(interactions, config)
    across = sp.csr_matrix(weights.T)
    rng = np.random.default_rng(config.seed)
    members = (rng.standard_normal((weights.shape[0], config.factors)) * 0.1 / np.sqrt(config.factors)).astype(
        np.float32
    )
    for _ in range(config.iterations):
        products = solved(members, across, ridge)
        members = solved(products, weights, ridge)
    members[np.diff(weights.indptr) == 0] = np.nan
    exact = products.astype(np.float64)
    form = Factors(
        product_ids=interactions.product_ids,
        vectors=products,
        biases=np.zeros(len(products), np.float32),
        popularity=popular(interactions, config.popularity_days),
        gram=exact.T @ exact + ridge * len(products) * np.eye(config.factors),
        bridge=np.empty((0, 0)),
        alpha=alpha,
        half_life_days=config.half_life_days,
        ridge=ridge,
    )
    return Fitted(form, members)


def cost(interactions: Interactions, config: ScaledAlsConfig) -> Cost:
    """As said above: rows that are shorter than the vectors cost less."""
    counts, k = interactions.counts, config.factors
    lengths = np.r_[np.diff(counts.indptr), np.bincount(counts.indices, minlength=counts.shape[1])].astype(np.float64)
    narrow = np.minimum(lengths, k)
    work = float((lengths * k * narrow + narrow**3 / 3 + k * k).sum())
    return Cost(config.iterations * work * 1.3e-10, counts.nnz * 5e-5 + len(lengths) * k * 2e-5 + 300)
