from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from training import purchase_days

AT = datetime(2024, 3, 31, 12, tzinfo=UTC)


def lines(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    """Lines of (member, when, quantity, amount), known at once."""
    frame = pd.DataFrame(rows, columns=["member_id", "occurred_at", "quantity", "amount"])
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"], utc=True)
    return frame.assign(known_at=frame["occurred_at"])


def test_baskets_of_a_day_are_one_purchase_and_the_first_is_not_a_repeat() -> None:
    found = purchase_days.summary(
        lines(
            ("b", "2024-01-01 09:00", 1, 10.0),
            ("b", "2024-01-01 18:00", 1, 5.0),
            ("b", "2024-01-11 09:00", 2, 30.0),
            ("b", "2024-01-11 09:00", 1, 6.0),
            ("b", "2024-03-01 09:00", 1, 20.0),
            ("a", "2024-03-30 23:59", 1, 7.0),
        ),
        AT,
    )
    assert found["member_id"].tolist() == ["a", "b"]
    assert found["frequency"].tolist() == [0, 2]
    assert found["recency"].tolist() == [0, 60]
    assert found["age"].tolist() == [1, 90]
    assert np.isnan(found["spend"][0])
    assert found["spend"][1] == pytest.approx((36 + 20) / 2)


def test_a_return_takes_its_money_off_the_day_before_it_and_is_no_purchase() -> None:
    found = purchase_days.summary(
        lines(
            ("a", "2024-01-01", 1, 10.0),
            ("a", "2024-02-01", 1, 50.0),
            ("a", "2024-02-20", -1, -20.0),
            ("a", "2024-03-01", 1, 40.0),
            ("b", "2024-02-20", -1, -9.0),
            ("c", "2024-02-01", 1, 5.0),
            ("c", "2024-03-01", 1, 5.0),
            ("c", "2024-03-02", -1, -6.0),
        ),
        AT,
    ).set_index("member_id")
    assert found.index.tolist() == ["a", "c"]
    assert found.loc["a", "frequency"] == 2
    assert found.loc["a", "spend"] == pytest.approx((30 + 40) / 2)
    assert found["spend"].isna().tolist() == [False, True]


def test_what_happened_or_became_known_later_is_left_out() -> None:
    frame = lines(("a", "2024-01-01", 1, 10.0), ("a", "2024-04-01", 1, 10.0), ("a", "2024-03-01", 1, 10.0))
    frame.loc[2, "known_at"] = pd.Timestamp("2024-04-02", tz="UTC")
    found = purchase_days.summary(frame, AT)
    assert found[["frequency", "recency", "age"]].to_numpy().tolist() == [[0, 0, 90]]


def test_nobody_who_bought_gives_an_empty_table() -> None:
    assert len(purchase_days.summary(lines(("a", "2025-01-01", 1, 10.0)), AT)) == 0
    assert len(purchase_days.summary(lines(("a", "2024-01-01", -1, -10.0)), AT)) == 0


def test_habits_are_in_days_and_checked() -> None:
    found = purchase_days.habits(purchase_days.summary(lines(("a", "2024-01-01", 1, 1.0)), AT))
    assert (found.frequency.tolist(), found.recency.tolist(), found.age.tolist()) == ([0], [0], [90])
