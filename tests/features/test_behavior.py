from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlglot

from features import behavior, cutoffs
from features.entities import Tier
from features.member_facts import of
from features.relations import counted, to_spark, with_derived
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write

RELIED_ON = (
    "recency_days",
    "tenure_days",
    "baskets_30d",
    "baskets_90d",
    "baskets_365d",
    "spend_30d",
    "spend_90d",
    "spend_365d",
    "avg_basket_value",
    "median_gap_days",
    "recency_over_gap",
    "discount_share",
    "return_share",
    "top_category_share",
    "category_breadth_365d",
    "points_balance",
    "points_expiring_30d",
    "points_expiring_60d",
    "points_earned_365d",
    "points_burned_365d",
    "offers_seen_30d",
    "offers_accepted_90d",
    "engagements_90d",
    "tier_rank",
    "spend_to_next_tier",
    "spend_to_keep_tier",
    "tier_days_left",
    "lifetime_baskets",
    "lifetime_spend",
)


def ago(**parts: float) -> datetime:
    return T0 - timedelta(**parts)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """A ledger of one member that can be worked out on paper, as features at T0."""
    milk, bread = {"product_id": "milk"}, {"product_id": "bread"}
    baskets = [
        # 100 days ago: milk 2 × 30 − 6 discount, bread 1 × 46 → 100; 40 days ago: milk 200; 10 days ago: bread 50
        {"basket_id": "a", "occurred_at": ago(days=100), **milk, "quantity": 2, "unit_price": 30.0, "discount": 6.0},
        {"basket_id": "a", "occurred_at": ago(days=100), **bread, "unit_price": 46.0},
        {
            "basket_id": "b",
            "occurred_at": ago(days=40),
            **milk,
            "quantity": 4,
            "unit_price": 50.0,
            "offer_id": "spring",
        },
        {"basket_id": "c", "occurred_at": ago(days=10), **bread, "unit_price": 50.0},
        {"basket_id": "c-r", "occurred_at": ago(days=5), **bread, "quantity": -1, "unit_price": 50.0, "reverses": "x"},
    ]
    lots = [
        {"lot_id": "1", "type": "earn", "points": 100, "occurred_at": ago(days=400), "expires_at": ago(days=35)},
        {"lot_id": "2", "type": "earn", "points": 80, "occurred_at": ago(days=100), "expires_at": ago(days=-20)},
        {"lot_id": "2", "type": "redeem", "points": -30, "occurred_at": ago(days=7)},
        {"lot_id": "3", "type": "earn", "points": 40, "occurred_at": ago(days=10), "expires_at": ago(days=-45)},
        {"lot_id": "4", "type": "earn", "points": 5, "occurred_at": ago(days=10)},
    ]
    told = [
        {"type": "sent", "occurred_at": ago(days=50)},
        {"type": "opened", "occurred_at": ago(days=49)},
        {"type": "impression", "occurred_at": ago(days=12)},
        {"type": "accept", "occurred_at": ago(days=12)},
    ]
    tables = {
        "members": typed("members", [{"member_id": "m", "occurred_at": ago(days=500)}]),
        "products": typed(
            "products", [{"product_id": "milk", "category": "dairy"}, {"product_id": "bread", "category": "bakery"}]
        ),
        "purchases": typed("purchases", [{"member_id": "m", **row} for row in baskets]),
        "points": typed("points", [{"member_id": "m", **row} for row in lots]),
        "offer_events": typed(
            "offer_events", [{"member_id": "m", "offer_id": "o", "offer_type": "gift", **row} for row in told]
        ),
        "engagements": typed("engagements", [{"member_id": "m", "type": "review", "occurred_at": ago(days=80)}]),
    }
    tables_dir = write(tmp_path_factory.mktemp("tables"), tables)
    row = behavior.historical(tables_dir, pairs(["m"], T0), PROGRAMME).iloc[0]
    return {str(name): value for name, value in row.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recency_days", 10),
        ("first_purchase_days", 100),
        ("tenure_days", 500),
        ("baskets_30d", 1),
        ("baskets_90d", 2),
        ("lifetime_baskets", 3),
        ("spend_30d", 0),  # bread bought and taken back
        ("spend_90d", 200),
        ("lifetime_spend", 300),
        ("avg_basket_value", 350 / 3),
        ("max_basket_value", 200),
        ("lines_per_basket", 4 / 3),
        ("units_per_basket", (3 + 4 + 1) / 3),
        ("median_gap_days", 45),
        ("recency_over_gap", 10 / 45),
        ("max_gap_days", 60),
        ("discount_share", 6 / 356),
        ("offer_basket_share", 1 / 3),
        ("return_share", 50 / 350),
        ("top_category_share", 254 / 350),  # dairy 54 + 200
        ("category_concentration", (254 / 350) ** 2 + (96 / 350) ** 2),
        ("category_breadth_90d", 2),
        ("points_balance", 80 - 30 + 40 + 5),
        ("points_expiring_30d", 50),
        ("points_expiring_60d", 90),
        ("points_earned_365d", 125),
        ("points_burned_365d", 30),
        ("redemption_recency_days", 7),
        ("offers_seen_30d", 1),
        ("offers_seen_90d", 2),
        ("offers_accepted_90d", 1),
        ("offer_acceptance_365d", 0.5),
        ("seen_gift_365d", 2),
        ("engagements_90d", 1),
        ("engagements_30d", 0),
        ("tier_rank", 1),  # 300 within a year: exactly silver
        ("spend_to_next_tier", 600),
        ("spend_to_keep_tier", 0),
        ("tier_days_left", 265),  # when basket a leaves the year, 200 remain
    ],
)
def test_features_are_what_the_ledger_says_on_paper(by_hand: Mapping[str, Any], name: str, value: float) -> None:
    assert by_hand[name] == pytest.approx(value, rel=1e-12)


