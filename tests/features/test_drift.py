"""Drift is named with its feature, its kind and its beginning, and chance is not taken for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.drift import shifts, stability
from features.quality import set_aside

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FAMILIES = {"spend": ("spend_90d", "avg_basket_value"), "points": ("points_balance",)}


def _frame(seed: int, n: int = 2000, spend: float = 1.0, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    points = rng.gamma(2.0, 100.0, n)
    points[rng.random(n) < missing] = np.nan
    return pd.DataFrame(
        {
            "spend_90d": spend * rng.gamma(2.0, 50.0, n),
            "avg_basket_value": rng.gamma(3.0, 10.0, n),
            "points_balance": points,
        }
    )


def test_the_index_is_the_sum_worked_out_by_hand() -> None:
    before = np.repeat([1.0, 2.0], 50)
    now = np.repeat([1.0, 2.0], [20, 80])
    one, other = np.array([50.5, 50.5]) / 101, np.array([20.5, 80.5]) / 101
    expected = float(((other - one) * np.log(other / one)).sum())
    assert stability(before, now)[0] == pytest.approx(expected)
    assert 0.29 < expected < 0.41


def test_missing_values_are_a_bin_of_their_own() -> None:
    before, now = np.arange(1000.0), np.arange(1000.0)
    now[::3] = np.nan
    assert stability(before, now)[0] > 0.2
    assert stability(now, now)[0] == 0.0


def test_small_samples_of_the_same_members_are_rarely_called_shifted() -> None:
    draws = np.random.default_rng(3).normal(size=(2, 200, 60))
    called = [index >= max(0.2, chance) for index, chance in map(stability, *draws)]
    assert sum(called) <= 6


def test_a_shift_is_named_with_the_first_moment_from_which_it_lasts() -> None:
    moments = [
        (NOW - timedelta(weeks=back), _frame(back, spend=factor))
        for back, factor in ((4, 2.0), (3, 1.0), (2, 2.0), (1, 2.2), (0, 2.1))
    ]
    found = shifts(_frame(9), moments, FAMILIES)
    first = found[0]
    assert (first.feature, first.level, first.since) == ("spend_90d", "shifted", NOW - timedelta(weeks=2))
    assert first.median_now / first.median_before == pytest.approx(2.1, rel=0.1)
    assert [one.level for one in found[1:]] == ["steady", "steady"]
    assert "spend_90d (spend) shifted since 2026-05-18" in first.sentence()


def test_a_feature_that_members_suddenly_lack_or_all_share_is_broken() -> None:
    gone, same = _frame(1, missing=0.4), _frame(2)
    same["avg_basket_value"] = 0.0
    assert {one.feature: one.level for one in shifts(_frame(9), [(NOW, gone)], FAMILIES)}["points_balance"] == "broken"
    assert shifts(_frame(9), [(NOW, same)], FAMILIES)[0].feature == "avg_basket_value"
    assert shifts(_frame(9), [(NOW, same)], FAMILIES)[0].level == "broken"


def test_a_month_without_a_campaign_breaks_no_feature() -> None:
    same = _frame(2)
    same["avg_basket_value"] = 0.0
    assert shifts(_frame(9), [(NOW, same)], {"offers": ["avg_basket_value"]})[0].level == "shifted"


def test_what_was_set_aside_is_counted_by_rule(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "a.csv").write_text("file,row,column,rule,value\nx.csv,1,price,positive,0\nx.csv,2,price,positive,0\n")
    (folder / "b.csv").write_text("file,row,column,rule,value\ny.csv,1,member_id,missing,\n")
    assert set_aside(folder)["rows"].tolist() == [2, 1]
    assert set_aside(folder / "nowhere").empty
