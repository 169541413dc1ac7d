"""Lists for many members are those of scoring every product in 64 bits, whatever was not looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.learned import Factors, Histories, ItemItem, Popularity, top_k
from features.learned.bulk import Lists, best_many, nearest
from features.learned.pruned import BLOCK
from features.learned.ranking import top_k_rows
from features.learned.shelf import FIRST, SLICE, shelve

AT = 1_700_000_000.0
F4 = NDArray[np.float32]


def vectors(rng: np.random.Generator, n: int, k: int, kind: str) -> F4:
    """Vectors: of all lengths alike, of very unlike lengths, of whole numbers with many equal scores, or nothing."""
    found = rng.normal(size=(n, k))
    if kind == "long tail":
        found *= rng.pareto(1.2, size=(n, 1))
    if kind == "ties":
        found = rng.integers(-1, 2, (n, k)).astype(float)
    if kind == "zero":
        found = np.zeros((n, k))
    return found.astype(np.float32)


def bought(rng: np.random.Generator, n: int, n_products: int, most: int) -> Histories:
    sizes = rng.integers(0, min(most, n_products) + 1, n)
    index = [np.sort(rng.choice(n_products, size, replace=False)) for size in sizes]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pairs = int(starts[-1])
    return Histories(
        n_products, starts, np.concatenate(index).astype(np.int32), np.ones(pairs, np.float32), np.full(pairs, AT)
    )


def brute(
    products: F4, biases: F4, members: F4, k: int, without: Histories | None = None, allowed: Any = None
) -> list[list[int]]:
    """Everything in 64 bits, one member after the other, each product's sum in the same order."""
    lists = []
    for row, member in enumerate(members.astype(np.float64)):
        scores = (products.astype(np.float64) * member).sum(axis=1) + biases.astype(np.float64)
        if allowed is not None:
            scores[~allowed] = -np.inf
        if without is not None:
            scores[without.member(row).product_index] = -np.inf
        lists.append([place for place in np.argsort(-scores, kind="stable")[:k].tolist() if scores[place] > -np.inf])
    return lists


def plain(found: Lists) -> list[list[int]]:
    return [[place for place in row if place >= 0] for row in found.places.tolist()]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_products=st.sampled_from([1, 7, 60, 700, SLICE, FIRST, FIRST + 1, 2 * FIRST + 300]),
    n_members=st.sampled_from([1, 5, 40]),
    kind=st.sampled_from(["plain", "long tail", "ties", "zero"]),
    member_kind=st.sampled_from(["plain", "long tail", "ties", "zero"]),
    width=st.sampled_from([1, 3, 16]),
    k=st.sampled_from([1, 3, 10, 200]),
    biased=st.booleans(),
    only_new=st.booleans(),
    narrowed=st.booleans(),
)
def test_lists_are_those_of_brute_force_in_64_bits(
    seed: int,
    n_products: int,
    n_members: int,
    kind: str,
    member_kind: str,
    width: int,
    k: int,
    biased: bool,
    only_new: bool,
    narrowed: bool,
) -> None:
    rng = np.random.default_rng(seed)
    products, members = vectors(rng, n_products, width, kind), vectors(rng, n_members, width, member_kind)
    biases = (rng.integers(-3, 4, n_products) if biased else np.zeros(n_products)).astype(np.float32)
    without = bought(rng, n_members, n_products, 80) if only_new else None
    allowed = rng.random(n_products) < 0.4 if narrowed else None
    found = nearest(products, biases, members, k, without, allowed, threads=1)
    ours, reference = plain(found), brute(products, biases, members, k, without, allowed)
    if "ties" in (kind, member_kind) or "zero" in (kind, member_kind):
        exact = products.astype(np.float64) @ members.astype(np.float64).T + biases[:, None].astype(np.float64)
        for row, (one, other) in enumerate(zip(ours, reference, strict=True)):
            np.testing.assert_allclose(exact[one, row], exact[other, row], rtol=1e-12, atol=1e-12)
    else:
        assert ours == reference


def test_whole_numbers_leave_no_room_for_rounding_so_equal_scores_come_in_order_of_place() -> None:
    rng = np.random.default_rng(4)
    products, members = vectors(rng, 3000, 8, "ties"), vectors(rng, 100, 8, "ties")
    flat = np.zeros(3000, np.float32)
    assert plain(nearest(products, flat, members, 10)) == brute(products, flat, members, 10)


