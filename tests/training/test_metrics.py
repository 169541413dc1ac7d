"""Measures against values worked out by hand, and against scikit-learn where it has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from training import metrics

RANKED = np.array([[3, 1, 0], [2, 4, -1], [0, 1, 2]])
BOUGHT = sp.csr_matrix(
    np.array(
        [
            [1, 0, 0, 1, 0],  # hits at ranks 1 and 3
            [1, 0, 0, 0, 1],  # a hit at rank 2 of a short list
            [0, 0, 0, 1, 1],  # none
        ],
        bool,
    )
)


def test_a_hit_is_a_product_of_the_list_that_was_bought() -> None:
    assert metrics.hits(RANKED, BOUGHT).tolist() == [[True, False, True], [False, True, False], [False] * 3]


def test_ndcg_by_hand() -> None:
    best = 1 + 1 / math.log2(3)
    assert metrics.ndcg(RANKED, BOUGHT) == pytest.approx([(1 + 1 / 2) / best, (1 / math.log2(3)) / best, 0.0])


def test_ndcg_of_more_bought_than_shown_can_still_be_one() -> None:
    assert metrics.ndcg(np.array([[0, 1]]), sp.csr_matrix(np.ones((1, 5), bool))) == pytest.approx([1.0])


def test_recall_divides_by_all_that_was_bought() -> None:
    assert metrics.recall(RANKED, BOUGHT) == pytest.approx([1.0, 0.5, 0.0])
    assert metrics.recall(np.array([[0, 1]]), sp.csr_matrix(np.ones((1, 5), bool))) == pytest.approx([0.4])


def test_average_precision_of_lists_by_hand() -> None:
    assert metrics.average_precision_at_k(RANKED, BOUGHT) == pytest.approx([(1 + 2 / 3) / 2, (1 / 2) / 2, 0.0])


def test_coverage_divides_by_all_products_known() -> None:
    assert metrics.coverage(RANKED, 10) == pytest.approx(0.5)


def test_members_who_bought_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="1 members bought nothing"):
        metrics.ndcg(np.array([[0]]), sp.csr_matrix((1, 3), dtype=bool))


def test_precision_reciprocal_rank_and_hit_by_hand() -> None:
    assert metrics.precision(RANKED, BOUGHT).tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert metrics.reciprocal_rank(RANKED, BOUGHT).tolist() == [1.0, 0.5, 0.0]
    assert metrics.hit(RANKED, BOUGHT).tolist() == [1.0, 1.0, 0.0]


def test_novelty_is_how_many_bits_the_listed_products_say_of_a_buyer() -> None:
    bits = metrics.self_information(np.array([8, 4, 2, 1, 0]), members=8)
    assert bits.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    lists = np.array([[3, 1, 0], [2, 4, -1], [-1, -1, -1]])
    assert metrics.mean_of_listed(lists, bits)[:2].tolist() == pytest.approx([4 / 3, 3.0])
    assert math.isnan(metrics.mean_of_listed(lists, bits)[2])


Rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.1, 0.2, 0.25, 0.7, 0.9])), min_size=2, max_size=30)


@given(Rows)
def test_auc_and_average_precision_agree_with_scikit_learn(rows: list[tuple[int, float]]) -> None:
    label, score = np.array(rows, float).T
    if 0 < label.mean() < 1:
        assert metrics.auc(label, score) == pytest.approx(roc_auc_score(label, score))
        assert metrics.average_precision(label, score) == pytest.approx(average_precision_score(label, score))
    else:
        assert math.isnan(metrics.auc(label, score))


def test_brier_skill_by_hand() -> None:
    label, chance = [1, 0, 0, 0], [0.7, 0.1, 0.1, 0.1]
    squared, base = (0.09 + 3 * 0.01) / 4, (0.75**2 + 3 * 0.25**2) / 4
    assert metrics.brier_skill(label, chance) == pytest.approx(1 - squared / base)
    assert metrics.brier_skill(label, [0.25] * 4) == pytest.approx(0.0)
    assert metrics.brier_skill(label, chance, reference=0.5) == pytest.approx(1 - squared / 0.25)
    assert math.isnan(metrics.brier_skill([1, 1], [0.9, 0.8]))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 0.3), (2.0, -1.0)])
def test_the_calibration_line_finds_how_chances_were_distorted(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(5)
    logit = rng.normal(size=60_000)
    label = rng.random(60_000) < 1 / (1 + np.exp(-(slope * logit + intercept)))
    found = metrics.calibration_line(label, 1 / (1 + np.exp(-logit)))
    assert found == pytest.approx((slope, intercept), abs=0.05)
    assert metrics.calibration_slope(label, 1 / (1 + np.exp(-logit))) == found[0]


def test_the_calibration_line_is_undrawn_where_nothing_varies() -> None:
    assert math.isnan(metrics.calibration_slope([0, 1], [0.5, 0.5]))
    assert math.isnan(metrics.calibration_slope([1, 1], [0.4, 0.5]))


def test_expected_calibration_error_by_hand() -> None:
    label = [0, 0, 1, 1, 1, 0]
    chance = [0.1, 0.1, 0.1, 0.8, 0.8, 0.8]
    assert metrics.expected_calibration_error(label, chance, bins=2) == pytest.approx(
        (abs(1 / 3 - 0.1) + abs(2 / 3 - 0.8)) / 2
    )
    assert metrics.expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_when_there_are_many() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 4_000)
    found = metrics.mean_interval(values, np.random.default_rng(2))
    half = 1.96 * values.std() / math.sqrt(4_000)
    assert found.value == values.mean()
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(200):
        values = np.random.default_rng(seed).exponential(1.0, 80)
        found = metrics.mean_interval(values, np.random.default_rng(seed + 1000), draws=200)
        inside += found.low <= 1.0 <= found.high
    assert 0.88 <= inside / 200 <= 0.98


def test_a_score_differs_from_itself_by_nothing_and_from_noise_by_much() -> None:
    rng = np.random.default_rng(3)
    label = rng.random(800) < 0.4
    good, noise = label + rng.normal(size=800), rng.normal(size=800)
    same = metrics.difference_interval(metrics.auc, label, good, good, rng, draws=50)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    better = metrics.difference_interval(metrics.auc, label, good, noise, rng, draws=100)
    assert better.value == pytest.approx(metrics.auc(label, good) - metrics.auc(label, noise))
    assert 0 < better.low < better.value < better.high
