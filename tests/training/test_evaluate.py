"""Comparing recipes: the figures are those of the lists serving would give, and only of those."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from features.learned import Popularity
from training.evaluate import compare, judge, picture, rank
from training.interactions import Interactions, build
from training.recipes import Fitted
from training.split import after, truth

END = datetime(2024, 6, 1, tzinfo=UTC)
CUT = END - timedelta(days=30)


def _history() -> pd.DataFrame:
    """120 members with a staple of their own each week and something popular now and then."""
    rng = np.random.default_rng(8)
    rows = [
        (member, product, day)
        for member in range(120)
        for day in np.arange(rng.uniform(0, 7), 120, 7.0)
        for product in {member % 30, int(rng.integers(30, 33)) if rng.random() < 0.5 else member % 30}
    ]
    moments = pd.Series([END - timedelta(days=float(row[2])) for row in rows]).astype("datetime64[us, UTC]")
    return pd.DataFrame(
        {
            "purchase_id": [f"l{i}" for i in range(len(rows))],
            "basket_id": [f"{row[0]}@{row[2]}" for row in rows],
            "member_id": [f"m{row[0]:03d}" for row in rows],
            "product_id": [f"p{row[1]:02d}" for row in rows],
            "quantity": 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )


@pytest.fixture(scope="module")
def cut() -> tuple[Interactions, pd.DataFrame]:
    history = _history()
    nothing = pd.DataFrame({"occurred_at": history["occurred_at"][:0], "known_at": history["known_at"][:0]})
    products = nothing.assign(product_id=[], category=[], brand=[])
    members = nothing.assign(member_id=[], region=[], birth_year=[])
    return build(history, products, members, CUT), after(history, CUT, 30)


def _always(before: Interactions, order: NDArray[np.intp]) -> Fitted:
    scores = np.zeros(len(before.product_ids), np.float32)
    scores[order] = np.linspace(1.0, 0.5, len(order), dtype=np.float32)
    return Fitted(Popularity(before.product_ids, scores))


def _by_recipe(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row["recipe"]): {str(key): value for key, value in row.items()} for row in table.to_dict("records")}


def test_personal_habits_beat_popularity_and_the_table_says_by_how_much(cut: tuple[Interactions, pd.DataFrame]) -> None:
    rows = _by_recipe(compare(*cut, {"popularity": None, "repeat": None}, k=5))
    assert list(rows) == ["repeat", "popularity"]
    repeat, popular = rows["repeat"], rows["popularity"]
    assert repeat["members"] == popular["members"] == 120
    assert repeat["ndcg"] > 0.9
    assert repeat["gain"] == pytest.approx(repeat["ndcg"] - popular["ndcg"])
    assert repeat["gain_low"] > 0.2
    assert (popular["gain"], popular["gain_low"], popular["gain_high"]) == (0.0, 0.0, 0.0)
    assert popular["coverage"] == pytest.approx(5 / 33)
    for figure in ("ndcg", "recall", "map"):
        assert repeat[f"{figure}_low"] <= repeat[figure] <= repeat[f"{figure}_high"]


def test_a_recipe_is_judged_against_popularity_even_if_nobody_asked_for_it(
    cut: tuple[Interactions, pd.DataFrame],
) -> None:
    alone = _by_recipe(compare(*cut, {"repeat": None}))
    together = _by_recipe(compare(*cut, {"repeat": None, "popularity": None}))
    assert list(alone) == ["repeat"]
    assert alone["repeat"]["gain"] == together["repeat"]["gain"] > 0


def test_the_figures_are_those_of_the_list_worked_out_by_hand(cut: tuple[Interactions, pd.DataFrame]) -> None:
    before, later = cut
    bought = truth(before, later).bought
    order = np.array([30, 2, 31])
    judged = judge(before, _always(before, order), bought, k=3)
    row = before.member_ids.tolist().index("m002")
    place = judged.rows.tolist().index(row)
    own = set(bought[row].indices.tolist())
    found = [product in own for product in order.tolist()]
    assert found[1]
    best = sum(1 / math.log2(rank + 2) for rank in range(min(3, len(own))))
    assert judged.ndcg[place] == pytest.approx(sum(hit / math.log2(r + 2) for r, hit in enumerate(found)) / best)
    assert judged.recall[place] == pytest.approx(sum(found) / len(own))
    assert judged.coverage == pytest.approx(3 / 33)


def test_discovery_never_lists_what_was_bought_before(cut: tuple[Interactions, pd.DataFrame]) -> None:
    before, _ = cut
    rows = np.arange(len(before.member_ids))
    lists = rank(before, _always(before, np.arange(33)), rows, 33, only_new=True)
    for row in rows:
        own = set(before.counts[row].indices.tolist())
        assert set(lists[row].tolist()) == (set(range(33)) - own) | {-1}


def test_of_many_members_every_nth_is_judged(cut: tuple[Interactions, pd.DataFrame]) -> None:
    before, later = cut
    judged = judge(before, _always(before, np.arange(33)), truth(before, later).bought, most_members=50)
    assert judged.rows.tolist() == list(range(0, 120, 3))


def test_the_same_comparison_gives_the_same_table(cut: tuple[Interactions, pd.DataFrame]) -> None:
    pd.testing.assert_frame_equal(compare(*cut, {"repeat": None}), compare(*cut, {"repeat": None}))


def test_the_picture_shows_a_bar_for_each_recipe(cut: tuple[Interactions, pd.DataFrame], tmp_path: Path) -> None:
    table = compare(*cut, {"popularity": None, "repeat": None})
    drawn = matplotlib.image.imread(picture(table, tmp_path / "reports" / "taste.png", "Recipes"))
    height, width, _ = drawn.shape
    assert width > 800
    assert height > 200
    assert 0.01 < (np.abs(drawn[:, :, :3] - [0.357, 0.545, 0.690]).max(axis=2) < 0.02).mean() < 0.9
