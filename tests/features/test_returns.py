"""Returns find the sales they take back."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from features.returns import tie


def rows(*lines: tuple[Any, ...]) -> pd.DataFrame:
    """Lines of `(id, day, quantity, reverses)`, with the price, member and product where they are not the usual."""
    names = ["purchase_id", "day", "quantity", "reverses", "unit_price", "member_id", "product_id"]
    usual = (None, 5.0, "m", "p")
    frame = pd.DataFrame([(*given, *usual[len(given) - 3 :]) for given in lines], columns=names)
    return frame.assign(occurred_at=pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(frame["day"], unit="D"))


def ties(frame: pd.DataFrame) -> dict[str, str]:
    found = tie(frame)
    return dict(zip(found["purchase_id"], found["reverses"], strict=True))


def test_the_most_recent_sale_that_fits_is_taken() -> None:
    assert ties(rows(("old", 1, 3.0), ("new", 2, 3.0), ("later", 9, 3.0), ("back", 5, -2.0))) == {"back": "new"}


def test_a_sale_gives_no_more_than_was_bought() -> None:
    frame = rows(("old", 1, 1.0), ("new", 2, 2.0), ("b1", 3, -2.0), ("b2", 4, -1.0), ("b3", 5, -1.0))
    assert ties(frame) == {"b1": "new", "b2": "old"}


def test_what_a_given_return_took_is_gone() -> None:
    assert ties(rows(("sale", 1, 1.0), ("given", 2, -1.0, "sale"), ("back", 3, -1.0))) == {}


@pytest.mark.parametrize(
    "sale", [("s", 1, 1.0, None, 4.0), ("s", 1, 1.0, None, 5.0, "x"), ("s", 1, 1.0, None, 5.0, "m", "x"), ("s", 7, 1.0)]
)
def test_another_price_member_or_product_and_a_later_sale_do_not_fit(sale: tuple[Any, ...]) -> None:
    assert ties(rows(sale, ("back", 5, -1.0))) == {}


def test_the_order_of_the_rows_does_not_matter() -> None:
    frame = rows(("a", 1, 1.0), ("b", 1, 2.0), ("c", 2, 2.0), ("x", 3, -1.0), ("y", 3, -1.0), ("z", 3, -2.0))
    for seed in range(5):
        assert ties(frame.sample(frac=1.0, random_state=seed)) == {"x": "c", "y": "c", "z": "b"}
