import numpy as np
import pytest

from training import value_metrics
from training.value_metrics import Slice

ACTUAL = np.array([0.0, 10, 30, 60])


def test_gini_of_the_right_order_is_that_of_the_money_and_of_the_wrong_order_its_opposite() -> None:
    """By hand: shares 60, 90, 100, 100 % at members 1..4; area under = (0.3+0.75+0.95+1)/4 = 0.75; 2·0.75−1 = 0.5."""
    assert value_metrics.gini(ACTUAL, ACTUAL) == pytest.approx(0.5)
    assert value_metrics.gini(ACTUAL, -ACTUAL) == pytest.approx(-0.5)


def test_measures_of_four_members_worked_out_by_hand() -> None:
    """Forecast 20, 20, 40, 40: total 120 of 100; deciles hold one member each, off by 20, 10, 10, 20."""
    found = value_metrics.measure(ACTUAL, np.array([20.0, 20, 40, 40]))
    assert found["total_error"] == pytest.approx(0.2)
    assert found["decile_error"] == pytest.approx(0.6)
    assert found["absolute_error"] == pytest.approx(0.6)
    # Ties keep the order given: 30, 60, 0, 10. Held before and half of it: .15, .6, .9, .95; mean .65.
    assert found["gini"] == pytest.approx(0.3)
    assert found["normalised_gini"] == pytest.approx(0.6)


def test_a_forecast_against_itself_differs_by_nothing_and_a_better_one_by_something_certain() -> None:
    rng = np.random.default_rng(0)
    worth = rng.gamma(1.0, 10.0, 800)
    actual = rng.poisson(worth).astype(float)
    part = Slice(np.arange(800), actual, {"good": worth, "same": worth, "blind": np.full(800, worth.mean())})
    _, none = value_metrics.compare([part], "good", "same", seed=0, resamples=50)
    assert all((gap.value, gap.low, gap.high) == (0, 0, 0) for gap in none.values())
    _, gaps = value_metrics.compare([part, part], "good", "blind", seed=0, resamples=50)
    assert gaps["normalised_gini"].low > 0.5
    assert gaps["absolute_error"].high < -0.3


def test_a_member_in_several_slices_is_drawn_into_all_of_them() -> None:
    """One member alone in both slices: every resample is that member, and no interval has any width."""
    one = Slice(np.array([0]), np.array([4.0]), {"a": np.array([5.0]), "b": np.array([4.0])})
    figures, _ = value_metrics.compare([one, one], "a", "b", seed=0, resamples=20)
    error = figures["a"]["total_error"]
    assert (error.value, error.low, error.high) == pytest.approx((0.25, 0.25, 0.25))
