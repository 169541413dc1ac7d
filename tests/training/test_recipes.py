"""One contract for every recipe in the table, and what each of them promises beyond it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from features.learned import (
    Counts,
    Factors,
    ItemItem,
    MemberHistory,
    ProductForm,
    load,
    save,
    score_many,
    to_arrays,
    top_k,
)
from training.evaluate import compare, judge
from training.interactions import Interactions, build, histories, member_history
from training.recipes import RECIPES, Fitted, Limits, RecipeError, config_from, find, fit
from training.recipes.repeat import logistic
from training.split import after, truth

AT = datetime(2024, 6, 1, tzinfo=UTC)
SIZE = 20
WITHOUT_TASTE = {"popularity"}
"""Recipes that say nothing of products the member never bought beyond how popular they are."""
SMALL: dict[str, Mapping[str, Any]] = {
    "als": {"factors": 8, "regularization": 0.1},
    "scaled_als": {"factors": 8},
    "bpr": {"factors": 8, "learning_rate": 0.05},
    "lightfm_hybrid": {"factors": 8, "epochs": 60},
    "item_item": {"neighbours": 20},
}
"""Settings fit for small data; any recipe that is not named is tried as it is."""


def _purchases(member: NDArray[Any], product: NDArray[Any], days_ago: NDArray[Any]) -> pd.DataFrame:
    moments = pd.Series(AT - pd.to_timedelta(np.asarray(days_ago, float), unit="D")).astype("datetime64[us, UTC]")
    names = [f"b{i}" for i in range(len(moments))]
    return pd.DataFrame(
        {
            "purchase_id": names,
            "basket_id": names,
            "member_id": [f"m{i:03d}" for i in member],
            "product_id": [f"p{i:03d}" for i in product],
            "quantity": 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )


def _products(n: int, kinds: int) -> pd.DataFrame:
    ids = [f"p{i:03d}" for i in range(n)]
    category = [f"kind {i % kinds}" for i in range(n)]
    since = pd.Series([AT - timedelta(days=900)] * n).astype("datetime64[us, UTC]")
    return pd.DataFrame(
        {"product_id": ids, "category": category, "brand": None, "occurred_at": since, "known_at": since}
    )


def _members(n: int) -> pd.DataFrame:
    since = pd.Series([AT - timedelta(days=900)] * n).astype("datetime64[us, UTC]")
    ids = [f"m{i:03d}" for i in range(n)]
    return pd.DataFrame(
        {"member_id": ids, "region": "north", "birth_year": None, "occurred_at": since, "known_at": since}
    )


@cache
def _board() -> Interactions:
    """A checkerboard: even members buy even products, odd ones odd ones, but nobody the product with their own number.

    All is bought twice. The last two products were never bought and the last two members have bought nothing.
    """
    member, product = np.nonzero(np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2 == 0)
    member, product = (np.tile(side[member != product], 2) for side in (member, product))
    days_ago = 1.0 + (member + product) % 7 + np.repeat([0.0, 40.0], len(member) // 2)
    purchases = _purchases(member, product, days_ago)
    return build(purchases, _products(SIZE + 2, 2), _members(SIZE + 2), AT)


@cache
def _programme() -> tuple[Interactions, pd.DataFrame]:
    """Members with one of four tastes and habits of their own; cut 30 days before the end."""
    rng = np.random.default_rng(11)
    rows = []
    for member in range(160):
        own = rng.permutation(np.arange(member % 4, 48, 4))
        chances = np.r_[np.full(3, 0.2), np.full(len(own) - 3, 0.4 / (len(own) - 3))]
        for day in np.arange(rng.uniform(0, 15), 150, rng.uniform(8, 16)):
            bought = (
                rng.choice(own, 3, False, chances / chances.sum()) if rng.random() < 0.8 else rng.integers(0, 48, 3)
            )
            rows += [(member, product, 150 - day) for product in set(bought.tolist())]
    member_of, product_of, days_ago = (np.array(column) for column in zip(*rows, strict=True))
    history = _purchases(member_of, product_of, days_ago)
    cut = AT - timedelta(days=30)
    return build(history, _products(48, 4), _members(160), cut), after(history, cut)


@cache
def _on_board(name: str) -> Fitted:
    return fit(name, _board(), config_from(name, SMALL.get(name)))


def _scores(name: str, row: int) -> NDArray[np.floating[Any]]:
    fitted = _on_board(name)
    return fitted.form.score(member_history(_board(), row, fitted.vector(row)), AT.timestamp())


@pytest.mark.parametrize("name", sorted(set(RECIPES) - WITHOUT_TASTE))
def test_on_a_checkerboard_the_missing_square_comes_first(name: str) -> None:
    for row in range(SIZE):
        unbought = np.ones(SIZE + 2, bool)
        unbought[member_history(_board(), row).product_index] = False
        assert top_k(_scores(name, row), 1, unbought).tolist() == [row]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_members_scored_together_score_as_they_do_alone(name: str) -> None:
    fitted, board = _on_board(name), _board()
    together = score_many(fitted.form, histories(board, None, fitted.member_vectors), AT.timestamp())
    assert together.shape == board.counts.shape
    for row in range(SIZE + 2):
        np.testing.assert_allclose(together[row], _scores(name, row), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"popularity"}))
def test_on_a_checkerboard_a_member_gets_the_own_colour_before_the_other(name: str) -> None:
    for row in range(SIZE):
        own = member_history(_board(), row).product_index
        assert set(top_k(_scores(name, row), len(own) - 1).tolist()) <= {*own.tolist(), row}


@pytest.mark.parametrize("name", RECIPES)
def test_an_unknown_member_gets_a_full_list_of_products_somebody_bought(name: str) -> None:
    scores = _on_board(name).form.score(MemberHistory(), AT.timestamp())
    assert scores.shape == (SIZE + 2,)
    assert np.isfinite(scores).all()
    assert SIZE not in top_k(scores, SIZE).tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_a_known_member_without_purchases_gets_a_full_list_too(name: str) -> None:
    assert np.isfinite(_scores(name, SIZE + 1)).all()
    assert len(top_k(_scores(name, SIZE + 1), 10)) == 10


@pytest.mark.parametrize("name", RECIPES)
def test_a_product_nobody_bought_has_a_finite_score_and_is_not_put_first(name: str) -> None:
    for row in range(SIZE):
        scores = _scores(name, row)
        assert np.isfinite(scores).all()
        assert not {SIZE, SIZE + 1} & set(top_k(scores, 3).tolist())


@pytest.mark.parametrize("name", RECIPES)
def test_a_fitted_form_comes_back_from_disk_with_the_same_scores(name: str, tmp_path: Path) -> None:
    save(_on_board(name).form, tmp_path)
    back = load(tmp_path)
    assert isinstance(back, ProductForm)
    member = member_history(_board(), 3, _on_board(name).vector(3))
    assert np.array_equal(back.score(member, AT.timestamp()), _scores(name, 3))


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    again = fit(name, _board(), config_from(name, SMALL.get(name)))
    assert save(again.form, tmp_path / "a") == save(_on_board(name).form, tmp_path / "b")
    vectors = _on_board(name).member_vectors
    assert vectors is None or np.array_equal(again.member_vectors, vectors, equal_nan=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted({"als", "scaled_als", "bpr", "lightfm_hybrid"}))
def test_another_seed_gives_other_arrays(name: str) -> None:
    other = fit(name, _board(), config_from(name, {**SMALL[name], "seed": 1}))
    assert not np.array_equal(to_arrays(other.form)["vectors"], to_arrays(_on_board(name).form)["vectors"])


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"popularity"}))
def test_it_beats_popularity_where_members_have_tastes_and_habits(name: str) -> None:
    before, later = _programme()
    bought = truth(before, later).bought
    popular = judge(before, fit("popularity", before), bought)
    judged = judge(before, fit(name, before, config_from(name, SMALL.get(name))), bought)
    assert judged.ndcg.mean() > popular.ndcg.mean() + 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_unknown_settings_and_broken_rules_are_told_by_name(name: str) -> None:
    with pytest.raises(RecipeError, match=rf'recipe "{name}": "colour" is no setting of it; use one of'):
        config_from(name, {"colour": 1})
    number = next(field for field, value in vars(config_from(name)).items() if isinstance(value, float))
    with pytest.raises(RecipeError, match=rf'recipe "{name}": {number} is -1'):
        config_from(name, {number: -1})
    with pytest.raises(RecipeError, match=rf'recipe "{name}": {number} is .often'):
        config_from(name, {number: "often"})
    assert config_from(name, {number: 3.5}) == config_from(name, {number: 3.5}) != config_from(name)


@pytest.mark.parametrize("name", RECIPES)
def test_a_history_without_purchases_is_refused(name: str) -> None:
    nobody = np.empty(0, int)
    empty = build(_purchases(nobody, nobody, nobody), _products(3, 1), _members(2), AT)
    with pytest.raises(RecipeError, match="no purchase was known at 2024-06-01"):
        fit(name, empty)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_costs_and_is_skipped_with_a_reason_where_that_is_too_much(name: str) -> None:
    recipe, (before, later) = RECIPES[name], _programme()
    cost = recipe.estimate(before, recipe.config())
    assert cost is not None
    assert 0 < cost.seconds < 30
    assert 0 < cost.megabytes < 2_000
    assert recipe.too_large(before, recipe.config()) is None
    reason = recipe.too_large(before, recipe.config(), Limits(minutes=cost.seconds / 120, memory_gb=1e-9))
    assert reason is not None
    assert re.match(rf"{name} would take about \S+ min where \S+ are allowed and about \S+ GB where 1e-09", reason)
    assert "for 160 members, 48 products and" in reason
    with pytest.raises(RecipeError, match=f"{name} would take"):
        compare(before, later, {name: None}, limits=Limits(memory_gb=1e-9))


def test_a_recipe_that_is_too_large_is_left_out_of_a_comparison_and_the_others_go_on() -> None:
    before, later = _programme()
    told: list[str] = []
    slow = config_from("bpr", {"passes": 10_000_000, "most_steps": 10**12})
    table = compare(before, later, {"bpr": slow, "item_item": None}, progress=told.append)
    assert table["recipe"].tolist() == ["item_item"]
    assert told[0].startswith("bpr is skipped: bpr would take about")


def test_an_unknown_recipe_is_told_which_there_are() -> None:
    with pytest.raises(RecipeError, match='recipe "oracle" is unknown; use one of popularity, repeat, als'):
        find("oracle")


def test_popularity_counts_distinct_buyers_inside_the_window() -> None:
    member = np.array([0, 0, 0, 1, 2, 3, 4])
    product = np.array([0, 0, 0, 1, 1, 2, 2])
    days_ago = np.array([1, 2, 3, 4, 5, 40, 41])
    found = build(_purchases(member, product, days_ago), _products(3, 1), _members(5), AT)
    scores = fit("popularity", found).form.score(MemberHistory(), AT.timestamp())
    assert scores == pytest.approx([0.999 / 3 + 0.001 / 5, 0.999 * 2 / 3 + 0.002 / 5, 0.002 / 5])


@pytest.mark.parametrize("name", ["als", "scaled_als"])
def test_a_vector_folded_in_is_the_vector_that_training_stored(name: str) -> None:
    before, _ = _programme()
    fitted = fit(name, before, config_from(name, SMALL[name]))
    assert isinstance(fitted.form, Factors)
    for row in range(0, 160, 7):
        folded = fitted.form.fold_in(member_history(before, row), before.seconds)
        stored = fitted.vector(row)
        assert folded is not None
        assert stored is not None
        assert np.allclose(folded, stored, atol=2e-3)


@pytest.mark.parametrize("name", ["bpr", "lightfm_hybrid"])
def test_members_unknown_to_it_are_served_almost_as_well_over_the_bridge(name: str) -> None:
    before, later = _programme()
    bought = truth(before, later).bought
    fitted = fit(name, before, config_from(name, SMALL[name]))
    strangers = Fitted(fitted.form)
    popular = judge(before, fit("popularity", before), bought).ndcg.mean()
    known, stranger = (judge(before, one, bought).ndcg.mean() for one in (fitted, strangers))
    assert stranger > popular + 0.7 * (known - popular)


def test_a_hybrid_places_a_product_nobody_bought_by_its_tags() -> None:
    own = [_scores("lightfm_hybrid", row)[SIZE + row % 2] for row in range(SIZE)]
    other = [_scores("lightfm_hybrid", row)[SIZE + 1 - row % 2] for row in range(SIZE)]
    assert np.mean(np.array(own) > np.array(other)) > 0.9


def test_cosine_neighbours_are_the_cosine_of_who_bought_what() -> None:
    member, product = np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 1])
    found = build(_purchases(member, product, np.ones(5)), _products(3, 1), _members(3), AT)
    form = fit("item_item", found, config_from("item_item", {"similarity": "cosine", "neighbours": 2})).form
    assert isinstance(form, ItemItem)
    assert form.neighbours[:2].tolist() == [[0, 1], [1, 0]]
    assert form.similarity[:2] == pytest.approx(np.array([[1, 2 / math.sqrt(6)], [1, 2 / math.sqrt(6)]]))
    alone = fit("item_item", found, config_from("item_item", {"similarity": "cosine", "itself": False})).form
    assert isinstance(alone, ItemItem)
    assert alone.neighbours[0, 0] == 1
    assert alone.similarity[0, 0] == pytest.approx(2 / math.sqrt(6))


def test_rhythm_and_repeat_rate_are_those_of_the_product() -> None:
    member = np.repeat(np.arange(40), 6)
    days = np.tile(np.array([5, 15, 25, 35, 45, 55]), 40)
    weekly = _purchases(member, np.zeros(240, int), days)
    once = _purchases(np.arange(40), np.ones(40, int), np.full(40, 50))
    once["basket_id"] = once["purchase_id"] = [f"o{i}" for i in range(40)]
    found = build(pd.concat([weekly, once]), _products(2, 1), _members(40), AT)
    form = fit("repeat", found, config_from("repeat", {"prior_buyers": 0.01})).form
    assert isinstance(form, Counts)
    assert form.rhythm_days[0] == pytest.approx(10.0, abs=0.01)
    assert form.repeat_rate == pytest.approx([1.0, 0.0], abs=0.001)
    scores = form.score(member_history(found, 0), AT.timestamp())
    assert scores[0] > 0.8
    assert scores[1] < 0.2


@pytest.mark.parametrize("settings", [{"inner": "last_basket"}, {"horizon_days": 7.0}])
def test_what_is_due_comes_before_what_was_just_bought(settings: Mapping[str, Any]) -> None:
    """Two products are bought every 14 days, in turns: even members just bought product 0, odd ones product 1."""
    member, turn = (side.ravel() for side in np.mgrid[0:60, 0:10])
    bought = _purchases(member, (member + turn) % 2, 7.0 * turn + 0.5)
    found = build(bought, _products(3, 1), _members(60), AT)
    form = fit("repeat", found, config_from("repeat", settings)).form
    for row in range(60):
        just, due = (row % 2, 1 - row % 2)
        scores = form.score(member_history(found, row), AT.timestamp())
        assert scores.argmax() == due
        assert scores[due] > 5 * scores[just]


def test_logistic_weights_start_from_the_prior_and_end_at_the_data() -> None:
    prior = np.array([0.5, -1.0])
    assert logistic(np.empty((0, 2)), np.empty(0), prior, 10.0) == pytest.approx(prior)
    rng = np.random.default_rng(2)
    terms = np.stack([np.ones(20_000), rng.normal(size=20_000)], axis=1)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-(terms @ [-1.0, 2.0])))).astype(float)
    assert logistic(terms, label, prior, 1e-3) == pytest.approx([-1.0, 2.0], abs=0.1)
    assert logistic(terms, label, prior, 1e9) == pytest.approx(prior, abs=1e-3)
