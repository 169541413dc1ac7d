"""Points by the programme's rules: worked out by hand, and the law of the ledger.

The programme of these tests: basic earns 1 point per euro, gold 2; gold is 100 euro in 30 days; points live 90 days.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import history, points
from features.entities import PointsRules, Programme, SegmentRules, Tier

DAY0 = datetime(2026, 1, 1, 12, tzinfo=UTC)


def day(number: float) -> datetime:
    return DAY0 + timedelta(days=number)


def sale(key: str, number: float, amount: float, **changes: Any) -> dict[str, Any]:
    """A line of one unit in a basket of its own, unless the changes say otherwise."""
    return {
        "purchase_id": key,
        "basket_id": key,
        "member_id": "m",
        "product_id": "p",
        "quantity": 1.0,
        "unit_price": abs(amount),
        "discount": 0.0,
        "amount": amount,
        "reverses": None,
        "occurred_at": day(number),
        "known_at": day(number),
        **changes,
    }


def back(key: str, number: float, amount: float, of: str | None) -> dict[str, Any]:
    return sale(key, number, -amount, quantity=-1.0, reverses=of)


def moves(programme: Programme, upto: float, *lines: dict[str, Any]) -> list[tuple[str, float, float]]:
    """`(entry, day, points)` of the ledger."""
    ledger = points.derive(pd.DataFrame(list(lines)), programme, day(upto))
    days = (ledger["occurred_at"] - pd.Timestamp(DAY0)) / pd.Timedelta(days=1)
    return list(zip(ledger["entry_id"], days, ledger["points"], strict=True))


def test_a_basket_earns_whole_points_on_the_sum_of_its_lines(programme: Programme) -> None:
    lines = [sale("a", 0, 10.60, basket_id="b"), sale("c", 0, 4.75, basket_id="b")]
    assert moves(programme, 1, *lines) == [("earn:m:b", 0, 15)]


def test_the_rate_is_that_of_the_tier_reached_before_the_basket(programme: Programme) -> None:
    lines = [sale("a", 0, 100.0), sale("b", 0, 7.0), sale("c", 29.9, 10.0), sale("d", 30, 10.0)]
    assert moves(programme, 31, *lines) == [
        ("earn:m:a", 0, 100),  # its own spend does not count for itself
        ("earn:m:b", 0, 7),  # nor that of another basket at the same moment
        ("earn:m:c", 29.9, 20),  # exactly 100 and more in the 30 days before: gold
        ("earn:m:d", 30, 10),  # the first basket is 30 days old and no longer counts
    ]


def test_a_return_lowers_the_spend_that_counts_for_the_tier(programme: Programme) -> None:
    lines = [sale("a", 0, 100.0), back("r", 1, 40.0, "a"), sale("b", 2, 10.0)]
    assert moves(programme, 3, *lines) == [("earn:m:a", 0, 100), ("reverse:m:a:r", 1, -40), ("earn:m:b", 2, 10)]


def test_a_return_takes_back_what_the_returned_part_had_earned_to_the_point(programme: Programme) -> None:
    lines = [sale("a", 0, 10.50), back("r1", 1, 0.30, "a"), back("r2", 2, 0.30, "a"), back("r3", 3, 9.90, "a")]
    assert moves(programme, 4, *lines) == [
        ("earn:m:a", 0, 10),
        ("reverse:m:a:r2", 2, -1),  # 10.20 stayed worth 10 points, 9.90 is worth 9
        ("reverse:m:a:r3", 3, -9),
    ]


def test_what_is_left_of_a_lot_expires_when_its_time_is_over(programme: Programme) -> None:
    lines = [sale("a", 0, 50.0), back("r", 1, 20.0, "a"), back("late", 91, 10.0, "a")]
    assert moves(programme, 89.9, *lines) == [("earn:m:a", 0, 50), ("reverse:m:a:r", 1, -20)]
    assert moves(programme, 95, *lines) == [("earn:m:a", 0, 50), ("reverse:m:a:r", 1, -20), ("expire:m:a", 90, -30)]


def test_a_return_of_an_unknown_sale_takes_back_nothing(programme: Programme) -> None:
    assert moves(programme, 2, back("r", 1, 40.0, None), back("s", 1, 40.0, "elsewhere")) == []


def test_no_purchases_give_no_points(programme: Programme) -> None:
    assert moves(programme, 2, sale("later", 5, 40.0)) == []


def test_redeemed_points_come_from_the_oldest_lots_and_expiry_takes_the_rest(programme: Programme) -> None:
    lines = pd.DataFrame([sale("a", 0, 30.0), sale("b", 10, 30.0), back("r", 20, 30.0, "b")])
    wish = {"entry_id": "w", "member_id": "m", "points": 40.0, "occurred_at": day(15), "known_at": day(15)}
    ledger = points.derive(lines, programme, day(200), pd.DataFrame([wish]))
    assert list(zip(ledger["type"], ledger["lot_id"], ledger["points"], strict=True)) == [
        ("earn", "m:a", 30),
        ("earn", "m:b", 30),
        ("redeem", "m:a", -30),
        ("redeem", "m:b", -10),
        ("reverse", "m:b", -20),  # the 10 that were redeemed cannot be taken back
    ]


def test_a_balance_is_what_the_lots_hold_at_that_moment(programme: Programme) -> None:
    ledger = points.derive(pd.DataFrame([sale("a", 0, 30.0), sale("b", 10, 20.0)]), programme, day(200))
    assert points.balances(ledger, day(5))["points"].tolist() == [30]
    assert points.balances(ledger, day(50))["points"].sum() == 50
    assert points.balances(ledger, day(95))["lot_id"].tolist() == ["m:b"]
    assert points.balances(ledger, day(150)).empty


SALES = st.builds(
    sale,
    st.sampled_from([f"s{i}" for i in range(8)]),
    st.integers(0, 120),
    st.decimals(0, 150, places=2).map(float),
    member_id=st.sampled_from(["m", "n"]),
    basket_id=st.sampled_from(["b1", "b2", "b3"]),
)
RETURNS = st.builds(
    back,
    st.sampled_from([f"r{i}" for i in range(8)]),
    st.integers(0, 240),
    st.decimals(0, 150, places=2).map(float),
    st.sampled_from([None, *(f"s{i}" for i in range(8))]),
)
WISHES = st.fixed_dictionaries(
    {
        "entry_id": st.sampled_from(["w0", "w1", "w2"]),
        "member_id": st.sampled_from(["m", "n"]),
        "points": st.integers(1, 200).map(float),
        "occurred_at": st.integers(0, 240).map(day),
    }
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(SALES, RETURNS), min_size=1, max_size=12, unique_by=lambda row: row["purchase_id"]),
    st.lists(WISHES, max_size=3, unique_by=lambda row: row["entry_id"]),
    st.tuples(st.integers(0, 240), st.integers(0, 240)).map(sorted),
)
def test_every_lot_obeys_the_law_and_never_holds_less_than_nothing(
    lines: list[dict[str, Any]], wishes: list[dict[str, Any]], stretch: list[int]
) -> None:
    rules = _programme()
    redemptions = pd.DataFrame([wish | {"known_at": wish["occurred_at"]} for wish in wishes]) if wishes else None
    ledger = points.derive(pd.DataFrame(lines), rules, day(250), redemptions)
    table = points.statement(ledger, day(stretch[0]), day(stretch[1]))
    computed = table["opening"] + table["issued"] - table["redeemed"] - table["expired"] - table["reversed"]
    assert (computed == table["closing"]).all()
    assert (table >= 0).all(axis=None)
    assert (table % 1 == 0).all(axis=None)
    assert ledger["entry_id"].is_unique
    for moment in ledger["occurred_at"].unique():
        held = points.balances(ledger, moment)
        assert (held["points"] > 0).all()
        assert (held["expires_at"] > moment).all()
    shuffled = points.derive(pd.DataFrame(lines[::-1]), rules, day(250), redemptions)
    pd.testing.assert_frame_equal(shuffled, ledger)


def _programme() -> Programme:
    tiers = (Tier("basic", "Basic", 0.0, 365, 1.0), Tier("gold", "Gold", 100.0, 30, 1.5))
    return Programme("EUR", "UTC", tiers, PointsRules(90, 0.01, 0.7), SegmentRules(1, 1, 1, 1, 1), 0.2)


def test_points_of_a_history_are_computed_anew_when_late_rows_come(programme: Programme, tmp_path: Path) -> None:
    late, rest = [sale("a", 0, 100.0)], [sale("b", 5, 10.0), back("r", 6, 10.0, "b")]
    for folder, parts in (("tidy", [late + rest]), ("late", [rest, late, late])):
        for part in parts:
            history.merge(tmp_path / folder, {"purchases": pd.DataFrame(part)})
            points.refresh(tmp_path / folder, programme)
    ledger = history.read(tmp_path / "late", "points")
    assert ledger["points"].tolist() == [100, 20, -20]
    assert history.fingerprint(tmp_path / "late") == history.fingerprint(tmp_path / "tidy")


def test_points_that_the_history_brought_are_left_alone(programme: Programme, tmp_path: Path) -> None:
    own = {"entry_id": "e", "member_id": "m", "type": "earn", "points": 3.0, "lot_id": "l", "source": "till"}
    entry = pd.DataFrame([{**own, "occurred_at": DAY0, "known_at": DAY0}])
    history.merge(tmp_path, {"purchases": pd.DataFrame([sale("a", 0, 100.0)]), "points": entry})
    assert points.refresh(tmp_path, programme) is None
    assert history.read(tmp_path, "points")["entry_id"].tolist() == ["e"]


@pytest.mark.parametrize("rate", [0.0, 0.01, 2.5])
def test_any_rate_is_taken_exactly(rate: float) -> None:
    rules = _programme()
    rules = replace(rules, tiers=(replace(rules.tiers[0], earn_rate=rate),))
    assert sum(move[2] for move in moves(rules, 1, sale("a", 0, 100.0))) == 100 * rate
