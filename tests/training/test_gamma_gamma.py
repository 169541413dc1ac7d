import time

import numpy as np
import pytest

from tests.training.cd_store import sample
from training import gamma_gamma
from training.gamma_gamma import Spending

PUBLISHED = Spending(p=6.25, q=3.74, v=15.44)
"""Fader & Hardie 2013: 946 members of the CD-store sample with a repeat purchase."""


def purses(model: Spending, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean spend of members who spend as the model says."""
    own = rng.gamma(model.q, 1 / model.v, len(x))
    return rng.gamma(model.p * x, 1 / (own * x))


def test_the_published_parameters_of_the_cd_store_come_out() -> None:
    frame = sample()
    found = gamma_gamma.fit(frame["x"].to_numpy(np.float64), frame["zbar"].to_numpy(np.float64))
    assert (round(found.p, 2), round(found.q, 2)) == (6.25, 3.74)
    assert found.v == pytest.approx(15.44, abs=0.02)


def test_a_member_is_expected_to_spend_between_the_own_mean_and_that_of_all() -> None:
    """By hand: 6.25·(15.44 + 2·22.35)/(6.25·2 + 3.74 − 1) = 6.25·60.14/15.24 = 24.66; all: 15.44·6.25/2.74 = 35.22."""
    found = gamma_gamma.expected(PUBLISHED, np.array([2.0, 0.0]), np.array([22.35, np.nan]))
    assert found == pytest.approx([24.66, 35.22], abs=0.005)
    assert PUBLISHED.mean == pytest.approx(35.22, abs=0.005)


@pytest.mark.parametrize(("p", "q", "v"), [(6.25, 3.74, 15.44), (0.3, 1.01, 2.0), (50.0, 20.0, 400.0)])
def test_the_gradient_is_the_slope_of_the_likelihood(p: float, q: float, v: float) -> None:
    x, z = np.array([1.0, 1, 2, 9, 30]), np.array([3.0, 80, 22, 41, 0.5])
    _, gradient = gamma_gamma.log_likelihood(x, z, p, q, v)
    for i, value in enumerate((p, q, v)):
        high, low = ((*(p, q, v)[:i], value * (1 + sign * 1e-05), *(p, q, v)[i + 1 :]) for sign in (1, -1))
        rise = gamma_gamma.log_likelihood(x, z, *high)[0] - gamma_gamma.log_likelihood(x, z, *low)[0]
        assert gradient[i] * value == pytest.approx(rise / 2e-5, rel=1e-5, abs=1e-4)


def test_the_likelihood_is_a_density_over_the_mean() -> None:
    z = np.geomspace(1e-4, 1e6, 200_001)
    for x in (1.0, 7.0):
        density = np.array([gamma_gamma.log_likelihood(np.array([x]), z[i : i + 1], 6.25, 3.74, 15.44)[0]
                            for i in range(0, len(z), 100)])  # fmt: skip
        grid = z[::100]
        assert np.trapezoid(np.exp(density) * grid, np.log(grid)) == pytest.approx(1.0, abs=1e-4)


def test_parameters_that_made_a_history_are_found_again_in_any_currency() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 30, 40_000).astype(np.float64)
    z = purses(PUBLISHED, x, rng)
    found, in_cents = gamma_gamma.fit(x, z), gamma_gamma.fit(x, z * 100)
    assert found.p == pytest.approx(6.25, rel=0.03)
    assert found.q == pytest.approx(3.74, rel=0.03)
    assert found.v == pytest.approx(15.44, rel=0.05)
    assert in_cents.v == pytest.approx(found.v * 100, rel=1e-3)


def test_the_order_of_members_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(1, 9, 500).astype(np.float64)
    z, shuffle = purses(PUBLISHED, x, rng), rng.permutation(500)
    assert gamma_gamma.fit(x, z) == gamma_gamma.fit(x[shuffle], z[shuffle])


@pytest.mark.parametrize("z", [[5.0], [5.0, 5.0, 5.0], [1e-3, 1.0, 1e9], [1e-9]])
def test_any_money_has_a_fit_with_a_mean(z: list[float]) -> None:
    found = gamma_gamma.fit(np.ones(len(z)), np.array(z))
    assert 0 < found.mean < float("inf")
    assert np.isfinite(gamma_gamma.expected(found, np.ones(len(z)), np.array(z))).all()


def test_a_history_without_repeat_purchases_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="later time"):
        gamma_gamma.fit(np.array([0.0, 2.0]), np.array([np.nan, -3.0]))


@pytest.mark.slow
def test_a_million_members_are_fitted_in_seconds() -> None:
    rng = np.random.default_rng(3)
    x = 1 + np.floor(rng.pareto(1.5, 1_000_000)).clip(0, 300)
    z = purses(PUBLISHED, x, rng)
    began = time.process_time()
    gamma_gamma.fit(x, z)
    assert time.process_time() - began < 30
