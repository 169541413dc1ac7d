from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.learned import LearnedError
from features.learned.churn import CURVES, RHYTHM, load_churn, save_churn
from training import calibration, churn, churn_report, churn_rows, frames, metrics
from training.churn import ChurnConfig
from training.comparison import paired_auc
from training.frames import Cuts, HistoryTooShortError
from training.spells import Spells

BEGINS = datetime(2024, 1, 1, tzinfo=UTC)
AT = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = ChurnConfig(
    horizon_days=90,
    trees=50,
    leaves=(6,),
    min_leaf=50,
    feature_share=0.6,
    l2=10.0,
    cut_offs=2,
    other_horizons=2,
    resamples=40,
)
FAMILIES = {
    "recency": ("recency_days", "recency_over_gap"),
    "frequency": ("baskets_90d", "baskets_365d", "lifetime_baskets"),
    "tenure": ("first_purchase_days",),
    "spend": ("spend_90d", "spend_365d"),
    "basket": ("discount_share",),
    "noise": ("noise",),
}
NAMES = tuple(name for names in FAMILIES.values() for name in names)


def members(ats: tuple[datetime, ...], each: int, seed: int) -> pd.DataFrame:
    """Members who churn when they are late by their own rhythm, and the more the keener they are on discounts."""
    rng = np.random.default_rng(seed)
    n = each * len(ats)
    gap = rng.lognormal(3.0, 0.8, n)
    recency = rng.exponential(gap)
    late = recency / gap
    discount = rng.random(n)
    chance = 1 / (1 + np.exp(-(3.0 * np.tanh(late - 1.5) + 2.0 * (discount > 0.6) - 1.0)))
    baskets = rng.poisson(365 / gap)
    missing = np.where(baskets < 3, np.nan, late)
    churned = rng.random(n) < chance
    waits = np.where(churned, 90.0 + rng.exponential(200.0, n), rng.uniform(0.0, 90.0, n))
    followed = np.repeat([(AT - timedelta(days=90) - at) / timedelta(days=1) or 90.0 for at in ats], each)
    frame = pd.DataFrame(
        {
            "member_id": [f"m{i}" for i in range(n)],
            "at": pd.to_datetime(np.repeat([at.isoformat() for at in ats], each), utc=True),
            "recency_days": recency,
            "recency_over_gap": missing,
            "baskets_90d": rng.poisson(90 / gap),
            "baskets_365d": baskets,
            "spend_90d": rng.gamma(2, 20, n),
            "spend_365d": baskets * 25.0,
            "discount_share": discount,
            "noise": rng.normal(size=n),
            "lifetime_baskets": baskets + 1,
            "first_purchase_days": np.maximum(recency, 365.0),
            "churned": churned,
            "next_days": np.where(waits <= followed, waits, np.nan),
            "followed_days": followed,
        }
    )
    return frame.astype({"at": "datetime64[us, UTC]"})


JUDGED = AT - timedelta(days=90)
CUTS = frames.cuts(JUDGED, BEGINS, horizon_days=90, count=2, every_days=30)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return members((*CUTS.every, JUDGED), 900, seed=4)


@pytest.fixture(scope="module")
def found(frame: pd.DataFrame) -> churn_report.Report:
    return churn_report.report(frame, CUTS, JUDGED, FAMILIES, SMALL, seed=1)


def test_the_youngest_cut_off_to_learn_at_is_one_horizon_old_and_younger_ones_teach_less() -> None:
    day = timedelta(days=1)
    assert CUTS.calibrate == JUDGED - 90 * day
    assert CUTS.learn == (JUDGED - 150 * day, JUDGED - 120 * day)
    assert CUTS.recent == (JUDGED - 60 * day, JUDGED - 30 * day)
    assert CUTS.every == tuple(sorted(CUTS.every))
    assert frames.cuts(JUDGED, BEGINS, horizon_days=30, count=2, every_days=30).recent == ()


def test_a_short_history_has_fewer_cut_offs_and_a_shorter_one_says_what_to_do() -> None:
    short = frames.cuts(AT, AT - timedelta(days=190), horizon_days=90, count=6, every_days=30)
    assert len(short.learn) == 2
    with pytest.raises(HistoryTooShortError, match=r"needs 150 days .* are 140 .* at most 80 in training\.yaml"):
        frames.cuts(AT, AT - timedelta(days=140), horizon_days=90, count=6, every_days=30)


def test_it_beats_the_tuned_logistic_where_more_than_recency_frequency_and_spend_matters(
    found: churn_report.Report,
) -> None:
    assert found.against_yardstick.low > 0
    assert found.metrics["auc"] > 0.78
    assert found.metrics["yardstick_auc"] > 0.65


def test_probabilities_are_calibrated_at_a_later_time(found: churn_report.Report) -> None:
    assert 0.85 < found.metrics["calibration_slope"] < 1.15
    assert found.metrics["expected_calibration_error"] < 0.05
    assert found.metrics["brier_skill"] > 0.2