def test_products_that_differ_by_less_than_32_bits_tell_apart_are_told_apart() -> None:
    """Two vectors whose 32-bit scores can fall on the same number: 64 bits know the larger one."""
    rng = np.random.default_rng(8)
    products = np.repeat(rng.normal(size=(1, 64)), 4000, axis=0).astype(np.float32)
    products[np.arange(4000), np.arange(4000) % 64] += (rng.integers(1, 200, 4000) * 1e-7).astype(np.float32)
    members = rng.normal(size=(30, 64)).astype(np.float32)
    exact = products.astype(np.float64) @ members.astype(np.float64).T
    for row, found in enumerate(nearest(products, np.zeros(4000, np.float32), members, 10).places):
        best = np.sort(exact[:, row])[::-1][:10]
        np.testing.assert_allclose(exact[found, row], best, rtol=1e-15, atol=1e-14)


def test_more_members_than_a_block_on_any_number_of_threads_get_the_same_bytes() -> None:
    rng = np.random.default_rng(1)
    products, members = vectors(rng, 5000, 12, "long tail"), vectors(rng, BLOCK + 17, 12, "plain")
    without, flat = bought(rng, len(members), 5000, 40), np.zeros(5000, np.float32)
    one, three = (nearest(products, flat, members, 10, without, threads=threads) for threads in (1, 3))
    assert one.places.tobytes() == three.places.tobytes()
    assert one.scores.tobytes() == three.scores.tobytes()
    assert plain(one) == brute(products, flat, members, 10, without)


def test_numbers_beyond_32_bits_are_scored_in_64() -> None:
    products = np.array([[1e30], [3e30], [2e30]] * 100, np.float32)
    found = nearest(products, np.zeros(300, np.float32), np.array([[1e20], [1.0]], np.float32), 2)
    assert plain(found) == [[1, 4], [1, 4]]
    np.testing.assert_allclose(found.scores[0], float(np.float32(3e30)) * float(np.float32(1e20)))


def test_no_product_behind_a_part_scores_more_than_the_shelf_says_it_reaches() -> None:
    rng = np.random.default_rng(3)
    products, members = vectors(rng, 6000, 5, "long tail"), vectors(rng, 50, 5, "long tail")
    biases = rng.normal(size=6000).astype(np.float32) * 4
    lengths = np.linalg.norm(members.astype(np.float64), axis=1)
    shelf = shelve(products, biases, lengths)
    exact = (products.astype(np.float64) @ members.astype(np.float64).T + biases[:, None])[shelf.place]
    for part, begin in enumerate(shelf.edges[:-1]):
        assert (exact[begin:].max(axis=0) <= shelf.reach(part, lengths)).all()


def form(kind: str) -> Any:
    rng = np.random.default_rng(7)
    ids = np.array([f"p{i:03d}" for i in range(90)])
    popular = rng.random(90).astype(np.float32)
    if kind == "popularity":
        return Popularity(ids, popular)
    if kind == "item_item":
        neighbours, similarity = rng.integers(0, 90, (90, 6)).astype(np.int32), rng.random((90, 6)).astype(np.float32)
        return ItemItem(ids, neighbours, similarity, popular)
    products = vectors(rng, 90, 5, "plain")
    gram = (products.T @ products + np.eye(5)).astype(np.float64)
    return Factors(ids, products, np.zeros(90, np.float32), popular, gram, np.empty((0, 0)))


@pytest.mark.parametrize("kind", ["popularity", "item_item", "factors"])
@pytest.mark.parametrize("only_new", [False, True])
def test_every_form_gives_the_lists_that_its_members_get_alone(kind: str, only_new: bool) -> None:
    rng = np.random.default_rng(6)
    asked = bought(rng, 70, 90, 30)
    allowed = rng.random(90) < 0.7
    found = best_many(form(kind), asked, AT, 8, only_new=only_new, allowed=allowed)
    for row in range(70):
        member = asked.member(row)
        may = allowed.copy()
        if only_new:
            may[member.product_index] = False
        scores = form(kind).score(member, AT)
        alone = top_k(scores, 8, may)
        assert found.places[row].tolist() == alone.tolist()
        np.testing.assert_allclose(found.scores[row], scores[alone], rtol=1e-4)


def test_a_list_is_shorter_where_there_are_fewer_products() -> None:
    found = best_many(form("popularity"), bought(np.random.default_rng(1), 2, 90, 0), AT, 3, allowed=np.arange(90) == 4)
    assert found.places.tolist() == [[4, -1, -1]] * 2
    assert np.isnan(found.scores[:, 1:]).all()


@settings(max_examples=100)
@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 15))
def test_the_best_of_rows_are_the_best_of_each_row(seed: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (9, width)).astype(float)
    scores[rng.random((9, width)) < 0.2] = np.nan
    scores[rng.random((9, width)) < 0.1] = -np.inf
    rows = [[place for place in row if place >= 0] for row in top_k_rows(scores, k).tolist()]
    assert rows == [top_k(one, k).tolist() for one in scores]
