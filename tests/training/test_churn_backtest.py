from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import catalog, history
from features.entities import Programme
from training import churn, churn_backtest, churn_comparison
from training.churn import ChurnConfig
from training.churn_backtest import ALIKE, BOOSTED, LOGISTIC, OURS, RHYTHM, Backtest
from training.frames import Cuts, HistoryTooShortError

CONFIGS = Path(__file__).parents[2] / "configs"
BEGINS = datetime(2025, 1, 1, tzinfo=UTC)
AT = BEGINS + timedelta(days=260)
SMALL = ChurnConfig(horizon_days=30, cut_offs=2, every_days=20, trees=25, min_leaf=50, ablation=False)
TRUTH = ChurnConfig(horizon_days=60, other_horizons=3, trees=75, min_leaf=100)


@pytest.fixture(scope="module")
def programme() -> Programme:
    return catalog.load(CONFIGS / "catalog").programme


def bought(members: int, seed: int, *, late: bool = False) -> pd.DataFrame:
    """Lines of members who buy at rates of their own, some of whom stop; `late`: other ones after the last cut-off."""
    rng = np.random.default_rng(seed)
    rows = []
    for member, rate in enumerate(rng.gamma(1.0, 1 / 20, members)):
        leaves = rng.exponential(200)
        days = np.cumsum(rng.exponential(1 / rate, 40)) + rng.uniform(0, 20)
        rows += [(f"m{member:04}", day) for day in days if day < min(260.0, leaves + days[0])]
    if late:
        rows = [row for row in rows if row[1] <= 230] + [(f"m{member:04}", 235.0) for member in range(0, members, 2)]
    table = pd.DataFrame(rows, columns=["member_id", "day"])
    when = pd.Timestamp(BEGINS) + pd.to_timedelta(table["day"], unit="D")
    ids = [f"p{i}" for i in range(len(table))]
    columns = {"purchase_id": ids, "basket_id": ids, "occurred_at": when, "known_at": when, "product_id": "milk"}
    money = {"quantity": 1.0, "unit_price": 5.0, "discount": 0.0, "amount": 5.0}
    return pd.DataFrame({"member_id": table["member_id"], **columns, **money})


def run(folder: Path, programme: Programme, lines: pd.DataFrame, cut_offs: int = 2) -> Backtest:
    history.merge(folder, {"purchases": lines})
    return churn_backtest.run(folder, programme, SMALL, AT, cut_offs, seed=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, programme: Programme) -> Backtest:
    return run(tmp_path_factory.mktemp("tables"), programme, bought(300, 1))


def test_each_member_stands_once_at_each_cut_off_with_what_came(found: Backtest) -> None:
    assert sorted(found.at.unique()) == [AT - timedelta(days=50), AT - timedelta(days=30)]
    assert len(set(zip(found.at, found.member, strict=True))) == len(found.member)
    assert np.array_equal(found.churned, np.isnan(found.waited))
    assert set(found.chance) == {OURS, LOGISTIC, BOOSTED, RHYTHM}
    assert set(found.silence) == {OURS, RHYTHM, ALIKE}
    for silence in found.silence.values():
        assert (silence[:, 0] == 1.0).all() and (np.diff(silence, axis=1) <= 1e-9).all()
    assert found.silence[OURS][:, -1] == pytest.approx(found.chance[OURS])


def test_all_figures_are_there_and_ours_against_itself_is_nothing(found: Backtest) -> None:
    said = churn_comparison.compare(found, seed=1, resamples=20)
    assert said.rows == len(found.churned) and said.members == len(np.unique(found.member))
    churned = said.churn.set_index("model")
    assert (churned.loc[[OURS], ["ours_minus", "low", "high"]].to_numpy() == 0.0).all()
    assert (churned["auc"] > 0.6).all()
    assert (churned["calibration_error_perfect"] < 0.06).all()
    later = said.distribution.set_index("model")
    assert later.loc[ALIKE, "skill"] == 0.0 and float(later.loc[OURS, "skill"]) > 0.1  # type: ignore[arg-type]
    assert said.cut_offs["members"].sum() == said.rows


def test_what_comes_after_a_cut_off_changes_nothing_that_was_said_there(
    found: Backtest, programme: Programme, tmp_path: Path
) -> None:
    other = run(tmp_path, programme, bought(300, 1, late=True))
    last = AT - timedelta(days=30)
    one, two = ((each.at == last).to_numpy() for each in (found, other))
    assert not np.array_equal(found.churned[one], other.churned[two])
    for model, chance in found.chance.items():
        assert np.array_equal(chance[one], other.chance[model][two]), model
    for model, silence in found.silence.items():
        assert np.array_equal(silence[one], other.silence[model][two]), model


def test_a_history_too_short_for_one_cut_off_says_so(programme: Programme, tmp_path: Path) -> None:
    lines = bought(50, 1)
    with pytest.raises(HistoryTooShortError, match="load more history"):
        run(tmp_path, programme, lines[lines["occurred_at"] > AT - timedelta(days=100)])


def test_chance_alone_leaves_a_calibration_error_that_shrinks_with_the_root_of_the_members() -> None:
    chance = np.random.default_rng(0).random(4000)
    few, many = churn_comparison.perfect_error(chance[:1000], 1), churn_comparison.perfect_error(chance, 1)
    assert few / many == pytest.approx(2.0, rel=0.15)
    assert churn_comparison.perfect_error(np.tile([0.2, 0.2], 50), 1) == pytest.approx(
        0.04 * np.sqrt(2 / np.pi), rel=0.15
    )


def test_probabilities_come_true_for_every_horizon_where_the_truth_is_known() -> None:
    # waits are exponential with a rate that what is known of a member says only in part
    rng = np.random.default_rng(5)
    n = 4000
    rate = rng.gamma(2.0, 1 / 40, n)
    age, waits = rng.uniform(100, 400, n), rng.exponential(1 / rate)
    baskets = 1.0 + rng.poisson(rate * age)
    recency = age * (1 - rng.random(n) ** (1 / np.maximum(baskets - 1, 1e-9)))
    begins = pd.Timestamp(BEGINS)
    at = begins + pd.to_timedelta(np.repeat([0, 30, 60], [1500, 1500, 1000]), unit="D")
    followed = (begins + pd.Timedelta(days=120) - at) / pd.Timedelta(days=1)
    table = pd.DataFrame(
        {
            "member_id": [f"m{i:05}" for i in range(n)], "at": at, "recency_days": recency, "first_purchase_days": age,
            "lifetime_baskets": baskets, "churned": waits > 60, "followed_days": followed,
            "next_days": np.where(waits <= followed, waits, np.nan),
        }
    )  # fmt: skip
    names = ("recency_days", "first_purchase_days", "lifetime_baskets")
    day = timedelta(days=1)
    model = churn.fit(table, Cuts((BEGINS, BEGINS + 30 * day), BEGINS + 60 * day), names, TRUTH, seed=1)
    days = np.array([5.0, 15.0, 60.0, 120.0])
    true = ((40 / 2 * 2 + age) / (40 + age + days[:, None])) ** (2.0 + baskets - 1.0)
    said = model.silence(table[list(names)].to_numpy(), days).T
    assert np.abs(said - true).mean(axis=1) == pytest.approx(np.zeros(4), abs=0.04)
    assert said.mean(axis=1) == pytest.approx(true.mean(axis=1), abs=0.02)