def test_the_ablation_finds_what_matters_and_what_does_not(found: churn_report.Report) -> None:
    table = found.ablation.set_index("family")
    assert table.index[0] == "recency"
    assert table["low"].astype(float)["recency"] > 0
    assert table["low"].astype(float)["basket"] > 0
    assert table["auc_change"].astype(float)["noise"] < 0.01
    assert set(table.index) == set(FAMILIES)


def test_the_same_seed_gives_the_same_arrays_whatever_the_threads(frame: pd.DataFrame) -> None:
    few = frame.groupby("at").head(300)
    one, two = (churn.fit(few, CUTS, NAMES, replace(SMALL, threads=threads, trees=10), seed=3) for threads in (1, 2))
    assert np.array_equal(one.trees.threshold, two.trees.threshold)
    assert np.array_equal(one.trees.leaf_value, two.trees.leaf_value)
    assert np.array_equal(one.chance, two.chance)


def test_what_happens_at_the_judged_time_changes_nothing_that_was_fitted(frame: pd.DataFrame) -> None:
    other = frame.copy()
    later = other["at"] == JUDGED
    other.loc[later, "churned"] = ~other.loc[later, "churned"]
    other.loc[later, "next_days"] = 1.0
    one, two = (churn.fit(each, CUTS, NAMES, SMALL, seed=3) for each in (frame, other))
    assert np.array_equal(one.trees.leaf_value, two.trees.leaf_value) and np.array_equal(one.chance, two.chance)


def test_a_slice_with_one_label_only_says_so(frame: pd.DataFrame) -> None:
    happy = frame.assign(churned=False)
    with pytest.raises(ValueError, match="0 churned: to learn or to judge it takes both kinds"):
        churn.fit(happy, CUTS, NAMES, SMALL, seed=3)


def test_saved_and_loaded_it_says_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    model = churn.fit(frame, CUTS, NAMES, SMALL, seed=3)
    save_churn(model, tmp_path)
    rows = frame[list(NAMES)].to_numpy(float)[:200]
    read = load_churn(tmp_path)
    assert np.array_equal(read.probability(rows), model.probability(rows))
    assert read.feature_names == NAMES
    assert np.array_equal(read.silence(rows, np.array([7.0, 400.0])), model.silence(rows, np.array([7.0, 400.0])))
    (tmp_path / CURVES).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(LearnedError, match=r"silence\.npz"):
        load_churn(tmp_path)


def test_reasons_are_the_largest_of_what_adds_up_to_the_log_odds(frame: pd.DataFrame) -> None:
    model = churn.fit(frame, CUTS, NAMES, SMALL, seed=3)
    rows = frame[list(NAMES)].to_numpy(float)[:50]
    names, moved = model.contributions(rows)
    assert moved.sum(axis=1) == pytest.approx(model.log_odds(rows, 90.0), abs=1e-9)
    assert np.ptp(moved[:, -1]) == pytest.approx(0.0, abs=1e-9)
    late = frame[list(NAMES)].median().to_numpy(float)
    late[NAMES.index("recency_over_gap")] = 6.0
    late[NAMES.index("recency_days")] *= 4
    reasons = model.reasons(late)
    assert {name for name, _ in reasons} & {"recency_over_gap", "recency_days", RHYTHM}
    assert reasons[0][1] > 0 and len(reasons) == 3
    assert set(names) == {*NAMES, RHYTHM}


@pytest.mark.parametrize("curve", [calibration.platt, calibration.isotonic])
def test_a_curve_rises_and_never_says_certain(curve: object) -> None:
    rng = np.random.default_rng(2)
    raw = rng.normal(0, 2, 3000)
    happened = rng.random(3000) < 1 / (1 + np.exp(-(0.5 * raw - 1)))
    points, chance = curve(raw, happened)  # type: ignore[operator]
    assert (np.diff(points) > 0).all() and (np.diff(chance) >= 0).all()
    assert 0 < chance[0] < chance[-1] < 1
    said = np.interp(raw, points, chance)
    assert abs(said - 1 / (1 + np.exp(-(0.5 * raw - 1)))).mean() < 0.03


def test_platt_finds_the_line_it_was_drawn_from() -> None:
    raw = np.repeat([-1.0, 1.0], 1000)
    happened = np.concatenate([np.arange(1000) < 250, np.arange(1000) < 750])
    points, chance = calibration.platt(raw, happened)
    assert np.interp([-1.0, 1.0], points, chance) == pytest.approx([0.25, 0.75], abs=0.001)


def test_a_line_follows_many_rows_and_is_held_to_what_it_was_told_by_few() -> None:
    raw = np.linspace(-4, 4, 20_000)
    happened = np.random.default_rng(1).random(20_000) < 1 / (1 + np.exp(-(0.5 * raw - 1)))
    assert calibration.line(raw, happened) == pytest.approx((0.5, -1.0), abs=0.05)
    assert calibration.line(raw[:1], happened[:1]) == pytest.approx((1.0, 0.0), abs=0.3)


