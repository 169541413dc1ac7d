"""From purchases to matrices: what was kept, what was known, and whose it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.interactions import Interactions, build, kept_purchases, member_history
from training.split import after, cut_before, truth

START = datetime(2024, 1, 1, tzinfo=UTC)
END = START + timedelta(days=100)


def _times(days: list[float]) -> pd.Series[Any]:
    moments = [START + timedelta(days=day) for day in days]
    return pd.Series(pd.to_datetime(moments, utc=True).astype("datetime64[us, UTC]"))


def _purchases(*rows: tuple[str, str, str, float, float, str | None], delay: float = 0.0) -> pd.DataFrame:
    """Rows of (purchase and basket, member, product, day, quantity, reverses)."""
    frame = pd.DataFrame(rows, columns=["purchase_id", "member_id", "product_id", "day", "quantity", "reverses"])
    days = frame.pop("day").astype(float)
    frame["basket_id"] = frame["purchase_id"].str.split("/").str[0]
    return frame.assign(occurred_at=_times(days.tolist()), known_at=_times((days + delay).tolist()))


def _products(**categories: str) -> pd.DataFrame:
    frame = pd.DataFrame({"product_id": list(categories), "category": list(categories.values()), "brand": None})
    return frame.assign(occurred_at=_times([0.0] * len(frame)), known_at=_times([0.0] * len(frame)))


def _members(*rows: tuple[str, str | None, int | None, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["member_id", "region", "birth_year", "day"])
    days = frame.pop("day").astype(float).tolist()
    return frame.assign(occurred_at=_times(days), known_at=_times(days))


def _counts(found: Interactions) -> dict[tuple[str, str], float]:
    grid = found.counts.tocoo()
    return {
        (str(found.member_ids[row]), str(found.product_ids[column])): float(value)
        for row, column, value in zip(grid.row, grid.col, grid.data, strict=True)
    }


def _build(purchases: pd.DataFrame, at: datetime = END) -> Interactions:
    return build(purchases, _products(tea="drinks", jam="food"), _members(("ann", "north", 1984, 0.0)), at)


def test_a_product_counts_once_for_each_basket_it_is_in() -> None:
    found = _build(
        _purchases(
            ("b1/1", "ann", "tea", 1, 2, None), ("b1/2", "ann", "tea", 1, 1, None), ("b2/1", "ann", "tea", 9, 1, None)
        )
    )
    assert _counts(found) == {("ann", "tea"): 2.0}
    assert found.last_at.data.tolist() == [(START + timedelta(days=9)).timestamp()]
    assert found.buys.tolist() == [[0, 1], [0, 1]]


def test_a_return_takes_off_the_sale_it_names() -> None:
    sales = _purchases(("b1", "ann", "tea", 1, 2, None), ("b2", "ann", "tea", 5, 2, None))
    back = _purchases(("r1", "ann", "tea", 6, -2, "b1"))
    found = _build(pd.concat([sales, back]))
    assert _counts(found) == {("ann", "tea"): 1.0}
    assert found.last_at.data.tolist() == [(START + timedelta(days=5)).timestamp()]


def test_a_return_without_a_name_takes_off_the_latest_sales_before_it() -> None:
    sales = _purchases(
        ("b1", "ann", "tea", 1, 2, None), ("b2", "ann", "tea", 5, 2, None), ("b3", "ann", "tea", 8, 1, None)
    )
    back = _purchases(("r1", "ann", "tea", 6, -3, None))
    found = _build(pd.concat([sales, back]))
    assert (found.bought_at - START.timestamp()).tolist() == [1 * 86400.0, 8 * 86400.0]


def test_a_return_of_something_never_sold_to_the_member_leaves_later_sales_alone() -> None:
    found = _build(_purchases(("r1", "ann", "tea", 1, -5, "lost"), ("b1", "ann", "tea", 2, 1, None)))
    assert _counts(found) == {("ann", "tea"): 1.0}


Flow = st.tuples(st.integers(0, 6), st.integers(-4, 4).filter(bool))


@settings(max_examples=60, deadline=None)
@given(st.lists(Flow, min_size=1, max_size=12, unique_by=lambda flow: flow[0]))
def test_returns_are_taken_off_like_from_a_stack(flows: list[tuple[int, int]]) -> None:
    rows = [(f"b{day}", "ann", "tea", float(day), float(quantity), None) for day, quantity in flows]
    stack: list[list[int]] = []
    for day, quantity in sorted(flows):
        if quantity > 0:
            stack.append([day, quantity])
            continue
        owed = -quantity
        while owed and stack:
            taken = min(owed, stack[-1][1])
            owed -= taken
            stack[-1][1] -= taken
            if not stack[-1][1]:
                stack.pop()
    kept = kept_purchases(_purchases(*rows))
    assert (kept["bought_at"] - START.timestamp()).tolist() == [day * 86400.0 for day, _ in stack]


def test_nothing_that_happens_or_arrives_after_the_moment_changes_anything() -> None:
    early = _purchases(("b1", "ann", "tea", 1, 2, None), ("b2", "bob", "jam", 2, 1, None))
    later = _purchases(("b3", "ann", "tea", 51, 1, None), ("b4", "cleo", "fig", 60, 1, None))
    late = _purchases(("r1", "ann", "tea", 3, -2, "b1"), ("b5", "ann", "jam", 4, 1, None), delay=90.0)
    at = START + timedelta(days=50)
    alone, crowded = _build(early, at), _build(pd.concat([early, later, late]), at)
    assert crowded.member_ids.tolist() == alone.member_ids.tolist() == ["ann", "bob"]
    assert crowded.product_ids.tolist() == alone.product_ids.tolist() == ["jam", "tea"]
    assert _counts(crowded) == _counts(alone)
    assert np.array_equal(crowded.bought_at, alone.bought_at)


def test_members_without_purchases_and_products_nobody_bought_have_their_place() -> None:
    found = build(
        _purchases(("b1", "bob", "tea", 1, 1, None)),
        _products(tea="drinks", jam="food"),
        _members(("ann", "north", 1984, 0.0), ("ann", "south", 1984, 5.0)),
        END,
    )
    assert found.member_ids.tolist() == ["ann", "bob"]
    assert found.counts.shape == (2, 2)
    assert found.member_tag_names == ("region:south", "born:1980")
    assert found.member_tags.toarray().tolist() == [[1, 1], [0, 0]]
    assert found.product_tag_names == ("category:drinks", "category:food")
    assert found.product_tags.toarray().tolist() == [[0, 1], [1, 0]]


def test_the_order_of_the_rows_makes_no_difference() -> None:
    rows = [(f"b{i}", f"m{i % 3}", f"p{i % 4}", float(i), 1.0, None) for i in range(12)]
    one, two = _build(_purchases(*rows)), _build(_purchases(*rows[::-1]))
    assert np.array_equal(one.counts.toarray(), two.counts.toarray())
    assert np.array_equal(one.buys, two.buys)


def test_an_empty_history_gives_empty_matrices() -> None:
    nothing = _purchases(("b1", "ann", "tea", 1, 1, None)).iloc[:0]
    found = build(nothing, _products().iloc[:0], _members(("ann", None, None, 0.0)).iloc[:0], END)
    assert found.counts.shape == (0, 0)
    assert found.bought_at.size == 0


def test_a_member_is_asked_about_with_what_was_bought_and_when() -> None:
    found = _build(_purchases(("b1", "ann", "tea", 1, 1, None), ("b2", "bob", "jam", 2, 1, None)))
    member = member_history(found, 1)
    assert member.product_index.tolist() == [0]
    assert member.count.tolist() == [1.0]
    assert member.last_at.tolist() == [(START + timedelta(days=2)).timestamp()]
    assert member.vector is None


def test_the_truth_is_what_was_kept_after_the_cut_by_members_and_of_products_known_at_it() -> None:
    history = _purchases(
        ("b1", "ann", "tea", 1, 1, None),
        ("b2", "bob", "jam", 2, 1, None),
        ("b3", "ann", "tea", 61, 1, None),
        ("b4", "ann", "jam", 62, 1, None),
        ("b5", "bob", "tea", 63, 1, None),
        ("r5", "bob", "tea", 64, -1, "b5"),
        ("b6", "ann", "new", 65, 1, None),
        ("b7", "eve", "tea", 66, 1, None),
        ("b8", "bob", "tea", 99, 1, None),
    )
    at = cut_before(END, 40)
    later = after(history, at, days=30)
    found = truth(_build(history, at), later)
    assert found.bought.toarray().tolist() == [[True, True], [False, False]]
    assert found.unknown_members == 1
    assert found.unknown_products == pytest.approx(1 / 3)
    assert truth(_build(history, at), later, only_new=True).bought.toarray().tolist() == [[True, False], [False, False]]
