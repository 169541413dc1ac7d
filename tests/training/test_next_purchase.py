from __future__ import annotations

import numpy as np
import pytest

from training import next_purchase

DAYS = np.array([0.0, 10.0, 20.0])


def test_days_off_worked_out_by_hand() -> None:
    # silence falls straight from 1 to 0 over 20 days. Came on day 10: ∫₀¹⁰ (t/20)² + ∫₁₀²⁰ (1 − t/20)² = 10/12 twice
    falls = np.array([[1.0, 0.5, 0.0]])
    assert next_purchase.days_off(falls, np.array([10.0]), DAYS) == pytest.approx([2 * 10 / 12])
    # never came: ∫₀²⁰ (t/20)² = 20/3; came at once: the same by symmetry
    assert next_purchase.days_off(falls, np.array([np.nan]), DAYS) == pytest.approx([20 / 3])
    assert next_purchase.days_off(falls, np.array([0.0]), DAYS) == pytest.approx([20 / 3])


def test_whoever_is_sure_of_one_day_is_off_by_the_days_between() -> None:
    fine = np.linspace(0, 20, 20_001)
    sure = (fine < 5).astype(float)[None, :]
    for came in (5.0, 12.0, 2.0):
        assert next_purchase.days_off(sure, np.array([came]), fine) == pytest.approx([abs(came - 5)], abs=0.01)


def test_kaplan_and_meier_worked_out_by_hand() -> None:
    # 4 wait; 1 of 4 comes on day 1, one is lost from sight on day 2, 1 of 2 comes on day 3
    found = next_purchase.alike(
        np.array([1.0, np.nan, 3.0, np.nan]), np.array([9.0, 2.0, 9.0, 9.0]), np.array([0.0, 0.9, 1.0, 2.5, 3.0, 9.0])
    )
    assert found == pytest.approx([1.0, 1.0, 0.75, 0.75, 0.375, 0.375])


def test_a_right_distribution_covers_what_it_promises_and_a_narrow_one_does_not() -> None:
    rng = np.random.default_rng(0)
    rate = rng.gamma(2.0, 1 / 60, 40_000)
    waits, horizon = rng.exponential(1 / rate), 90.0
    came = waits <= horizon
    for share in (0.5, 0.8):
        right = next_purchase.coverage(np.exp(-rate * waits), np.exp(-rate * horizon), came, share)
        assert right == pytest.approx(share, abs=0.015)
        hasty = next_purchase.coverage(np.exp(-3 * rate * waits), np.exp(-3 * rate * horizon), came, share)
        assert hasty < share - 0.1
