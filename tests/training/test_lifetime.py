from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from features.entities import Programme
from features.learned.faults import LearnedError
from features.learned.lifetime import HABITS, Lifetime, load_lifetime, save_lifetime
from features.learned.lifetime_golden import check_lifetime, of_lifetime
from training import bgnbd, frames, gamma_gamma, lifetime_frames, lifetime_story
from training.bgnbd import Buying, Habits
from training.challengers import typical_rows
from training.frames import HistoryTooShortError
from training.gamma_gamma import Spending
from training.lifetime import LifetimeConfig, calibrated, coverage, cut, fit
from training.lifetime_challenger import Ground
from training.lifetime_report import OURS, PUBLISHED, judge
from training.lifetime_story import TooFewBuyersError

END = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = LifetimeConfig(horizon_days=90, cut_offs=2, resamples=40)


@pytest.fixture(scope="module")
def programme() -> Programme:
    return catalog.load(Path("configs/catalog")).programme


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lifetime") / "tables"
    made = simulate(WORLDS["weak"], members=900, products=60, days=400, ends_at=END, seed=5)
    history.merge(place, {name: made[name] for name in ("members", "products", "purchases")})
    return place


@pytest.fixture(scope="module")
def ground(tables: Path, programme: Programme) -> Ground:
    return Ground.prepare(tables, programme, CONFIG, history.ends_at(tables))


@pytest.fixture(scope="module")
def model(ground: Ground) -> Lifetime:
    learn = [ground.cuts[each] for each in ground.plan.learn]
    bare = fit(learn, ground.cuts[ground.at], ground.names, 90, CONFIG, 0)
    said = ground.told(CONFIG, 0)
    return calibrated(bare, said.ours, said.brought)


def made_of(buying: Buying, spending: Spending, seed: int, n: int = 3000) -> tuple[pd.DataFrame, np.ndarray]:
    """Members who live BG/NBD and spend gamma-gamma for a year: features at its end, and money of the 90 days after."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(60, 360, n)
    rate, leaves = rng.gamma(buying.r, 1 / buying.alpha, n), rng.beta(buying.a, buying.b, n)
    own = rng.gamma(spending.q, 1 / spending.v, n)
    baskets, last, spent, after = np.ones(n), np.zeros(n), rng.gamma(spending.p, 1 / own), np.zeros(n)
    now, there = np.zeros(n), np.ones(n, bool)
    while there.any():
        now[there] += rng.exponential(1 / rate[there])
        there &= now <= age + 90
        money, before = rng.gamma(spending.p, 1 / own), there & (now <= age)
        baskets += before
        last = np.where(before, now, last)
        spent += np.where(before, money, 0)
        after += np.where(there & ~before, money, 0)
        there &= rng.random(n) >= leaves
    found = pd.DataFrame(dict(zip(HABITS, (baskets, age, age - last, spent), strict=True)))
    return found.assign(paid=spent, earned=spent, brought=after, member_id=[f"m{i}" for i in range(n)]), after


STORY = Buying(0.8, 40.0, 0.8, 3.0), Spending(4.0, 5.0, 80.0)


def test_the_plan_never_learns_from_a_horizon_that_was_open_when_it_is_judged() -> None:
    plan = lifetime_frames.plan(END, END - timedelta(days=400), None, 3)
    assert plan.days == 90
    assert plan.judged == END - timedelta(days=90)
    assert max(plan.learn_before) + timedelta(days=90) <= plan.judged
    assert max(plan.learn) + timedelta(days=90) <= END
    assert len(plan.learn) == 3


def test_the_longest_horizon_that_can_be_judged_is_taken_and_too_short_a_history_is_refused() -> None:
    taken = [lifetime_frames.plan(END, END - timedelta(days=days), None, 3).days for days in (95, 300, 500, 1000)]
    assert taken == [30, 90, 180, 365]
    with pytest.raises(HistoryTooShortError, match="a horizon of 30 days needs 90 days of history, there are 80"):
        lifetime_frames.plan(END, END - timedelta(days=80), None, 3)
    with pytest.raises(HistoryTooShortError, match=r"lifetime\.horizon_days"):
        lifetime_frames.plan(END, END - timedelta(days=300), 180, 3)


def test_net_margin_is_what_was_paid_less_cost_and_later_money_is_worth_less(
    tmp_path: Path, programme: Programme
) -> None:
    """Product a costs 6 (given); 30 % of what b costs is margin (assumed). A year later money is worth 1/1.1."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    when = [at - timedelta(days=5), at, at + timedelta(days=365), at + timedelta(days=365), at + timedelta(days=366)]
    bought = pd.DataFrame(
        {
            "member_id": "m", "product_id": ["a", "a", "a", "b", "a"], "quantity": [1.0, 1, 2, -1, 9],
            "amount": [10.0, 9, 18, -10, 90], "occurred_at": when, "known_at": when,
        }
    )  # fmt: skip
    products = pd.DataFrame(
        {
            "product_id": ["a", "b"], "unit_price": [10.0, 20.0], "unit_margin": [4.0, 6.0],
            "margin_basis": ["given", "assumed"],
        }
    )  # fmt: skip
    bought.to_parquet(tmp_path / "purchases.parquet")
    products.to_parquet(tmp_path / "products.parquet")
    found = lifetime_frames.brought(tmp_path, programme, at, 365, at + timedelta(days=999), 0.1)
    assert found["m"] == pytest.approx((18 - 12 - 3) / 1.1)
    unknown = lifetime_frames.brought(tmp_path, programme, at, 365, at + timedelta(days=30), 0.1)
    assert unknown["m"] == 0.0
    assert lifetime_frames.lines(tmp_path, programme)["amount"].tolist() == pytest.approx([4, 3, 6, -3, 36])


