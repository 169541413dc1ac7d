"""Ridge regression of products on their nearest only: the way out where all with all does not fit.

Steck, NeurIPS 2019, "Markov random fields for collaborative filtering": the precision matrix is taken to be zero
outside a graph of strong correlations, and its columns are solved one by one on that graph. Products
never bought together are no neighbours. With n neighbours a product costs n³ steps and Σ over the neighbours' buyers;
memory grows with products × n. With all others as neighbours it is the exact solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """Rows of weights: from the product bought to the products scored."""

    starts: NDArray[np.int64]
    neighbours: NDArray[np.int32]
    weights: NDArray[np.float64]


def nearest(
    rows: sp.csr_matrix,
    ridge: float,
    tail: NDArray[np.intp],
    head: NDArray[np.intp],
    precision: NDArray[np.float64],
    n_neighbours: int,
) -> Sparse:
    """Weights to and from the products of the tail.

    Those to a tail product come from its own regression. Those from it to a product of the head follow from the
    symmetry of the precision matrix, w_ji = w_ij·P_jj/P_ii, where P_ii is that of the head's own solution.

    Args:
        rows: (n_members, n_products), evened out.
        ridge: λ.
        tail: Products to be foretold, rising.
        head: Products whose weights among themselves are known already, rising.
        precision: (len(head),): the diagonal of their precision matrix.
        n_neighbours: How many products foretell one.
    """
    columns, turned = rows.tocsc(), rows.T.tocsr()
    length = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel() + ridge)
    at_head = np.zeros(rows.shape[1])
    at_head[head] = precision
    found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for begin in range(0, len(tail), _BLOCK):
        block = tail[begin : begin + _BLOCK]
        together = (turned @ columns[:, block]).tocsc()
        for place, product in enumerate(block.tolist()):
            span = slice(together.indptr[place], together.indptr[place + 1])
            near = _strongest(together.indices[span], together.data[span], length, product, n_neighbours)
            if near[0].size:
                found += _solved(columns, ridge, product, length[product], *near, at_head)
    return _joined(found, rows.shape[1])


def _strongest(
    candidates: NDArray[np.int32], dots: NDArray[np.float64], length: NDArray[np.float64], product: int, n: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The `n` others most correlated with the product, and their dot products with it; of equals the first."""
    other = candidates != product
    candidates, dots = candidates[other], dots[other]
    order = np.lexsort((candidates, -dots / length[candidates]))[:n]
    return candidates[order], dots[order]


def _solved(
    columns: sp.csc_matrix,
    ridge: float,
    product: int,
    length: float,
    near: NDArray[np.int32],
    dots: NDArray[np.float64],
    at_head: NDArray[np.float64],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]]:
    """(from, to, weight) of one regression, and of its mirror image where the neighbour is of the head."""
    of_near = columns[:, near]
    normal = (of_near.T @ of_near).toarray()
    normal[np.diag_indices(len(near))] += ridge
    weights = cho_solve(cho_factor(normal, lower=True, overwrite_a=True, check_finite=False), dots, check_finite=False)
    own = 1.0 / (length**2 - dots @ weights)
    here = np.full(len(near), product)
    back = at_head[near] > 0
    mirrored = weights[back] * own / at_head[near[back]]
    return [(near.astype(np.intp), here, weights), (here[back], near[back].astype(np.intp), mirrored)]


def _joined(found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]], n: int) -> Sparse:
    if not found:
        return Sparse(np.zeros(n + 1, np.int64), np.empty(0, np.int32), np.empty(0))
    bought, scored, weights = (np.concatenate(part) for part in zip(*found, strict=True))
    matrix = sp.csr_matrix((weights, (bought, scored)), shape=(n, n))
    return Sparse(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
