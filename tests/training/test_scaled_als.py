"""ALS with frequency-scaled regularisation: equal to a direct solution, row by row, on small matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from training.recipes.scaled_als import solved


def _one_by_one(vectors: NDArray[np.float32], weights: sp.csr_matrix, regularization: float) -> NDArray[np.float64]:
    """Each row's normal equations over the whole catalogue, in 64 bits."""
    exact, dense = vectors.astype(float), weights.toarray().astype(float)
    out = np.zeros((dense.shape[0], exact.shape[1]))
    for row, weight in enumerate(dense):
        ridge = regularization * (len(exact) + weight.sum())
        normal = exact.T @ np.diag(1.0 + weight) @ exact + ridge * np.eye(exact.shape[1])
        out[row] = np.linalg.solve(normal, exact.T @ np.where(weight > 0, 1.0 + weight, 0.0))
    return out


def test_a_member_with_one_factor_is_solved_by_hand() -> None:
    """VᵀV = 1 + 4 = 5, Σwv² = 3·4 = 12, λ(2 + 3) = .5, target (1 + 3)·2 = 8: x = 8 / 17.5."""
    vectors = np.array([[1.0], [2.0]], np.float32)
    weights = sp.csr_matrix(np.array([[0.0, 3.0], [0.0, 0.0]], np.float32))
    assert solved(vectors, weights, 0.1)[:, 0] == pytest.approx([8 / 17.5, 0.0])


@pytest.mark.parametrize("factors", [1, 3, 12, 40])
def test_one_half_of_an_iteration_equals_a_loop_over_the_rows(factors: int) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(60, factors)).astype(np.float32)
    lengths = rng.permutation(np.r_[0, 0, 1, 1, 60, rng.integers(0, 61, 75)])
    bought = rng.permuted(np.arange(60) < lengths[:, None], axis=1)
    weights = sp.csr_matrix(np.where(bought, rng.lognormal(1, 1, (80, 60)), 0).astype(np.float32))
    np.testing.assert_allclose(solved(vectors, weights, 0.02), _one_by_one(vectors, weights, 0.02), atol=2e-4)
