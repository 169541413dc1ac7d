"""The trade-off curve measures the lists that a request would get."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from experiments.simulate import simulate
from experiments.tradeoff import curve, intra_list, picture
from experiments.worlds import WORLDS
from training import recipes
from training.interactions import build
from training.split import after, cut_before, truth

END = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    tables = simulate(WORLDS["strong"], members=200, products=120, days=200, ends_at=END, seed=2)
    cut = cut_before(END, 28)
    before = build(tables["purchases"], tables["products"], tables["members"], cut)
    fitted = recipes.fit("item_item", before)
    bought = truth(before, after(tables["purchases"], cut, 28)).bought
    return curve(
        before,
        fitted,
        bought,
        5,
        strengths={"diversity": (0.0, 0.5, 1.0), "boost_popular": (1.0, 0.1), "popularity_cap": (1.0, 0.8)},
    )


def test_more_diversity_brings_more_categories_into_a_list_and_all_of_them_when_it_is_full(table: pd.DataFrame) -> None:
    wish = table[table["wish"] == "diversity"]
    assert np.all(np.diff(wish["intra_list"]) > 0)
    assert wish["intra_list"].iloc[-1] == 1.0
    assert wish["ndcg"].iloc[0] > wish["ndcg"].iloc[-1]


def test_a_cap_on_popularity_brings_less_known_products_at_the_price_of_accuracy(table: pd.DataFrame) -> None:
    wish = table[table["wish"] == "popularity_cap"]
    assert np.all(np.diff(wish["novelty"]) > 0)
    assert wish["ndcg"].iloc[1] < wish["ndcg"].iloc[0]


def test_popular_products_that_count_less_give_way_to_less_known_ones(table: pd.DataFrame) -> None:
    wish = table[table["wish"] == "boost_popular"]
    assert np.all(np.diff(wish["novelty"]) > 0)


def test_without_strength_every_wish_gives_the_same_lists(table: pd.DataFrame) -> None:
    figures = ["ndcg", "coverage", "intra_list", "novelty"]
    free = table[table["strength"] == np.where(table["wish"] == "diversity", 0.0, 1.0)]
    assert free["wish"].to_list() == ["diversity", "boost_popular", "popularity_cap"]
    assert len(free[figures].drop_duplicates()) == 1


def test_pairs_of_different_categories_are_counted_over_pairs_that_have_one() -> None:
    category = np.array([0, 0, 1, -1])
    # (0, 1) alike, (0, 2) and (1, 2) not; of the second list only the pair (0, 2) has categories on both sides.
    assert intra_list(np.array([[0, 1, 2], [0, 3, 2]], np.int32), category) == 3 / 4
    assert np.isnan(intra_list(np.array([[3, -1]], np.int32), category))


def test_the_picture_can_be_looked_at(table: pd.DataFrame, tmp_path: Path) -> None:
    drawn = matplotlib.image.imread(picture(table, tmp_path / "deep" / "tradeoff.png", "a title"))
    assert drawn.shape[0] > 300
    assert drawn.std() > 0.02
