from __future__ import annotations

import numpy as np
import pytest

from features.learned import LearnedError
from features.learned.rhythm import TERMS, Rhythm
from training import bgnbd

PAPER = Rhythm(0.243, 4.414 * 7, 0.793, 2.426)
"""Fader, Hardie & Lee 2005, table 2; α in days."""
NOBODY_LEAVES = Rhythm(1.0, 10.0, 1e-12, 1.0)


def known(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, np.float64)


def logit(chance: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(chance / (1 - chance)), -8, 8))


def test_whoever_bought_once_10_days_ago_stays_silent_for_20_days_with_one_half() -> None:
    # (α+T) ÷ (α+T+t) = (10 + 10) ÷ (10 + 10 + 20) to the power r + 0 = 1
    assert NOBODY_LEAVES.silent(known((1, 10, 10)), 20.0) == pytest.approx([0.5])
    # one basket more: to the power 2
    assert NOBODY_LEAVES.silent(known((2, 3, 10)), 20.0) == pytest.approx([0.25], abs=1e-9)


def test_who_has_left_for_sure_with_one_third_buys_nothing_with_at_least_that() -> None:
    # x = 1, last purchase now: odds of having left a ÷ (b + x − 1) = 1 ÷ 2, times a ratio of 1
    rhythm = Rhythm(1.0, 10.0, 1.0, 2.0)
    assert rhythm.silent(known((2, 0, 10)), 1e12) == pytest.approx([1 / 3], abs=1e-6)
    assert rhythm.silent(known((2, 0, 10)), 0.0) == pytest.approx([1.0])


def test_it_is_the_same_model_that_training_fits() -> None:
    rng = np.random.default_rng(1)
    age = rng.uniform(1, 700, 300)
    baskets = rng.integers(1, 40, 300).astype(float)
    recency = np.where(baskets > 1, rng.uniform(0, 1, 300) * age, age)
    fitted = bgnbd.Buying(PAPER.r, PAPER.alpha, PAPER.a, PAPER.b)
    habits = bgnbd.Habits.of(baskets - 1, age - recency, age)
    rows = np.stack((baskets, recency, age), axis=1)
    for days in (7.0, 90.0):
        said = PAPER.silent(rows, days)
        assert said == pytest.approx(bgnbd.silent(fitted, habits, days), abs=1e-12)
        assert PAPER.terms(rows, days)[:, -1] == pytest.approx(logit(said), abs=1e-6)
    assert PAPER.terms(rows, 7.0)[:, 0] == pytest.approx(logit(bgnbd.alive(fitted, habits)), abs=1e-6)


def test_one_member_gets_what_many_get() -> None:
    rows = known((1, 5, 5), (1, 0, 0), (30, 2, 400), (30, 300, 400), (2, 9, 9), (np.nan, np.nan, np.nan), (0, 0, 0))
    for days in (1.0, 90.0, 365.0):
        one_by_one = [PAPER.terms_of_one(row.tolist(), days) for row in rows]
        assert PAPER.terms(rows, days) == pytest.approx(np.array(one_by_one), abs=1e-12)
    assert len(one_by_one[0]) == len(TERMS)


def test_parameters_that_are_not_above_0_are_refused() -> None:
    with pytest.raises(LearnedError, match="not all above 0"):
        Rhythm(0.0, 1.0, 1.0, 1.0)
