from __future__ import annotations

import numpy as np
import pandas as pd

from training.spells import LADDER, days_learned, spells


def frame(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["member_id", "next_days", "followed_days"])


def test_the_programmes_horizon_is_given_where_it_is_closed_worked_out_by_hand() -> None:
    found = frame([("a", 10.0, 90.0), ("b", np.nan, 90.0), ("a", 40.0, 60.0), ("c", 90.0, 200.0), ("c", 91.0, 200.0)])
    rows = spells(found, 90.0, 0, 1000, np.random.default_rng(0))
    assert rows.row.tolist() == [0, 1, 3, 4]
    assert rows.days.tolist() == [90.0] * 4
    assert rows.silent.tolist() == [False, True, False, True]
    assert rows.member.tolist() == [0, 1, 2, 2]


def test_no_horizon_is_longer_than_what_is_known_to_have_followed() -> None:
    rng = np.random.default_rng(3)
    followed = rng.uniform(8, 120, 500)
    waits = rng.exponential(60, 500)
    found = frame([("m", w if w <= f else np.nan, f) for w, f in zip(waits, followed, strict=True)])
    rows = spells(found, 90.0, 3, 10_000, rng)
    assert (rows.days <= followed[rows.row] + 1e-6).all()
    assert np.array_equal(rows.silent, waits[rows.row] > rows.days)
    assert set(rows.days) <= {*map(float, LADDER), 90.0}
    assert len(set(zip(rows.row, rows.days, strict=True))) == len(rows)


def test_more_rows_than_allowed_are_drawn_by_lot_and_stay_in_order() -> None:
    found = frame([(str(i), 5.0, 365.0) for i in range(1000)])
    rows = spells(found, 90.0, 3, 700, np.random.default_rng(1))
    assert len(rows) == 700 and (np.diff(rows.row) >= 0).all()


def test_the_ladder_ends_at_twice_the_horizon_and_where_nothing_is_known() -> None:
    assert days_learned(np.array([400.0]), 30.0).tolist() == [1, 3, 7, 14, 21, 45, 60]
    assert days_learned(np.array([40.0]), 90.0).tolist() == [1, 3, 7, 14, 21, 30]