def test_features_equal_a_plain_pandas_computation(tmp_path: Path) -> None:
    tables = drawn(7, n_members=25)
    at = T0 - timedelta(days=20)
    found = behavior.historical(write(tmp_path, tables), pairs(sorted(tables["members"]["member_id"]), at), PROGRAMME)
    for _, row in found.iterrows():
        for name, value in in_pandas(tables, row["member_id"], pd.Timestamp(at)).items():
            assert row[name] == pytest.approx(value, nan_ok=True, rel=1e-9, abs=1e-9), (row["member_id"], name)


def in_pandas(tables: Mapping[str, pd.DataFrame], member: str, at: pd.Timestamp) -> dict[str, float]:
    """A dozen features, without any of the project's SQL."""
    known = {
        name: frame[(frame["member_id"] == member) & (frame["occurred_at"] <= at) & (frame["known_at"] <= at)]
        for name, frame in tables.items()
        if name != "products"
    }
    bought = known["purchases"][known["purchases"]["quantity"] > 0]
    visits = bought.groupby("basket_id")["occurred_at"].first().sort_values()
    age = (at - visits).dt.total_seconds() / 86400
    line_age = (at - known["purchases"]["occurred_at"]).dt.total_seconds() / 86400
    gaps = visits.diff().dt.total_seconds().dropna() / 86400
    category = bought.merge(tables["products"][["product_id", "category"]], how="left", on="product_id")
    category = category.fillna({"category": "unknown"})[(at - category["occurred_at"]).dt.days < 365]
    by_category = category.groupby("category")["amount"].sum()
    points = known["points"]
    expiry = points["lot_id"].map(points.groupby("lot_id")["expires_at"].max())
    local = visits.dt.tz_convert("Europe/Amsterdam")
    seen = known["offer_events"][known["offer_events"]["type"].isin(["sent", "impression"])]
    enrolled = known["members"]["enrolled_at"].min()
    return {
        "recency_days": age.min() if len(age) else np.nan,
        "baskets_90d": (age < 90).sum(),
        "spend_365d": known["purchases"]["amount"][line_age < 365].sum(),
        "avg_basket_value": bought["amount"].sum() / len(visits) if len(visits) else np.nan,
        "median_gap_days": gaps.median(),
        "weekend_share": (local.dt.dayofweek >= 5).mean() if len(visits) else np.nan,
        "morning_share": local.dt.hour.between(6, 11).mean() if len(visits) else np.nan,
        "top_category_share": by_category.max() / by_category.sum() if len(by_category) else np.nan,
        "category_breadth_365d": len(by_category),
        "points_balance": points["points"][expiry.isna() | (expiry > at)].sum(),
        "offers_seen_90d": ((at - seen["occurred_at"]).dt.total_seconds() < 90 * 86400).sum(),
        "engagements_365d": len(known["engagements"][(at - known["engagements"]["occurred_at"]).dt.days < 365]),
        "tenure_days": (at - enrolled).total_seconds() / 86400,
    }