def test_discounting_a_steady_stream_is_an_annuity() -> None:
    """One a day for a year at 10 %: ∫ 1.1^(−t/365) dt = 365·(1 − 1/1.1)/ln 1.1 = 348.15; steps of a month come near."""
    found = lifetime_story.discounted(lambda horizon: np.array([horizon]), 365.0, 0.1)
    assert found[0] == pytest.approx(348.15, abs=0.02)
    assert lifetime_story.discounted(lambda horizon: np.array([horizon]), 365.0, 0.0)[0] == pytest.approx(365)


def test_the_table_and_numpy_alone_say_what_the_published_formulas_say() -> None:
    part, _ = made_of(*STORY, seed=1)
    names = HABITS
    made = cut(part, names, 90, replace(CONFIG, discount=0.0))
    told = made.story
    x, age = part["lifetime_baskets"].to_numpy() - 1, part["first_purchase_days"].to_numpy()
    last = np.where(x > 0, age - part["recency_days"].to_numpy(), 0.0)
    members = Habits.of(x, last, age)
    money = gamma_gamma.expected(told.spending, x + 1, part["lifetime_spend"].to_numpy() / (x + 1))
    exact = bgnbd.expected(told.buying, members, 90.0) * money
    assert made.derived[:, 1] == pytest.approx(bgnbd.alive(told.buying, members), abs=1e-12)
    far = np.abs(np.exp(made.derived[:, 0]) / exact - 1)
    assert np.quantile(far, 0.99) < 0.01
    assert np.exp(made.derived[:, 0]).sum() == pytest.approx(exact.sum(), rel=2e-3)


def test_where_the_story_is_true_the_model_is_near_the_truth_and_its_intervals_hold() -> None:
    (before, _), (now, came) = made_of(*STORY, seed=2), made_of(*STORY, seed=3)
    config = replace(CONFIG, discount=0.0, confidence=0.8)
    learned, present = cut(before, HABITS, 90, config), cut(now, HABITS, 90, config)
    bare = fit([learned], present, HABITS, 90, config, 0)
    spread, brought = made_of(*STORY, seed=4)
    model = calibrated(bare, bare.value(cut(spread, HABITS, 90, config).features), brought)
    said = model.value(present.features)
    assert said.sum() == pytest.approx(came.sum(), rel=0.08)
    assert coverage(model, said, came) == pytest.approx(0.8, abs=0.04)
    worth = model.worth(present.features)
    assert (worth.low <= worth.high).all()


def test_ours_is_not_behind_the_published_model_on_later_months_and_says_how_sure_it_is(ground: Ground) -> None:
    report = judge([ground.told(CONFIG, 0)], 0, 40)
    assert report.gaps["normalised_gini"].high > 0
    assert report.figures[OURS]["normalised_gini"].value > 0.4
    assert set(report.figures) == {OURS, PUBLISHED}
    assert 0.65 < report.covered < 0.95
    assert {"normalised_gini", "published_normalised_gini", "total_error_gap_low", "coverage"} <= set(report.metrics)