def test_a_score_that_ranks_the_wrong_way_round_gets_a_flat_curve() -> None:
    raw = np.linspace(-1, 1, 200)
    _, chance = calibration.platt(raw, raw < 0.2)
    assert np.ptp(chance) == 0
    assert chance[0] == pytest.approx(0.6, abs=0.01)


def test_the_paired_difference_is_the_difference_of_the_two_areas() -> None:
    rng = np.random.default_rng(3)
    label = rng.random(400) < 0.4
    good, poor = label + rng.normal(0, 0.7, 400), np.round(label + rng.normal(0, 2.0, 400))
    gap = paired_auc(label, good, poor, seed=1, resamples=300)
    assert gap.value == pytest.approx(metrics.auc(label, good) - metrics.auc(label, poor))
    same = metrics.difference_interval(metrics.auc, label, good, poor, np.random.default_rng(1), draws=300)
    assert (gap.low, gap.high) == pytest.approx((same.low, same.high), abs=0.02)
    nothing = paired_auc(label, good, good, seed=1, resamples=20)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)


def purchases(rows: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    """member, day it happened, day it was known, quantity."""
    made = pd.DataFrame(rows, columns=["member_id", "occurred", "known", "quantity"])
    for name in ("occurred", "known"):
        made[f"{name}_at"] = (pd.Timestamp(BEGINS) + pd.to_timedelta(made.pop(name), unit="D")).astype(
            "datetime64[us, UTC]"
        )
    return made


def test_who_is_eligible_and_who_churned_worked_out_by_hand(tmp_path: Path) -> None:
    rows = [
        ("stays", 10, 10, 1.0), ("stays", 120, 120, 1.0),
        ("leaves", 90, 90, 1.0), ("leaves", 130, 130, -1.0),
        ("comes late", 95, 101, 1.0), ("comes late", 150, 150, 1.0),
        ("edge", 50, 50, 1.0), ("edge", 190, 190, 1.0),
        ("beyond", 50, 50, 1.0), ("beyond", 191, 191, 1.0),
        ("gone", 5, 5, 1.0), ("new", 110, 110, 1.0),
    ]  # fmt: skip
    purchases(rows).to_parquet(tmp_path / "purchases.parquet")
    at = BEGINS + timedelta(days=100)
    frame = frames.labelled(tmp_path, [at], horizon_days=90, max_lapse_days=95)
    assert dict(zip(frame["member_id"], frame["churned"], strict=True)) == {
        "beyond": True, "edge": False, "leaves": True, "stays": False,
    }  # fmt: skip
    assert str(frame["at"].dtype) == "datetime64[us, UTC]"
    counted = frames.denominators(tmp_path, [at], horizon_days=90, max_lapse_days=95).iloc[0]
    assert (counted["bought_before"], counted["lapsed"], counted["eligible"], counted["churned"]) == (5, 1, 4, 2)
    assert frames.begins(tmp_path) == BEGINS + timedelta(days=5)


def test_an_empty_history_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HistoryTooShortError, match="load a history first"):
        frames.begins(tmp_path)


def test_a_churn_model_that_contradicts_itself_is_refused(frame: pd.DataFrame) -> None:
    model = churn.fit(frame, CUTS, NAMES, SMALL, seed=3)
    for raw, chance in (([0.0, 1.0], [0.5, 0.4]), ([1.0, 0.0], [0.4, 0.5]), ([0.0, 1.0], [0.0, 0.5]), ([], [])):
        with pytest.raises(LearnedError):
            replace(model, raw=np.array(raw), chance=np.array(chance))
    for wrong in ({"horizon": 91.0}, {"share": 1.5}, {"days": np.array([90.0, 30.0])}):
        with pytest.raises(LearnedError):
            replace(model, **wrong)


def test_cuts_list_every_moment_once() -> None:
    assert Cuts((BEGINS,), AT).every == (BEGINS, AT)


def test_rows_count_by_how_near_their_horizon_is_among_those_known_of_the_member_then(frame: pd.DataFrame) -> None:
    part = frame[frame["at"] == frame["at"].iloc[0]].head(2).reset_index(drop=True)
    days = np.array([90.0, 45.0, 1.0, 45.0, 7.0])
    silent, row = np.array([True, True, True, False, True]), np.array([0, 0, 0, 1, 1])
    told = churn_rows.inputs(part, Spells(row, days, silent, row), NAMES, 90.0)
    half, week = 0.5 ** (1 / 0.5), (7 / 45) ** (1 / 0.5)
    # of the second member the horizon of 90 days is not known yet: the nearest speaks for it in full
    assert told.weight == pytest.approx([1.0, half, 0.1, 1.0, max(week, 0.1)])