def test_what_comes_after_a_moment_changes_nothing_at_that_moment(tmp_path: Path) -> None:
    tables = drawn(3, ends=T0 + timedelta(days=60))
    members = sorted(tables["members"]["member_id"])
    before = {
        name: frame if name == "products" else frame[(frame["occurred_at"] <= T0) & (frame["known_at"] <= T0)]
        for name, frame in tables.items()
    }
    assert sum(len(tables[name]) - len(before[name]) for name in tables) > 100
    with_all = behavior.historical(write(tmp_path / "all", tables), pairs(members, T0), PROGRAMME)
    without = behavior.historical(write(tmp_path / "before", before), pairs(members, T0), PROGRAMME)
    pd.testing.assert_frame_equal(with_all, without, check_exact=True)


def test_a_fact_counts_from_when_it_was_known_not_from_when_it_happened(tmp_path: Path) -> None:
    late = {"member_id": "m", "basket_id": "b", "occurred_at": ago(days=9), "known_at": ago(days=2)}
    write(tmp_path, {"purchases": typed("purchases", [late])})
    moments = (ago(days=3), ago(days=2), T0)
    found = behavior.historical(tmp_path, pairs(["m"], *moments), PROGRAMME)
    assert found["lifetime_baskets"].tolist() == [0, 1, 1]
    assert found["recency_days"].tolist()[1:] == [7, 9]


def test_a_line_that_is_known_late_joins_its_basket_and_makes_no_second_one(tmp_path: Path) -> None:
    line = {"member_id": "m", "basket_id": "b", "occurred_at": ago(days=9)}
    rows = [{**line, "purchase_id": "1"}, {**line, "purchase_id": "2", "known_at": ago(days=2)}]
    write(tmp_path, {"purchases": typed("purchases", rows)})
    found = behavior.historical(tmp_path, pairs(["m"], ago(days=3), T0), PROGRAMME)
    assert found["lifetime_baskets"].tolist() == [1, 1]
    assert found["lifetime_spend"].tolist() == [10, 20]


def test_every_row_asked_comes_back_in_its_place_however_the_work_is_cut(tmp_path: Path) -> None:
    tables = drawn(5, n_members=15)
    write(tmp_path, tables)
    asked = pairs([*tables["members"]["member_id"], "nobody"], T0, ago(days=70))
    asked = pd.concat([asked, asked.iloc[:4]]).sample(frac=1.0, random_state=1, ignore_index=True)
    at_once = behavior.historical(tmp_path, asked, PROGRAMME)
    assert at_once["member_id"].tolist() == asked["member_id"].tolist()
    assert (at_once["at"] == asked["at"]).all()
    pieces = cutoffs.compute(tmp_path, asked, behavior.definitions(PROGRAMME), of(PROGRAMME), pairs_at_once=7)
    pd.testing.assert_frame_equal(at_once, pieces, check_exact=True)


def test_without_any_table_counts_are_zero_and_times_are_missing(tmp_path: Path) -> None:
    row = behavior.historical(tmp_path / "nothing", pairs(["m"], T0), PROGRAMME).iloc[0]
    assert row["baskets_90d"] == row["points_balance"] == row["spend_365d"] == row["tier_rank"] == 0
    assert np.isnan([row["recency_days"], row["tenure_days"], row["median_gap_days"], row["tier_days_left"]]).all()
    assert row["spend_to_next_tier"] == 300


