"""Many members scored together score as each of them does alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features.learned import Factors, Histories, ItemItem, LearnedError, Popularity, score_many
from features.learned.folding import vectors_of

AT = 1_700_000_000.0
DAY = 86_400.0


def factors(n: int = 40, k: int = 6, *, closed: bool = True, bridged: bool = False) -> Factors:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(n, k)).astype(np.float32)
    return Factors(
        product_ids=np.array([f"p{i:02d}" for i in range(n)]),
        vectors=vectors,
        biases=rng.normal(size=n).astype(np.float32),
        popularity=np.linspace(1, 0, n, dtype=np.float32),
        gram=(vectors.T @ vectors + np.eye(k)).astype(np.float64) if closed else np.empty((0, 0)),
        bridge=rng.normal(size=(k + 1, k)) if bridged else np.empty((0, 0)),
        alpha=12.0,
        half_life_days=60.0,
    )


def histories(n_members: int, n_products: int, vectors: NDArray[np.float32] | None = None) -> Histories:
    """Member `i` bought `i % 17` products, so that some bought nothing and few bought equally many."""
    rng = np.random.default_rng(5)
    sizes = np.arange(n_members) % 17
    index = [np.sort(rng.choice(n_products, size, replace=False)) for size in sizes]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return Histories(
        n_products,
        starts.astype(np.int64),
        np.concatenate(index).astype(np.int32),
        rng.integers(1, 6, starts[-1]).astype(np.float32),
        AT - rng.uniform(0, 200, starts[-1]) * DAY,
        vectors,
    )


def item_item() -> ItemItem:
    rng = np.random.default_rng(3)
    return ItemItem(
        product_ids=np.array([f"p{i:02d}" for i in range(40)]),
        neighbours=rng.integers(0, 40, (40, 5)).astype(np.int32),
        similarity=rng.random((40, 5)).astype(np.float32),
        popularity=np.linspace(1, 0, 40, dtype=np.float32),
        half_life_days=45.0,
    )


FORMS: dict[str, Any] = {
    "closed": factors(),
    "bridged": factors(closed=False, bridged=True),
    "neither": factors(closed=False),
    "item_item": item_item(),
    "popularity": Popularity(np.array([f"p{i:02d}" for i in range(40)]), np.linspace(1, 0, 40, dtype=np.float32)),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("stored", ["nobody", "some"])
def test_members_scored_together_score_as_they_do_alone(name: str, stored: str) -> None:
    vectors = None
    if stored == "some":
        vectors = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)
        vectors[::3] = np.nan
    asked = histories(60, 40, vectors)
    together = score_many(FORMS[name], asked, AT)
    alone = np.stack([FORMS[name].score(asked.member(row), AT) for row in range(60)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_a_vector_folded_in_together_is_that_of_least_squares_worked_out_by_hand() -> None:
    form = Factors(
        product_ids=np.array(["a", "b"]),
        vectors=np.array([[1, 0], [0, 1]], np.float32),
        biases=np.zeros(2, np.float32),
        popularity=np.zeros(2, np.float32),
        gram=2.0 * np.eye(2),
        bridge=np.empty((0, 0)),
        alpha=1.0 / np.log(2.0),
    )
    bought_a_once = Histories(2, np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32), np.array([AT]))
    # c − 1 = α·ln 2 = 1; (2 + 1)·x = 1 + 1
    np.testing.assert_allclose(vectors_of(form, bought_a_once, AT), [[2 / 3, 0]], rtol=1e-6)


def test_members_with_neither_vector_nor_purchases_have_no_vector_and_get_what_is_popular() -> None:
    asked = histories(18, 40)
    assert np.flatnonzero(np.isnan(vectors_of(FORMS["closed"], asked, AT)[:, 0])).tolist() == [0, 17]
    assert score_many(FORMS["closed"], asked, AT)[17].tolist() == np.linspace(1, 0, 40, dtype=np.float32).tolist()


def test_vectors_of_another_version_are_refused() -> None:
    with pytest.raises(LearnedError, match="has 5 numbers, the products' have 6"):
        score_many(FORMS["closed"], histories(3, 40, np.zeros((3, 5), np.float32)), AT)
