"""What members bought as weights, evened out by how much a member or a product has of them: what linear models read."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned.factors import confidence
from training.interactions import Interactions


def weighted(interactions: Interactions, half_life_days: float) -> sp.csr_matrix:
    """ln(1+count)·2^(−age/half-life) ÷ ln 2, (n_members, n_products) float64: 1 for what was bought once, just now."""
    found = interactions.counts.astype(np.float64)
    last = interactions.last_at.data
    found.data = confidence(found.data, last, interactions.seconds, 1 / np.log(2), half_life_days)
    found.eliminate_zeros()
    return found


def evened(
    bought: sp.csr_matrix, member_power: float, product_power: float
) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
    """Divided by (sum of the row)^member_power and by (sum of the column)^product_power.

    Powers of ½ and ½ make the normalised graph of GF-CF (Shen et al., CIKM 2021); between 0 and ½ they are the
    data-adaptive normalisation of linear models (Park et al., SIGIR 2025).

    Returns:
        The divided matrix, and what each product was divided by, (n_products,); 1 where nobody bought it.
    """
    of_members, of_products = (np.asarray(bought.sum(axis=axis)).ravel() for axis in (1, 0))
    by_member, by_product = (
        np.where(sums > 0, sums, 1.0) ** power
        for sums, power in ((of_members, member_power), (of_products, product_power))
    )
    return sp.csr_matrix(sp.diags(1 / by_member) @ bought @ sp.diags(1 / by_product)), by_product


def typical_norm(rows: sp.csr_matrix) -> float:
    """Σ‖row‖⁴ ÷ Σ‖row‖²: the squared length of a member's row, as met by one purchase taken at random.

    The ridge of a linear item model is the noise of a purchase over the variance of a weight, and weights are the
    smaller the more purchases of one member share the work; so it grows with this, and not with the number of members.
    """
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    return float(squares @ squares / squares.sum())


def gram(rows: sp.csr_matrix, dense_gain: float = 250.0) -> NDArray[np.float64]:
    """RᵀR, (n_products, n_products) dense, by whichever way does less.

    Sparse: Σ over members of (products bought)² steps. Dense, in blocks of members: n_members × n_products², each
    step `dense_gain` times as quick.
    """
    lengths = np.diff(rows.indptr).astype(np.float64)
    n = rows.shape[1]
    if lengths @ lengths <= rows.shape[0] * float(n) ** 2 / dense_gain:
        return _from_sparse(rows)
    out = np.zeros((n, n))
    step = max(1, 2**24 // max(n, 1))
    for begin in range(0, rows.shape[0], step):
        block = rows[begin : begin + step].toarray()
        out += block.T @ block
    return out


def _from_sparse(rows: sp.csr_matrix) -> NDArray[np.float64]:
    """Some columns at a time, so that the sparse product never holds more than a part."""
    n = rows.shape[1]
    out = np.empty((n, n))
    columns, turned = rows.tocsc(), rows.T.tocsr()
    for begin in range(0, n, 1024):
        out[:, begin : begin + 1024] = (turned @ columns[:, begin : begin + 1024]).toarray()
    return out
