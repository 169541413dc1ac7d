import numpy as np
import pytest

from tests.training.cd_store import sample
from training import bgnbd
from training.bgnbd import Buying, Counted, Habits

PUBLISHED = Buying(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""Fader, Hardie & Lee 2005, table 2: the CD-store sample, weeks."""


def the_story(model: Buying, age: np.ndarray, horizon: float, rng: np.random.Generator) -> tuple[Habits, np.ndarray]:
    """Members who live as the model says, purchase by purchase: what is known of them, and purchases in the horizon."""
    n = len(age)
    rate, leaves = rng.gamma(model.r, 1 / model.alpha, n), rng.beta(model.a, model.b, n)
    now, there = np.zeros(n), np.ones(n, bool)
    x, last, after = np.zeros(n), np.zeros(n), np.zeros(n)
    while there.any():
        now[there] += rng.exponential(1 / rate[there])
        there &= now <= age + horizon
        before = there & (now <= age)
        x += before
        last = np.where(before, now, last)
        after += there & ~before
        there &= rng.random(n) >= leaves
    return Habits.of(x, last, age), after


@pytest.fixture(scope="module")
def cd_store() -> Habits:
    frame = sample()
    return Habits.of(frame["x"], frame["t_x"], frame["T"])


def test_the_published_parameters_of_the_cd_store_come_out(cd_store: Habits) -> None:
    found = bgnbd.fit(cd_store)
    assert [round(each, 3) for each in (found.r, found.alpha, found.a, found.b)] == [0.243, 4.414, 0.793, 2.426]


def test_the_likelihood_of_the_published_fit_is_the_published_one(cd_store: Habits) -> None:
    parameters = np.array([PUBLISHED.r, PUBLISHED.alpha, PUBLISHED.a, PUBLISHED.b])
    assert bgnbd.log_likelihood(Counted.of(cd_store), parameters)[0] == pytest.approx(-9582.4, abs=0.05)


def test_a_member_of_the_cd_store_is_expected_to_buy_as_often_as_published() -> None:
    one = Habits.of([2], [30.43], [38.86])
    assert bgnbd.expected(PUBLISHED, one, 39.0)[0] == pytest.approx(1.226, abs=5e-4)


@pytest.mark.parametrize(
    "parameters",
    [[0.243, 4.414, 0.793, 2.426], [5.0, 0.01, 1e-4, 1e-3], [1e-4, 300.0, 40.0, 0.5], [2.0, 1e5, 1e4, 1e4]],
)
def test_the_gradient_is_the_slope_of_the_likelihood(cd_store: Habits, parameters: list[float]) -> None:
    counted, here = Counted.of(cd_store), np.array(parameters)
    _, gradient = bgnbd.log_likelihood(counted, here)
    for i, value in enumerate(here):
        step = np.eye(4)[i] * value * 1e-5
        rise = bgnbd.log_likelihood(counted, here + step)[0] - bgnbd.log_likelihood(counted, here - step)[0]
        assert gradient[i] * value == pytest.approx(rise / 2e-5, rel=1e-4, abs=1e-3)


def test_members_counted_together_are_as_likely_as_one_by_one(cd_store: Habits) -> None:
    parameters = np.array([0.3, 5.0, 0.5, 2.0])
    one_by_one = [
        bgnbd.log_likelihood(Counted.of(Habits.of([x], [last], [age])), parameters)[0]
        for x, last, age in zip(cd_store.frequency[:60], cd_store.recency[:60], cd_store.age[:60], strict=True)
    ]
    first = Habits(cd_store.frequency[:60], cd_store.recency[:60], cd_store.age[:60])
    counted = Counted.of(first)
    assert len(counted.members) < 60
    assert bgnbd.log_likelihood(counted, parameters)[0] == pytest.approx(sum(one_by_one), rel=1e-12)


def test_the_order_of_members_and_the_unit_of_time_do_not_matter(cd_store: Habits) -> None:
    found = bgnbd.fit(cd_store)
    shuffle = np.random.default_rng(0).permutation(len(cd_store.age))
    again = bgnbd.fit(Habits(cd_store.frequency[shuffle], cd_store.recency[shuffle], cd_store.age[shuffle]))
    in_days = bgnbd.fit(Habits(cd_store.frequency, cd_store.recency * 7, cd_store.age * 7))
    assert again == found
    assert in_days.alpha == pytest.approx(found.alpha * 7, rel=1e-4)


def test_who_bought_once_has_not_left_and_who_came_often_and_stopped_has() -> None:
    members = Habits.of([0, 20, 20], [0, 10, 38], [38.86, 38.86, 38.86])
    chance = bgnbd.alive(PUBLISHED, members)
    assert chance[0] == 1.0
    assert chance[1] < 1e-4
    assert chance[2] > 0.9


def test_silence_and_purchases_to_come_are_those_of_members_who_live_the_story() -> None:
    rng = np.random.default_rng(1)
    horizon = 26.0
    members, after = the_story(PUBLISHED, rng.integers(10, 80, 400_000).astype(float), horizon, rng)
    silent, expected = bgnbd.silent(PUBLISHED, members, horizon), bgnbd.expected(PUBLISHED, members, horizon)
    idle = members.age - members.recency
    groups = [members.frequency == x for x in (0, 1, 2, 5)]
    groups += [(members.frequency > 1) & (idle < 5), (members.frequency > 1) & (idle > 15) & (idle < 25)]
    for group in groups:
        n = group.sum()
        assert n > 3000
        quiet, bought = after[group] == 0, after[group]
        assert silent[group].mean() == pytest.approx(quiet.mean(), abs=4 * quiet.std() / n**0.5)
        assert expected[group].mean() == pytest.approx(bought.mean(), abs=4 * bought.std() / n**0.5)


def test_parameters_that_made_a_history_are_found_again() -> None:
    rng = np.random.default_rng(2)
    truth = Buying(0.8, 60.0, 0.8, 2.5)
    members, _ = the_story(truth, rng.integers(30, 700, 60_000).astype(float), 0.0, rng)
    found = bgnbd.fit(Habits(members.frequency, np.floor(members.recency), members.age))
    assert found.r == pytest.approx(0.8, rel=0.05)
    assert found.alpha == pytest.approx(60, rel=0.06)
    assert found.a / (found.a + found.b) == pytest.approx(0.8 / 3.3, rel=0.06)


def test_silence_for_no_time_is_certain_and_for_ever_is_having_left() -> None:
    members = Habits.of([0, 3, 50], [0, 30, 20], [38.86, 38.86, 60])
    assert bgnbd.silent(PUBLISHED, members, 0.0) == pytest.approx([1, 1, 1], abs=1e-15)
    assert bgnbd.silent(PUBLISHED, members, 1e30) == pytest.approx(1 - bgnbd.alive(PUBLISHED, members), abs=1e-4)


@pytest.mark.parametrize("a", [1.0, 1.00005, 0.99995])
def test_expected_purchases_have_no_hole_where_the_closed_form_divides_by_zero(a: float) -> None:
    members = Habits.of([0, 3, 50], [0, 30, 20], [38.86, 38.86, 60])
    beside = [bgnbd.expected(Buying(0.243, 4.414, side, 2.426), members, 52.0) for side in (0.998, 1.002)]
    assert bgnbd.expected(Buying(0.243, 4.414, a, 2.426), members, 52.0) == pytest.approx(sum(beside) / 2, rel=1e-4)


@pytest.mark.parametrize("model", [PUBLISHED, Buying(0.01, 300.0, 0.05, 30.0), Buying(30.0, 0.5, 20.0, 9.0)])
def test_series_and_integral_are_the_same_number(model: Buying) -> None:
    x, age = np.array([0.0, 1, 4, 200]), np.array([5.0, 0.5, 100, 2000])
    series = bgnbd._series(model, x, age, 30.0)
    assert np.isfinite(series).all()
    assert bgnbd._integral(model, x, age, 30.0) == pytest.approx(series, rel=1e-5)


def test_where_nobody_leaves_purchases_follow_the_rate() -> None:
    """With p = 0 it is the negative binomial model: (r+x)/(α+T) a unit of time."""
    never = Buying(2.0, 10.0, 1e-6, 1.0)
    assert bgnbd.expected(never, Habits.of([4], [9], [20]), 15.0)[0] == pytest.approx(15 * 6 / 30, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "last", "age"),
    [
        ([0.0], [0.0], [30.0]),
        ([3.0], [20.0], [30.0]),
        ([0.0] * 50, [0.0] * 50, list(range(1, 51))),
        ([200.0] * 20, [364.0] * 20, [365.0] * 20),
        ([0.0, 5.0, 1.0], [0.0, 4e9, 1e9], [1e10, 1e10, 1e10]),
        ([2000.0, 0.0, 1.0], [3.0, 0.0, 1e-9], [3.0, 3.0, 3.0]),
    ],
)  # fmt: skip
def test_any_history_has_a_fit_and_finite_answers(x: list[float], last: list[float], age: list[float]) -> None:
    members = Habits.of(x, last, age)
    model = bgnbd.fit(members)
    horizon = max(age)
    for answer in (bgnbd.silent(model, members, horizon), bgnbd.alive(model, members)):
        assert ((answer >= 0) & (answer <= 1)).all()
    expected = bgnbd.expected(model, members, horizon)
    assert np.isfinite(expected).all()
    assert (expected >= 0).all()


def test_a_history_that_contradicts_itself_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match="row 1 has frequency 0, recency 5"):
        Habits.of([1, 0], [2, 5], [9, 9])
    with pytest.raises(ValueError, match="later time"):
        bgnbd.fit(Habits.of([0], [0], [0]))


@pytest.mark.slow
def test_a_million_members_are_fitted_in_seconds() -> None:
    import time

    rng = np.random.default_rng(3)
    members, _ = the_story(Buying(0.8, 60.0, 0.8, 2.5), rng.integers(30, 365, 1_000_000).astype(float), 0.0, rng)
    by_day = Habits(members.frequency, np.floor(members.recency), members.age)
    began = time.process_time()
    bgnbd.expected(bgnbd.fit(by_day), by_day, 90.0)
    assert time.process_time() - began < 10
