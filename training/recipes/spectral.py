"""Graph filters: what members bought, smoothed over the graph of members and products.

GF-CF: Shen et al., CIKM 2021, "How powerful is graph convolution for recommendation?", equation 8: with R̃ the purchases
divided by powers of their row and column sums D_U and D_I, scores are x·D_I^−b·(α·R̃ᵀR̃/σ₁² + V·H·Vᵀ)·D_I^b, where V
are the first right singular vectors of R̃, H what passes of each, and σ₁ its largest singular value (1 for powers of ½),
so that α is the response of the linear filter at the lowest frequency. BSPM (Choi et al., SIGIR 2023) blurs in the same
way before it sharpens. There both powers are ½, all of the first 256 vectors passes and nothing of the others, and the
low-pass filter weighs 0.3 of the linear one; here the powers are 0.3, H ends in a ramp (`low_pass.response`) and k is
found by holding purchases back, because that suited shops and films alike.

No product of products with products is ever dense: the linear filter is kept as the `neighbours` largest entries of
each row, and V as it is. Time grows with entries × k + (members + products) × k², and with Σ over members of (products
bought)² for the linear filter; memory with (members + products) × k + products × neighbours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Linear
from training.interactions import Interactions
from training.recipes import low_pass
from training.recipes.degrees import evened, weighted
from training.recipes.ease import empty
from training.recipes.recipe import Cost, Fitted
from training.search import Between, Range

_AT_ONCE = 1024


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SpectralConfig:
    """Configuration of `spectral`."""

    linear: float = Field(default=0.3, ge=0)
    """α: what the linear filter adds to the ideal low-pass filter; 0 leaves it out."""
    components: int | None = Field(default=None, ge=1, le=2048)
    """k: how many singular vectors pass, with a ramp from k/2 to 1.5·k; None asks `low_pass.chosen`."""
    most_components: int = Field(default=256, ge=1, le=2048)
    """The most that None tries."""
    member_power: float = Field(default=0.3, ge=0, le=1)
    """a: members' rows are divided by (sum of the row)^a."""
    product_power: float = Field(default=0.3, ge=0, le=1)
    """b: products' columns are divided by (sum of the column)^b."""
    half_life_days: float = Field(default=365.0, gt=0)
    """After this time a purchase counts half, in learning and in scoring."""
    neighbours: int = Field(default=200, ge=1)
    """Entries of the linear filter kept for each product."""
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0


SEARCH: dict[str, Range | None] = {
    "linear": Between(0.03, 3, log=True),
    "member_power": Between(0, 0.6),
    "product_power": Between(0, 0.6),
    "half_life_days": Between(30, 3000, log=True),
    "neighbours": None,
    "popularity_days": None,
}


def fit(interactions: Interactions, config: SpectralConfig) -> Fitted:
    """Singular vectors and the linear filter's largest entries; members have no vectors."""
    form = empty(interactions, config.half_life_days, config.popularity_days)
    bought = weighted(interactions, config.half_life_days)
    form = with_low_pass(form, bought, config)
    return Fitted(_with_linear(form, bought, config) if config.linear else form)


def with_low_pass(form: Linear, bought: sp.csr_matrix, config: SpectralConfig, share: float = 1.0) -> Linear:
    """`form` with the ideal low-pass filter, times `share`, for `degrees.weighted` purchases."""
    k, powers = config.components, (config.member_power, config.product_power)
    if k is None:
        k = low_pass.chosen(bought, *powers, config.most_components, config.seed)
    rows, divisor = evened(bought, *powers)
    vectors = low_pass.filtered(rows, k, config.seed)
    return replace(
        form,
        factors=vectors.astype(np.float32),
        inward=(1 / divisor).astype(np.float32),
        outward=(share * divisor).astype(np.float32),
    )


def _with_linear(form: Linear, bought: sp.csr_matrix, config: SpectralConfig) -> Linear:
    """`form` with α·R̃ᵀR̃/σ₁², of each row the largest entries after scaling."""
    rows, divisor = evened(bought, config.member_power, config.product_power)
    alpha = config.linear / np.square(rows @ form.factors[:, 0], dtype=np.float64).sum()  # all of the first passes
    starts, neighbours, weights = [np.zeros(1, np.int64)], [], []
    turned = sp.csr_matrix(rows.T)
    for begin in range(0, rows.shape[1], _AT_ONCE):
        scale = sp.diags(alpha / divisor[begin : begin + _AT_ONCE])
        block = sp.csr_matrix(scale @ (turned[begin : begin + _AT_ONCE] @ rows) @ sp.diags(divisor))
        lengths, columns, values = _largest(block, config.neighbours)
        starts.append(starts[-1][-1] + np.cumsum(lengths))
        neighbours.append(columns)
        weights.append(values)
    return replace(
        form,
        starts=np.concatenate(starts),
        neighbours=np.concatenate(neighbours),
        weights=np.concatenate(weights),
    )


def _largest(block: sp.csr_matrix, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """How many entries of each row are kept, at most `most`, and those entries by column; of equals the first."""
    row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    order = np.lexsort((block.indices, -block.data, row))
    kept = order[np.arange(len(order)) - block.indptr[row] < most]
    kept = kept[np.lexsort((block.indices[kept], row[kept]))]
    lengths = np.bincount(row[kept], minlength=block.shape[0])
    return lengths, block.indices[kept].astype(np.int32), block.data[kept].astype(np.float32)


def cost(interactions: Interactions, config: SpectralConfig) -> Cost:
    """Singular vectors twice (once without what is held back) and the linear filter."""
    counts = interactions.counts
    bought = np.diff(counts.indptr).astype(np.float64)
    pairs = float(bought @ bought) if config.linear else 0.0
    broad = low_pass_cost(interactions, config.components or 2 * config.most_components)
    kept = counts.shape[1] * min(config.neighbours, counts.shape[1]) * 8 / 2**20
    return Cost(broad.seconds + 6e-8 * pairs, broad.megabytes + 2 * kept + 100)


def low_pass_cost(interactions: Interactions, vectors: int) -> Cost:
    """What it takes to find so many singular vectors."""
    counts = interactions.counts
    sides, short = float(sum(counts.shape)), float(min(counts.shape))
    if short <= low_pass.EXACT:
        return Cost(0.05 + 6e-10 * short**3, 100 + short**2 * 5e-5)
    return Cost(0.05 + 1.5e-8 * counts.nnz * vectors + 2e-9 * sides * vectors**2, 100 + sides * vectors * 4e-5)
