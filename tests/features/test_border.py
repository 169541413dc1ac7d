"""What passes the border is typed; what does not is named."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.border import RULES, BorderError, check
from features.tables import Column, Table

VISITS = Table(
    "visits",
    ("visit_id",),
    (
        Column("visit_id", "text"),
        Column("kind", "text", required=False, among=("shop", "web")),
        Column("spend", "money", at_least=0.0),
        Column("items", "whole", required=False, at_most=99),
        Column("paid", "flag"),
        Column("occurred_at", "time"),
    ),
)
GOOD = {"visit_id": "a", "kind": "shop", "spend": "1.50", "items": "2", "paid": "yes", "occurred_at": "2026-07-01"}


def visits(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{**GOOD, **change} for change in changes], dtype="object")


def test_a_good_row_comes_out_with_the_types_of_its_table() -> None:
    accepted, rejected = check(visits({}), VISITS, file="visits.csv")
    assert rejected.empty
    assert accepted.dtypes.astype(str).to_dict() == {
        "visit_id": "object",
        "kind": "object",
        "spend": "float64",
        "items": "Int64",
        "paid": "bool",
        "occurred_at": "datetime64[us, UTC]",
    }
    assert accepted.iloc[0].to_dict() == {
        "visit_id": "a",
        "kind": "shop",
        "spend": 1.5,
        "items": 2,
        "paid": True,
        "occurred_at": pd.Timestamp("2026-07-01", tz="UTC"),
    }


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("visit_id", "", "MISSING"),
        ("visit_id", None, "MISSING"),
        ("kind", "phone", "NOT_AMONG"),
        ("spend", "a lot", "NOT_A_NUMBER"),
        ("spend", "1,50", "NOT_A_NUMBER"),
        ("spend", "nan", "NOT_A_NUMBER"),
        ("spend", "inf", "NOT_A_NUMBER"),
        ("spend", "-0.01", "TOO_SMALL"),
        ("spend", None, "MISSING"),
        ("items", "2.5", "NOT_WHOLE"),
        ("items", "100", "TOO_LARGE"),
        ("items", "99999999999999999999", "NOT_WHOLE"),
        ("paid", "perhaps", "NOT_A_FLAG"),
        ("occurred_at", "31/07/2026", "NOT_A_TIME"),
        ("occurred_at", "2026-02-30", "NOT_A_TIME"),
        ("occurred_at", "9999-12-31", "NOT_A_TIME"),
        ("occurred_at", "0001-01-01", "NOT_A_TIME"),
    ],
)
def test_a_bad_value_is_named_with_its_row_column_and_rule(column: str, value: str | None, rule: str) -> None:
    accepted, rejected = check(visits({}, {column: value}, {"visit_id": "c"}), VISITS, file="visits.csv")
    assert accepted["visit_id"].tolist() == ["a", "c"]
    assert rejected.to_dict("records") == [
        {"file": "visits.csv", "row": 2, "column": column, "rule": rule, "value": value or None}
    ]


def test_every_fault_of_a_row_is_named_and_the_row_counts_once() -> None:
    accepted, rejected = check(visits({"spend": "?", "paid": "?", "kind": "?"}), VISITS, file="visits.csv")
    assert accepted.empty
    assert set(rejected["column"]) == {"spend", "paid", "kind"}
    assert set(rejected["row"]) == {1}


def test_a_missing_column_raises_and_says_what_the_file_has_and_what_to_do() -> None:
    frame = visits({}).rename(columns={"spend": "total"})
    with pytest.raises(BorderError, match=r"visits\.csv: column spend is missing; the file has .*total.*rename"):
        check(frame, VISITS, file="visits.csv")


def test_columns_the_table_does_not_know_are_left_out_and_optional_ones_may_be_absent() -> None:
    frame = visits({}).drop(columns=["kind", "items"]).assign(weather="rain")
    accepted, rejected = check(frame, VISITS, file="visits.csv")
    assert rejected.empty
    assert list(accepted.columns) == [column.name for column in VISITS.columns]
    assert accepted["kind"].tolist() == [None]


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-07-01T12:00:00", "2026-07-01T10:00:00Z"),  # summer in Rome is two hours ahead
        ("2026-01-01 12:00", "2026-01-01T11:00:00Z"),  # winter one
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z"),
        ("2026-07-01T12:00:00.000001-05:00", "2026-07-01T17:00:00.000001Z"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),  # the hour the clock shows twice: the first
        ("2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),  # the hour it skips: its end
    ],
)
def test_times_without_an_offset_are_local_and_all_end_in_utc(written: str, utc: str) -> None:
    frame = visits({"occurred_at": written})
    accepted, _ = check(frame, VISITS, file="visits.csv", timezone="Europe/Rome")
    assert accepted["occurred_at"].tolist() == [pd.Timestamp(utc)]


def test_the_index_of_the_frame_is_the_position_in_the_file() -> None:
    frame = visits({}, {"spend": "?"}).set_axis([40, 41])
    _, rejected = check(frame, VISITS, file="visits.csv")
    assert rejected["row"].tolist() == [42]


def test_ids_that_a_spreadsheet_made_numbers_lose_their_point_zero() -> None:
    frame = visits({}, {}).assign(visit_id=[17850.0, 13047.0])
    accepted, _ = check(frame, VISITS, file="visits.csv")
    assert accepted["visit_id"].tolist() == ["17850", "13047"]


VALUES = st.one_of(
    st.none(),
    st.text(max_size=8),
    st.sampled_from(["shop", "1", "2026-01-01", "2026-01-01T00:00:00+02:00", "true", "NaN", "-1", "1e400", "\x00"]),
    st.integers(),
    st.floats(),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUES)), max_size=4))
def test_whatever_comes_every_row_is_either_accepted_or_named(rows: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows, columns=list(GOOD), dtype="object")
    accepted, rejected = check(frame, VISITS, file="visits.csv")
    assert len(accepted) + rejected["row"].nunique() == len(rows)
    assert set(rejected["rule"]) <= set(RULES)
    again, nothing = check(accepted, VISITS, file="visits.csv")
    assert nothing.empty
    pd.testing.assert_frame_equal(again, accepted)
