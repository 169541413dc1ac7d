"""Product lists as a request wishes: boosts, categories, popularity, and what cannot be had; replayed bit for bit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import journal_replay
from features import history
from features.workspace import Workspace
from serving.contract import RecommendationRequest
from serving.engine import call
from serving.house import open_house
from serving.mixing import Wishes, mixed, pool, wanted
from serving.products import AssortmentError, Products, read
from serving.snapshot import Ask, Boost, Placement, Trait
from tests.serving.running import Running
from tests.serving.small_programme import ENDS

AT = ENDS.timestamp() + 60


def traits(*categories: str | None, **factors: float) -> dict[str, Trait]:
    """Products a, b, c … at the ranks 1, 2, 3 …, each in its category."""
    names = "abcdefghij"[: len(categories)]
    return {
        name: Trait(rank, category, factors.get(name, 1.0))
        for rank, (name, category) in enumerate(zip(names, categories, strict=True), start=1)
    }


def test_without_wishes_the_order_stays() -> None:
    assert "".join(mixed("abcd", traits("x", "x", "x", "y"), Wishes(), 3)) == "abc"


def test_with_half_the_diversity_a_second_product_of_a_category_counts_half() -> None:
    # 1/log2(1+r): a 1, b .631, c .5, d .431; b and c are of a's category: b .315 after a, so d comes second; then b.
    assert "".join(mixed("abcd", traits("x", "x", "x", "y"), Wishes(diversity=0.5), 4)) == "adbc"


def test_with_full_diversity_every_category_comes_up_before_any_does_twice() -> None:
    assert "".join(mixed("abcdef", traits("x", "x", "x", "y", "x", "z"), Wishes(diversity=1.0), 6)) == "adfbce"


def test_products_without_a_category_are_no_more_of_the_same() -> None:
    assert "".join(mixed("abc", traits(None, None, "x"), Wishes(diversity=1.0), 3)) == "abc"


def test_a_boost_of_two_lets_the_third_count_as_much_as_the_first_which_stays_ahead() -> None:
    assert "".join(mixed("abc", traits("x", "y", "z", c=2.0), Wishes(), 3)) == "acb"
    assert "".join(mixed("abc", traits("x", "y", "z", c=2.01), Wishes(), 3)) == "cab"
    assert "".join(mixed("abc", traits("x", "y", "z", a=0.1), Wishes(), 3)) == "bca"


def test_a_cap_on_a_category_leaves_the_list_short_rather_than_break_it() -> None:
    assert "".join(mixed("abcd", traits("x", "x", "y", "x"), Wishes(max_per_category=1), 4)) == "ac"


@given(
    st.lists(st.tuples(st.sampled_from([None, "x", "y", "z"]), st.floats(0.01, 100)), max_size=10),
    st.floats(0, 1),
    st.none() | st.integers(1, 4),
    st.integers(0, 12),
)
def test_a_mixed_list_repeats_nothing_invents_nothing_and_keeps_the_cap(
    products: list[tuple[str | None, float]], diversity: float, cap: int | None, count: int
) -> None:
    known = {f"p{i}": Trait(i + 1, category, factor) for i, (category, factor) in enumerate(products)}
    found = list(mixed(list(known), known, Wishes(diversity, cap), count))
    assert len(found) == len(set(found)) <= count
    assert set(found) <= set(known)
    if cap is None:
        assert len(found) == min(count, len(known))
    for category in ("x", "y", "z"):
        assert cap is None or sum(known[one].category == category for one in found) <= cap


def test_the_pool_is_ten_times_the_list_but_neither_small_nor_without_end() -> None:
    assert [pool(count) for count in (1, 30, 500, 5000)] == [200, 300, 2000, 5000]


def test_only_wishes_about_the_order_need_a_pool() -> None:
    plain = Ask("product", (Placement("a", 1),), filter="price > 1", popularity_cap=0.5)
    assert not wanted(plain)
    assert wanted(Ask("product", (Placement("a", 1),), boosts=(Boost("price > 1", 2.0),)))


SPANS = {"always": (-1e9, float("inf")), "gone": (float("inf"), float("-inf")), "june": (100.0, 200.0)}


@pytest.mark.parametrize(
    ("at", "gone"),
    [
        (99.0, {"gone", "june"}),
        (100.0, {"gone"}),
        (199.9, {"gone"}),
        (200.0, {"gone", "june"}),
        (1e12, {"gone", "june"}),
    ],
)
def test_products_come_and_go_at_the_moment_said(at: float, gone: set[str]) -> None:
    assert Products(spans=SPANS).gone(at) == gone


@pytest.fixture
def shop(ws: Workspace) -> Any:
    """Asks for products in this process, and says what was given."""
    house = open_house(ws, lambda n: b"0" * n, open_door=True)

    def ask(count: int = 10, **wishes: Any) -> list[dict[str, Any]]:
        house.watch.look()
        body = {"member_id": "m000001", "placements": [{"id": "a", "count": count}], **wishes}
        asked = RecommendationRequest.model_validate(body)
        member = _members(ws)[0]
        plan = house.engine.plan(call("product", member, asked, AT, b""))
        if plan.row is not None:
            house.journal.append_decisions([plan.row])
        return list(plan.answer["results"])

    yield ask
    house.close()


def _members(ws: Workspace) -> list[str]:
    return sorted(history.read(ws.tables, "members", ["member_id"])["member_id"])


def _ids(results: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in results]


def _categories(ws: Workspace) -> dict[str, str]:
    facts = history.read(ws.tables, "products")
    return dict(zip(facts["product_id"], facts["category"], strict=True))


def test_every_wish_is_granted_and_every_list_replays_bit_for_bit(ws: Workspace, shop: Any) -> None:
    plain, category = _ids(shop()), _categories(ws)
    last = category[_ids(shop(count=50))[-1]]
    boosted = _ids(shop(boosts=[{"filter": "category == $c", "factor": 50}], filter_values={"c": last}))
    assert category[boosted[0]] == last
    diverse = _ids(shop(diversity=1.0))
    assert len({category[one] for one in diverse}) >= len({category[one] for one in plain})
    assert diverse[0] == plain[0]
    capped = _ids(shop(max_per_category=1))
    assert len({category[one] for one in capped}) == len(capped)
    tail = _ids(shop(popularity_cap=0.5, diversity=0.3))
    assert tail
    assert tail == _ids(shop(popularity_cap=0.5, diversity=0.3))
    assert set(_ids(shop(filter="popularity <= 0.5", count=40))) == set(_ids(shop(popularity_cap=0.5, count=40)))
    assert _ids(shop(filter="id == $one", filter_values={"one": plain[4]})) == [plain[4]]
    report = journal_replay.run(ws)
    assert report.total == 10
    assert report.same, report


def test_what_is_out_of_stock_is_never_named_and_comes_back_when_the_shop_says_so(ws: Workspace, shop: Any) -> None:
    plain = _ids(shop())
    later = datetime.fromtimestamp(AT + 3600, UTC).isoformat()
    ws.assortment.write_text(
        f"product_id,available,available_from,tags\n{plain[0]},false,,\n{plain[1]},true,{later},\n{plain[2]},,,new|fair\n"
    )
    assert _ids(shop(count=8)) == plain[2:]
    assert _ids(shop(include=plain[:2])) == []
    assert _ids(shop(filter="tags in ('fair')")) == [plain[2]]
    ws.assortment.unlink()
    assert _ids(shop()) == plain
    assert journal_replay.run(ws).same


def test_a_damaged_assortment_is_told_and_the_last_good_one_stays(ws: Workspace, shop: Any) -> None:
    plain = _ids(shop())
    ws.assortment.write_text(f"product_id,available\n{plain[0]},false\n")
    assert plain[0] not in _ids(shop())
    ws.assortment.write_text(f"product_id,available\n{plain[1]},perhaps\n")
    assert plain[0] not in _ids(shop())
    with pytest.raises(AssortmentError, match="the last good one stays"):
        read(ws.tables, ws.assortment)
    ws.assortment.write_text("sku,available\nx,true\n")
    with pytest.raises(AssortmentError, match="it needs product_id, and may have available"):
        read(ws.tables, ws.assortment)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"boosts": [{"filter": "price >", "factor": 2}]}, "boosts.0.filter"),
        ({"boosts": [{"filter": "price > 1", "factor": 0}]}, "boosts.0.factor"),
        ({"diversity": 1.5}, "diversity"),
        ({"popularity_cap": 0}, "popularity_cap"),
        ({"max_per_category": 0}, "max_per_category"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_its_place(service: Running, wish: Any, field: str) -> None:
    with service.http() as http:
        answer = http.post("/v1/recommendations", json={"member_id": "m1", **wish})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


def test_only_product_lists_can_be_mixed(service: Running) -> None:
    with service.http() as http:
        answer: httpx.Response = http.post("/v1/offers", json={"member_id": "m1", "diversity": 0.5})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "diversity"
