"""Members and products are new to a model only if it has never seen them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from tests.training.tastes import programme, small
from training.cold_start import cold_start, drawn, first_baskets, new_members, new_products
from training.split import truth


def test_the_first_basket_is_what_was_bought_at_the_first_moment() -> None:
    found = first_baskets(small())
    assert found.counts.toarray().tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_a_share_is_drawn_by_lot_and_the_same_lot_draws_the_same() -> None:
    first, again, other = (drawn(50, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.sum() == other.sum() == 10
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_new_members_are_asked_about_with_nothing_their_first_basket_and_all_they_bought() -> None:
    bought = sp.csr_matrix(np.array([[0, 0, 0, 1, 0], [0] * 5, [1, 0, 0, 0, 0]], bool))
    cases = new_members(small(), bought, np.array([0, 1]))
    assert [case.name for case in cases] == ["unknown member", "first basket", "whole history"]
    assert [case.rows.tolist() for case in cases] == [[0]] * 3
    assert [case.known.product_index.tolist() for case in cases] == [[], [0], [0, 1, 2]]
    assert cases[0].bought.toarray().tolist() == [[0, 0, 0, 1, 0]]


def test_new_products_are_asked_about_where_one_was_bought_and_nothing_else_may_be_named() -> None:
    bought = sp.csr_matrix(np.array([[0, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0] * 5], bool))
    hidden = np.array([False, False, False, True, False])
    case = new_products(small(), bought, np.arange(3), hidden, "new product")
    assert case.rows.tolist() == [0]
    assert case.bought.toarray().tolist() == [[0, 0, 0, 1, 0]]
    assert case.allowed is hidden


def _gains(recipe: str) -> dict[str, dict[str, float]]:
    """Case → figures of the recipe."""
    _, before, later = programme()
    table = cold_start(before, truth(before, later).bought, {recipe: None})
    assert (table.loc[table["recipe"] == "popularity", "gain"] == 0).all()
    return {str(row["case"]): row for row in table[table["recipe"] == recipe].to_dict("records")}  # type: ignore[misc]


def test_by_category_new_products_are_ranked_and_a_first_basket_tells_a_taste() -> None:
    found = _gains("blend")
    assert list(found) == ["unknown member", "first basket", "whole history", "new product", "both"]
    for case in ("first basket", "whole history", "new product"):
        assert found[case]["gain_low"] > 0
    assert found["whole history"]["ndcg"] > found["first basket"]["ndcg"]
    assert found["unknown member"]["gain"] == pytest.approx(0.0, abs=0.02)


def test_a_recipe_without_tags_knows_no_new_product_from_another() -> None:
    found = _gains("item_item")
    assert found["new product"]["gain"] == 0.0
    assert found["first basket"]["gain_low"] > 0
