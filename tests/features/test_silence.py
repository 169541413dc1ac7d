from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from features.learned import LearnedError, Trees
from features.learned.churn import ADDED, RHYTHM, Churn, load_churn, save_churn
from features.learned.silence_logistic import Logistic

NAMES = ("lifetime_baskets", "recency_days", "first_purchase_days")
CALM = np.array([3.0, 10.0, 100.0])
LATE = np.array([3.0, 70.0, 100.0])
FAR = 4000.0


def one(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def made(constant: tuple[float, float, float] = (0.0, 0.0, 0.0), share: float = 0.0) -> Churn:
    """Log-odds of silence at 90 days are `constant[0]` for everybody; one tree says ±1 by a recency of 60 days."""
    trees = Trees(
        feature_names=np.array([*NAMES, *ADDED]),
        split_starts=np.array([0, 1], np.int32),
        leaf_starts=np.array([0, 2], np.int32),
        feature=np.array([1], np.int32),
        threshold=one(60.0),
        missing=np.array([2], np.int8),
        default_left=np.array([False]),
        left=np.array([-1], np.int32),
        right=np.array([-2], np.int32),
        split_value=one(0.0),
        leaf_value=one(-1.0, 1.0),
        leaf_count=one(10.0, 10.0),
    )
    logits = np.linspace(-12.0, 12.0, 24_001)
    plain = Logistic(np.array([], np.str_), one(*constant), np.zeros(7), np.zeros(7), np.zeros(7), one(1, 10, 1e-9, 1))
    curve = 1 / (1 + np.exp(-logits))
    return Churn(trees, logits, curve, plain, one(1, 1, 1), one(0, 0, 0), share, one(30.0, 90.0, 180.0), 90.0)


def test_hazards_worked_out_by_hand() -> None:
    # ln odds −ln 3 at 90 days: 1/4. It falls by ln 3 for each e in the days: at 30 days (e^−ln 3) odds are 3^(ln 3 − 1)
    model = made((-np.log(3), -np.log(3), 0.0))
    at_30 = 3 ** (np.log(3) - 1) / (1 + 3 ** (np.log(3) - 1))
    days = one(0.0, 30.0, 60.0, 90.0)
    said = model.silence(CALM[None, :], days)[0]
    assert said == pytest.approx([1.0, at_30, np.sqrt(at_30 * 0.25), 0.25], abs=1e-6)
    # before the first point the hazard is constant from day 0
    assert model.silence(CALM[None, :], one(15.0))[0] == pytest.approx([np.sqrt(at_30)], abs=1e-6)
    assert model.probability(CALM[None, :]) == pytest.approx([0.25], abs=1e-6)


def test_beyond_what_was_learned_it_falls_as_the_rhythm_does() -> None:
    model = made((0.0, 0.0, 0.0))
    # nobody leaves; 3 baskets, so 2 repeats: silence by rhythm ((10+100) ÷ (10+100+t))^3
    ratio = ((110 + 180) / (110 + 720)) ** 3
    assert model.silence(CALM[None, :], one(180.0, 720.0))[0] == pytest.approx([0.5, 0.5 * ratio], rel=1e-5)


def test_where_the_models_would_rise_with_the_days_the_curve_is_held_to_the_horizon() -> None:
    model = made((0.0, 1.0, 0.0))  # odds of silence would grow with the days
    said = model.silence(CALM[None, :], one(30.0, 90.0, 180.0))[0]
    assert said == pytest.approx([0.5, 0.5, 0.5], abs=1e-6)


def test_quantiles_are_where_the_curve_is() -> None:
    model = made((-np.log(3), -np.log(3), 0.0))
    shares = one(0.1, 0.5, 0.75)
    found = model.next_purchase(CALM[None, :], shares, FAR)[0]
    assert model.silence(CALM[None, :], found)[0] == pytest.approx(1 - shares, abs=1e-3)
    assert found[2] == pytest.approx(90.0, abs=0.01)
    assert model.next_purchase(CALM[None, :], one(0.75, 0.9), 100.0)[0, 1] == np.inf


def test_the_average_of_trees_and_linear_model_and_what_each_feature_adds() -> None:
    model = made((0.5, 0.0, 0.0), share=0.25)
    rows = np.stack((CALM, LATE))
    assert model.log_odds(rows, 90.0) == pytest.approx([0.25 * -1 + 0.75 * 0.5, 0.25 * 1 + 0.75 * 0.5])
    names, moved = model.contributions(rows)
    assert names == (*NAMES, RHYTHM)
    assert moved == pytest.approx(np.array([[0, -0.25, 0, 0, 0.375], [0, 0.25, 0, 0, 0.375]]))
    ((name, change),) = model.reasons(LATE)
    assert name == "recency_days" and change == pytest.approx(0.25)


def test_one_member_gets_what_many_get() -> None:
    model = made((0.5, 0.3, 0.0), share=0.25)
    for row in (CALM, LATE, np.full(3, np.nan)):
        assert model.probability_of_one(row) == pytest.approx(float(model.probability(row[None, :])[0]), abs=1e-12)


def test_saved_and_loaded_it_has_the_same_bytes_and_says_the_same(tmp_path: Path) -> None:
    model = made((0.5, 0.3, 0.0), share=0.25)
    for name in ("one", "two"):
        save_churn(model, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    days = one(1.0, 45.0, 400.0)
    read = load_churn(tmp_path / "one")
    assert np.array_equal(read.silence(LATE[None, :], days), model.silence(LATE[None, :], days))


def test_a_horizon_below_0_is_refused() -> None:
    with pytest.raises(LearnedError, match="not below 0"):
        made().silence(CALM[None, :], one(-1.0))