def test_no_pairs_give_an_empty_frame_with_all_columns(tmp_path: Path) -> None:
    found = behavior.historical(tmp_path, pairs([], T0), PROGRAMME)
    assert found.columns.tolist() == ["member_id", "at", *behavior.names(PROGRAMME)]
    assert len(found) == 0


def test_hours_and_weekdays_are_those_of_the_programmes_zone(tmp_path: Path) -> None:
    friday_late = datetime(2026, 1, 9, 23, 30, tzinfo=UTC)  # Saturday 00:30 in Amsterdam, 08:30 in Tokyo
    row = {"member_id": "m", "basket_id": "b", "occurred_at": friday_late}
    write(tmp_path, {"purchases": typed("purchases", [row])})
    shares = {
        zone: behavior.historical(tmp_path, pairs(["m"], T0), replace(PROGRAMME, timezone=zone)).iloc[0]
        for zone in ("UTC", "Europe/Amsterdam", "Asia/Tokyo")
    }
    assert [shares[zone]["weekend_share"] for zone in shares] == [0, 1, 1]
    assert [shares[zone]["evening_share"] for zone in shares] == [1, 0, 0]
    assert [shares[zone]["morning_share"] for zone in shares] == [0, 0, 1]


def test_a_programme_with_a_single_tier_has_nothing_to_reach_or_lose(tmp_path: Path) -> None:
    programme = replace(PROGRAMME, tiers=(Tier("only", "Only", 0.0, 365, 1.0),))
    row = behavior.historical(write(tmp_path, drawn(2, n_members=3)), pairs(["m0001"], T0), programme).iloc[0]
    assert row["tier_rank"] == row["spend_to_keep_tier"] == 0
    assert np.isnan([row["spend_to_next_tier"], row["tier_days_left"]]).all()


def test_the_tier_is_lost_on_the_day_it_was_said_to_be(tmp_path: Path) -> None:
    tables = drawn(11, n_members=40)
    write(tmp_path, tables)
    now = behavior.historical(tmp_path, pairs(sorted(tables["members"]["member_id"]), T0), PROGRAMME)
    now = now[now["tier_rank"] > 0]
    assert len(now) > 5
    falls = T0 + pd.to_timedelta(now["tier_days_left"], unit="D")
    around = [
        pd.DataFrame({"member_id": now["member_id"], "at": (falls + pd.Timedelta(minutes=minutes)).dt.as_unit("us")})
        for minutes in (-1, 1)
    ]
    known = {name: frame[frame["known_at"] <= T0] for name, frame in tables.items() if name != "products"}
    write(tmp_path / "known", known)
    before, after = (behavior.historical(tmp_path / "known", moment, PROGRAMME)["tier_rank"] for moment in around)
    assert (before.to_numpy() >= now["tier_rank"].to_numpy()).all()
    assert (after.to_numpy() < now["tier_rank"].to_numpy()).all()


def test_the_names_that_others_rely_on_are_there_once_and_in_a_family() -> None:
    names = behavior.names(PROGRAMME)
    assert not set(RELIED_ON) - set(names)
    assert len(set(names)) == len(names)
    families = behavior.by_family(PROGRAMME)
    assert sorted(name for members in families.values() for name in members) == sorted(names)


@pytest.mark.parametrize("name", ["baskets", "lines", "points", "offers", "engagements", "profile"])
def test_every_text_is_also_spark_sql(name: str) -> None:
    relation = of(PROGRAMME)[name]
    features = [feature for feature in behavior.definitions(PROGRAMME) if feature.relation == name]
    for text in (relation.facts, with_derived(relation, counted(relation)), cutoffs.feature_sql(relation, features)):
        spark = to_spark(text)
        sqlglot.parse_one(spark, read="spark", error_level=sqlglot.ErrorLevel.RAISE)
        assert "EPOCH_US" not in spark.upper()
        assert "ISODOW" not in spark.upper()