def test_longer_horizons_are_worth_more_and_marked(model: Lifetime, ground: Ground) -> None:
    worth = model.worth(ground.cuts[ground.at].features)
    assert (worth.value[:, 1] > worth.value[:, 0]).all()
    assert (worth.value[:, 0] > model.value(ground.cuts[ground.at].features)).all()
    assert model.extrapolated(12)
    assert not replace(model, days=365.0).extrapolated(12)
    assert replace(model, days=365.0).extrapolated(36)


def test_trees_move_money_between_members_but_not_in_total(model: Lifetime, ground: Ground) -> None:
    present = ground.cuts[ground.at]
    baseline = np.exp(present.derived[:, 0]).sum() * present.rate
    ratio = model.value(present.features).sum() / baseline
    assert abs(np.log(ratio)) <= 0.3 + 1e-9
    spread = np.log(model.value(present.features)) - present.derived[:, 0]
    assert spread.std() > 0.02


def test_who_never_bought_has_no_value(model: Lifetime) -> None:
    empty = np.full((1, len(model.feature_names)), np.nan)
    zero = empty.copy()
    zero[0, model.feature_names.index("lifetime_baskets")] = 0.0
    for rows in (empty, zero):
        worth = model.worth(rows)
        assert np.isnan(worth.value).all()
        assert np.isnan(worth.high).all()


def test_extremes_have_finite_values(model: Lifetime) -> None:
    rows = np.full((3, len(model.feature_names)), np.nan)
    columns = [model.feature_names.index(name) for name in HABITS]
    rows[:, columns] = [[1, 0, 0, 0], [1, 1095, 1095, 5], [1e6, 1095, 0, 1e9]]
    worth = model.worth(rows)
    assert np.isfinite(worth.value).all()
    assert (worth.value >= 0).all()
    assert np.isfinite(worth.high).all()


def test_saved_and_loaded_it_answers_the_same_and_a_damaged_file_is_named(
    model: Lifetime, ground: Ground, tmp_path: Path
) -> None:
    save_lifetime(model, tmp_path)
    again = load_lifetime(tmp_path)
    rows = ground.cuts[ground.at].features
    assert (again.worth(rows).high == model.worth(rows).high).all()
    golden = of_lifetime(model, typical_rows(ground.whole, ground.names))
    check_lifetime(again, golden)
    with pytest.raises(LearnedError, match="does not answer as it did"):
        check_lifetime(replace(again, level=again.level + 0.01), golden)
    (tmp_path / "lifetime.npz").write_bytes(b"no zip")
    with pytest.raises(LearnedError, match=r"lifetime\.npz"):
        load_lifetime(tmp_path)


def test_an_upside_down_interval_or_missing_habit_is_refused(model: Lifetime) -> None:
    with pytest.raises(LearnedError, match="upside down"):
        replace(model, high=model.low - 1)
    names = np.where(model.trees.feature_names == "lifetime_baskets", "other", model.trees.feature_names)
    with pytest.raises(LearnedError, match="lifetime_baskets"):
        replace(model, trees=replace(model.trees, feature_names=names))


def test_the_same_seed_gives_the_same_bytes(ground: Ground, tmp_path: Path) -> None:
    learn = [ground.cuts[each] for each in ground.plan.learn]
    for name in ("one", "two"):
        save_lifetime(fit(learn, ground.cuts[ground.at], ground.names, 90, CONFIG, 3), tmp_path / name)
    for file in ("arrays.npz", "lifetime.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_cut_off_after_which_nothing_came_is_refused(ground: Ground) -> None:
    present = ground.cuts[ground.at]
    with pytest.raises(TooFewBuyersError, match="nobody brought anything"):
        fit([present.later_known(np.zeros(len(present.brought)))], present, ground.names, 90, CONFIG, 0)


def test_labels_before_the_judged_cut_off_know_nothing_of_later_days(ground: Ground, tables: Path) -> None:
    assert frames.begins(tables) < min(ground.plan.learn_before)
    for each, before in zip(ground.plan.learn_before, ground.before, strict=True):
        later = ground.cuts[each]
        assert (before.member_id == later.member_id).all()
        assert np.abs(before.brought).sum() <= np.abs(later.brought).sum() + 1e-6
