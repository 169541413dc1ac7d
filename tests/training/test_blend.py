"""The blend: an inner split that lets nothing through, candidates and their features by hand, trees above the bases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from features.learned import (
    Blend,
    Histories,
    LearnedError,
    MemberHistory,
    Popularity,
    from_arrays,
    load,
    positions,
    save,
    score_many,
    to_arrays,
    top_k,
)
from features.learned import candidates as chosen
from features.learned.candidates import Candidates
from features.learned.longest import longest
from features.learned.traits import PRODUCT_FEATURES, Kindred, Traits
from serving.champions import Taste
from tests.training.tastes import AT, DAY, NOW, built, programme, small
from training.ablation import ablation
from training.crosscheck import Check, _ndcg, crosscheck
from training.evaluate import judge
from training.inner import Inner, narrowed, split, splits
from training.interactions import Interactions, histories
from training.ranker import Ground, Growth, Lesson, lesson, no_trees
from training.recipes import Fitted, RecipeError, config_from, fit
from training.recipes.blend import Bases, BlendConfig
from training.split import truth
from training.traits import traits


def test_purchases_narrowed_to_a_moment_are_those_that_were_known_then() -> None:
    cut = AT - timedelta(days=10)
    whole, then = small(), small(cut)
    before = narrowed(whole, whole.bought_at <= cut.timestamp(), cut)
    assert before.at == cut
    assert np.array_equal(before.counts.toarray(), then.counts.toarray())
    assert np.array_equal(before.last_at.toarray(), then.last_at.toarray())
    assert np.array_equal(before.buys, then.buys)


def test_a_split_by_time_learns_from_before_the_cut_and_is_judged_after_it() -> None:
    inner = split(small(), "time", 9.0, seed=0)
    assert inner.note == ""
    assert inner.before.at == AT - timedelta(days=1 + 9)
    assert inner.before.bought_at.max() <= inner.before.seconds
    assert inner.before.counts.toarray().tolist() == [[2, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert inner.bought.toarray().tolist() == [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_a_short_history_is_split_in_a_quarter_of_it_and_says_so() -> None:
    inner = split(small(), "time", 28.0, seed=0)
    assert inner.before.at == AT - timedelta(days=1 + 39 / 4)
    assert inner.note == "the history spans 39.0 days: the inner slice is 9.8 days"


def test_purchases_of_one_moment_are_split_at_random_and_it_says_so() -> None:
    inner = split(built([("a", f"p{i}", 1.0) for i in range(10)], [None] * 10), "time", 28.0, seed=0)
    assert inner.way == "random"
    assert "all purchases have one time" in inner.note
    assert inner.bought.nnz == 2
    assert inner.before.counts.nnz == 8


def test_a_random_split_holds_back_a_fifth_of_each_members_products_with_all_their_purchases() -> None:
    rows = [("a", f"p{i}", days) for i in range(10) for days in (1.0, 2.0)] + [("b", "p0", 1.0), ("c", "p0", 3.0)]
    rows += [("c", "p1", 3.0)]
    inner = split(built(rows, [None] * 10), "random", 28.0, seed=3)
    assert inner.bought.getnnz(axis=1).tolist() == [2, 0, 1]
    assert inner.before.counts.sum(axis=1).ravel().tolist() == [[16.0, 1.0, 1.0]]
    assert not inner.before.counts.multiply(inner.bought).nnz
    assert np.array_equal(inner.bought.toarray(), split(built(rows, [None] * 10), "random", 28.0, 3).bought.toarray())


def test_a_last_basket_is_held_back_where_there_is_an_earlier_one() -> None:
    inner = split(small(), "last_basket", 28.0, seed=0)
    assert inner.bought.toarray().tolist() == [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert inner.before.counts.toarray().tolist() == [[2, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_further_splits_are_earlier_slices_as_long_as_half_of_the_history_lies_before_them() -> None:
    found = splits(small(), "time", 6.0, 5, seed=0)
    assert [(AT - one.before.at).days for one in found] == [7, 13, 19]
    assert found[0].bought.toarray().tolist() == [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert [one.bought.nnz for one in found[1:]] == [0, 0]
    assert all(one.before.bought_at.max() <= one.before.seconds for one in found)


def test_further_baskets_are_those_before_the_last_as_long_as_anybody_has_an_earlier_one() -> None:
    found = splits(small(), "last_basket", 6.0, 5, seed=0)
    assert [one.bought.toarray().tolist() for one in found] == [
        [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]],
        [[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    ]
    assert found[1].before.counts.toarray()[0].tolist() == [1, 0, 0, 0, 0]


def test_each_is_asked_at_the_moment_of_the_basket_that_was_held_back() -> None:
    inner = split(small(), "last_basket", 28.0, seed=0)
    ago = [(inner.before.seconds - inner.asked(np.array([row])).last_at) / DAY for row in (0, 1)]
    assert [days.tolist() for days in ago] == [pytest.approx([18.0, 18.0]), pytest.approx([30.0])]
    by_time = split(small(), "time", 9.0, seed=0)
    assert by_time.asked(np.array([0])).last_at.tolist() == by_time.before.last_at[0].data.tolist()


def test_single_purchases_are_held_back_by_lot_so_that_some_of_it_was_bought_before() -> None:
    rows = [("a", f"p{i}", days) for i in range(5) for days in (1.0, 2.0, 3.0)] + [("b", "p0", 1.0)]
    known = built(rows, [None] * 5)
    inner = split(known, "purchases", 28.0, seed=3)
    assert len(known.buys) - len(inner.before.buys) == 3
    assert inner.before.counts.toarray()[1].tolist() == [1, 0, 0, 0, 0]
    left = known.counts.toarray()[0] - inner.before.counts.toarray()[0]
    assert ((left > 0) == inner.bought.toarray()[0]).all()
    assert inner.before.counts.multiply(inner.bought).nnz


def test_a_history_of_one_moment_in_which_things_are_bought_again_is_split_by_single_purchases() -> None:
    known = _of_one_moment()
    for way in ("time", "last_basket"):
        inner = split(known, way, 28.0, seed=0)
        assert inner.way == "purchases"
        assert inner.note.startswith(f"all purchases have one time, so '{way}' cannot split them")
        assert inner.note.endswith("a fifth of each member's purchases is held back")


def _of_one_moment() -> Interactions:
    """Staples of their own and now and then something else, all at one time."""
    rng = np.random.default_rng(3)
    rows = []
    for member in range(250):
        own = rng.choice(60, 8, False)
        picked = [*rng.choice(own, 24, p=rng.dirichlet(np.full(8, 0.7))), *rng.integers(0, 60, 3)]
        rows += [(f"m{member:03d}", f"p{product}", 5.0) for product in picked]
    return built(rows, [None] * 60)


def test_without_times_one_list_is_level_with_the_best_part() -> None:
    whole = _of_one_moment()
    outer = split(whole, "purchases", 28.0, seed=11)
    reached = {
        name: float(judge(outer.before, fit(name, outer.before), outer.bought).ndcg.mean())
        for name in ("blend", "repeat", "item_item", "popularity")
    }
    assert reached["repeat"] > 0.6
    assert reached["blend"] >= 0.99 * max(reached.values())


@cache
def _lessons() -> tuple[Inner, Lesson, Bases]:
    """A lesson of the programme, and the bases that it was asked with."""
    _, before, _ = programme()
    inner, config = split(before, "time", 28.0, 0), BlendConfig(parts={"item_item": {}, "repeat": {}})
    bases = Bases.of(inner.before, config)
    blank = no_trees(chosen.names(tuple(config.parts)))
    return inner, lesson(bases.ranked_by(blank, config.candidates), inner, 1000), bases


def _judged_by(order: NDArray[np.float64]) -> Check:
    """The check of a ranker whose only feature is `order`, in which bought candidates may be told from others."""
    inner, found, _ = _lessons()
    growth = Growth("xendcg", 20, 4, 0.3, 5, 1.0, 0.0, 15, 0)
    told = replace(found, rows=order[:, None])
    return crosscheck([inner], Ground.of([told], ("order",), growth), ("item_item", "repeat"), seed=0)


def test_a_ranker_that_knows_is_ahead_and_one_that_guesses_is_not() -> None:
    _, found, _ = _lessons()
    luck = np.random.default_rng(0).random(len(found.bought))
    knows, guesses = _judged_by(found.bought + 0.1 * luck), _judged_by(luck)
    assert knows.passed
    assert knows.ahead.low > 0.1
    assert not guesses.passed
    assert guesses.ahead.high < 0
    assert {knows.best, guesses.best} == {"repeat"}


def test_a_ranker_that_learned_the_judges_by_heart_gains_nothing_by_it() -> None:
    # The feature is 1 for what was bought, but in half of the members it means the opposite: only who judges his own
    # teachers would be ahead.
    _, found, _ = _lessons()
    turned = np.where(found.member % 2 == 0, found.bought, ~found.bought).astype(np.float64)
    assert _judged_by(turned).ahead.high < 0


def test_the_figures_of_a_part_alone_are_those_of_its_own_lists() -> None:
    inner, found, bases = _lessons()
    rows = np.unique(found.member)
    for place, part in enumerate(bases.parts.values()):
        alone = judge(inner.before, Fitted(part), inner.bought)
        own = alone.ndcg[np.isin(alone.rows, rows)]
        assert _ndcg(inner, found, found.said[:, place], new_only=False)[1] == pytest.approx(own, abs=1e-6)


def test_further_random_splits_hold_back_other_products() -> None:
    rows = [("a", f"p{i}", 1.0) for i in range(10)]
    found = splits(built(rows, [None] * 10), "random", 28.0, 3, seed=0)
    assert len({tuple(one.bought.indices.tolist()) for one in found}) == 3


def test_traits_of_products_are_those_worked_out_by_hand() -> None:
    found = traits(small(), window_days=21.0)
    by_name = dict(zip(PRODUCT_FEATURES, found.numbers.T.tolist(), strict=True))
    assert by_name["popularity"] == pytest.approx(np.log(np.array([2.5, 2.5, 2.5, 0.5, 0.5]) / 4.0))
    assert by_name["popularity_lately"] == pytest.approx(np.log(np.array([1.5, 2.5, 2.5, 0.5, 0.5]) / 4.0))
    # In the 21 days before, a and b bought p0 and nothing else.
    then = np.log(np.array([3.0, 1.0, 1.0, 1.0, 1.0]) / 3.0)
    assert by_name["trend"] == pytest.approx(np.log(np.array([2.0, 3.0, 3.0, 1.0, 1.0]) / 4.0) - then)
    overall = 1.5 / 7.0
    assert by_name["repeat_rate"] == pytest.approx([(1 + 5 * overall) / 7, *[5 * overall / 7] * 2, *[overall] * 2])
    assert by_name["rhythm"] == pytest.approx([np.log(21.0)] * 5)
    assert by_name["idle"] == pytest.approx([*np.log([21.0, 6.0, 2.0]), np.nan, np.nan], nan_ok=True)
    assert by_name["launched"] == pytest.approx([*np.log([41.0, 21.0, 3.0]), np.nan, np.nan], nan_ok=True)
    assert found.kind.tolist() == [0, 0, 1, 0, 1]
    assert found.brand.tolist() == [-1] * 5
    assert found.kind_weight == pytest.approx([5 / 7, 2 / 7])
    assert found.sold.tolist() == [True, True, True, False, False]


def _traits(kind: list[int], unsold: tuple[int, ...] = ()) -> Traits:
    n = len(kind)
    weight = np.full(max(kind) + 1, 0.5, np.float32)
    numbers = np.zeros((n, len(PRODUCT_FEATURES)), np.float32)
    sold = np.isin(np.arange(n), unsold, invert=True)
    return Traits(numbers, np.array(kind, np.int32), np.full(n, -1, np.int32), weight, sold)


def _bought(products: list[int], n_products: int, days_ago: list[float] | None = None) -> Histories:
    """One member."""
    days = np.array(days_ago if days_ago is not None else [1.0] * len(products))
    starts = np.array([0, len(products)], np.int64)
    count = np.arange(1, len(products) + 1, dtype=np.float32)
    return Histories(n_products, starts, np.array(products, np.int32), count, NOW - days * DAY)


def test_candidates_are_the_best_of_each_base_among_bought_and_new_ones() -> None:
    first = np.array([[9.0, 8.0, 1.0, 5.0, 4.0, 0.0]])
    second = np.array([[0.0, 1.0, 9.0, 2.0, 1.0, 8.0]])
    found = chosen.choose([first, second], _bought([0, 1, 2], 6), depth=1)
    assert found.product.tolist() == [0, 2, 3, 5]
    assert found.place.tolist() == [0, 2, -1, -1]


def test_features_of_a_candidate_are_those_worked_out_by_hand() -> None:
    base = np.array([[4.0, 2.0, 0.5, 3.0, 1.0]])
    asked = _bought([0, 1], 5, [10.0, 30.0])
    found = chosen.choose([base], asked, depth=5)
    names = chosen.names(["one"])
    table = pd.DataFrame(chosen.rows(found, [base], asked, _traits([0, 1, 0, 1, -1]), NOW), columns=list(names))
    assert found.product.tolist() == [0, 1, 2, 3, 4]
    assert np.expm1(table["one_rank"]).tolist() == pytest.approx([0, 1, 2, 0, 1])
    assert table["one_spread"].tolist()[:2] == pytest.approx([1.0, -1.0])
    assert table["bought"].tolist() == [1, 1, 0, 0, 0]
    assert table["count"].tolist() == pytest.approx([1, 2, *[np.nan] * 3], nan_ok=True)
    assert table["count_share"].tolist()[:2] == pytest.approx([1 / 3, 2 / 3])
    assert table["age"].tolist()[:2] == pytest.approx(np.log([11.0, 31.0]))
    assert table["age_beyond"].tolist()[:2] == pytest.approx(np.log([1.0, 21.0]))
    assert table["due"].tolist()[:2] == pytest.approx(np.log([11.0, 31.0]))
    mine = np.log([2.0, 3.0]) / np.log(6.0)
    share = [mine[0], mine[1], mine[0], mine[1], np.nan]
    assert table["kind_share"].tolist() == pytest.approx(share, nan_ok=True)
    assert table["kind_lift"].tolist() == pytest.approx([2 * each for each in share], nan_ok=True)
    assert table["kind_age"].tolist()[2:] == pytest.approx([*np.log([11.0, 31.0]), np.nan], nan_ok=True)
    assert table["member_repeats"].tolist() == pytest.approx([1 / 3] * 5)
    assert table["member_idle"].tolist() == pytest.approx([np.log(11.0)] * 5)


def test_the_mean_of_the_bases_weighs_each_from_its_least_to_its_best() -> None:
    found = Candidates(np.zeros(3, np.int64), np.arange(3), np.array([0, -1, -1]))
    assert chosen.fused(found, [np.array([[0.0, 5.0, 10.0]]), np.array([[3.0, 1.0, 1.0]])]) == (
        pytest.approx([0.5, 0.25, 0.5])
    )


def test_a_product_nobody_bought_scores_as_what_else_its_category_has_for_the_member() -> None:
    # p0 and p5 are bought and left out, and the least score is −1: p3 gets (2 + 5 − 1) / 3. Of p7's category only p5
    # was ever sold. p4 is the only one of its category, p6 has none: both stay.
    kindred = Kindred.of(_traits([0, 0, 0, 0, 1, 2, -1, 2], unsold=(3, 4, 6, 7)))
    scores = np.array([[8.0, 2.0, 5.0, -1.0, 7.0, 9.0, 3.0, 4.0]])
    placed = kindred.placed([scores], _bought([0, 5], 8))[0][0]
    assert placed.tolist() == [8.0, 2.0, 5.0, 2.0, 7.0, 9.0, 3.0, -1.0]
    assert scores[0].tolist() == [8.0, 2.0, 5.0, -1.0, 7.0, 9.0, 3.0, 4.0]


def _popular(n: int) -> Popularity:
    return Popularity(np.array([f"p{i}" for i in range(n)]), np.linspace(1, 0.1, n).astype(np.float32))


def _without_trees(n: int, depth: float) -> Blend:
    names = np.array(["popularity"])
    parts = (_popular(n),)
    return Blend(parts[0].product_ids, names, parts, _traits([0] * n), no_trees(chosen.names(names.tolist())), depth)


def test_candidates_stand_above_everything_else_in_one_order() -> None:
    form = _without_trees(30, depth=2.0)
    scores = form.score(MemberHistory(np.array([20], np.int32), np.ones(1, np.float32), np.array([NOW])), NOW)
    assert np.argsort(-scores, kind="stable").tolist() == [0, 1, 20, *range(2, 20), *range(21, 30)]
    assert scores[[0, 1, 20]].min() > 1.0 >= np.delete(scores, [0, 1, 20]).max()


def test_a_member_without_purchases_gets_the_order_of_the_first_part() -> None:
    _, before, _ = programme()
    form = fit("blend", before).form
    assert isinstance(form, Blend)
    nobody = form.score(MemberHistory(), before.seconds)
    popular = form.parts[0].score(MemberHistory(), before.seconds)
    assert (popular[np.argsort(-nobody, kind="stable")][:-1] >= np.sort(popular)[::-1][1:] - 1e-4).all()
    assert 0.0 <= nobody.min() < nobody.max() <= 1.0
    nothing = MemberHistory()
    empty = Histories(48, np.zeros(3, np.int64), nothing.product_index, nothing.count, nothing.last_at)
    assert np.array_equal(form.score_many(empty, before.seconds), np.stack([nobody, nobody]))


def test_what_is_bought_after_the_inner_cut_changes_labels_and_nothing_else() -> None:
    rows, before, _ = programme()
    cut = split(before, "time", 28.0, 0).before.seconds
    ago = (NOW - cut) / DAY
    other = [(m, f"p{(int(p[1:]) + 4) % 48}" if days < ago else p, days) for m, p, days in rows]
    shifted = built(other, [f"kind {i % 4}" for i in range(48)], before.at)
    taught = [_taught(one) for one in (before, shifted)]
    same = np.intersect1d(taught[0].member, taught[1].member)
    assert len(same) > 100
    first, second = (one.rows[np.isin(one.member, same)] for one in taught)
    assert np.array_equal(first, second, equal_nan=True)
    assert not np.array_equal(*(one.bought[np.isin(one.member, same)] for one in taught))


def _taught(known: Interactions) -> Any:
    inner, config = split(known, "time", 28.0, 0), BlendConfig()
    blank = no_trees(chosen.names(tuple(config.parts)))
    return lesson(Bases.of(inner.before, config).ranked_by(blank, config.candidates), inner, 1000)


def test_one_list_is_with_the_best_part_for_all_purchases_and_for_new_ones() -> None:
    _, before, later = programme()
    both = {new: truth(before, later, only_new=new).bought for new in (False, True)}
    names = ("blend", "als", "item_item", "repeat", "popularity")
    fitted = {name: fit(name, before) for name in names}

    def reached(name: str, new: bool) -> float:
        return float(judge(before, fitted[name], both[new], only_new=new).ndcg.mean())

    for new in (False, True):
        assert reached("blend", new) > 0.95 * max(reached(name, new) for name in names[1:])
    assert reached("blend", True) > 2 * reached("popularity", True)


def test_too_few_members_teach_no_trees_and_the_mean_of_the_bases_decides() -> None:
    few = fit("blend", small())
    assert isinstance(few.form, Blend)
    assert not few.form.trees.leaf_value.any()
    assert few.note == (
        "the history spans 39.0 days: the inner slice is 9.8 days; "
        "fewer than 50 members to learn from: no second stage, the mean of the bases ranks"
    )
    _, before, _ = programme()
    taught = fit("blend", before, config_from("blend", {"trees": 5, "proven": False})).form
    assert isinstance(taught, Blend)
    assert len(taught.trees.split_starts) == 6
    assert taught.trees.leaf_value.any()


def test_trees_that_are_not_surely_ahead_leave_the_best_part_alone_and_it_says_so() -> None:
    _, before, _ = programme()
    found = fit("blend", before, config_from("blend", {"trees": 1, "learning_rate": 1e-6}))
    assert isinstance(found.form, Blend)
    assert found.form.part_names.tolist() == ["repeat"]
    assert "the second stage is not surely ahead: " in found.note
    assert found.note.endswith("against repeat; repeat ranks alone")
    alone = fit("repeat", before).form
    for row in (0, 50, 100):
        member = histories(before).member(row)
        blended = found.form.score(member, before.seconds)
        assert np.array_equal(top_k(blended, 10), top_k(alone.score(member, before.seconds), 10))


def test_a_blend_inside_a_blend_is_refused() -> None:
    with pytest.raises(RecipeError, match="a blend cannot be a part of itself"):
        fit("blend", small(), config_from("blend", {"parts": {"blend": {}}}))


def test_settings_of_a_part_are_checked_by_its_own_recipe() -> None:
    with pytest.raises(RecipeError, match='recipe "als": "colour" is no setting of it'):
        fit("blend", small(), config_from("blend", {"parts": {"als": {"colour": 1}}}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 0.0}, "depth is 0.0"),
        ({"part_names": np.array(["a", "b"])}, "1 parts with 2 names"),
        ({"part_names": np.array(["other"])}, "the trees ask for 'popularity_"),
        ({"traits": _traits([0] * 4)}, "have not 5 products"),
    ],
)
def test_a_blend_whose_arrays_contradict_each_other_is_refused(change: dict[str, Any], said: str) -> None:
    good = {name: getattr(_without_trees(5, 2.0), name) for name in Blend.__dataclass_fields__}
    with pytest.raises(LearnedError, match=said):
        Blend(**{**good, **change})


def test_arrays_of_a_form_inside_are_named_after_it_and_missing_ones_are_told() -> None:
    arrays = to_arrays(_without_trees(5, 2.0))
    assert {"parts.0/form", "parts.0/scores", "traits/kind", "trees/threshold"} <= set(arrays)
    assert "parts.0/product_ids" not in arrays
    back = from_arrays("blend", arrays)
    assert isinstance(back, Blend)
    assert isinstance(back.parts[0], Popularity)
    without: dict[str, NDArray[Any]] = {name: array for name, array in arrays.items() if name != "traits/kind"}
    with pytest.raises(LearnedError, match="traits: arrays missing or unknown: kind"):
        from_arrays("blend", without)
    with pytest.raises(LearnedError, match="blend: arrays missing or unknown: trees"):
        from_arrays("blend", {name: array for name, array in arrays.items() if not name.startswith("trees/")})


def test_many_candidates_of_many_members_are_found_as_for_each_alone() -> None:
    _, before, _ = programme()
    form = fit("blend", before, config_from("blend", {"candidates": 3, "trees": 10, "proven": False})).form
    asked = histories(before)
    together = score_many(form, asked, before.seconds)
    alone = np.stack([form.score(asked.member(row), before.seconds) for row in range(len(asked))])
    assert np.abs(together - alone).max() < 1e-5


def test_an_ablation_has_a_row_for_every_piece_and_the_blend_itself_changes_nothing() -> None:
    _, before, later = programme()
    config = BlendConfig(parts={"item_item": {}, "popularity": {}}, trees=10)
    both = [truth(before, later, only_new=new).bought for new in (False, True)]
    found = ablation(before, both[0], both[1], config)
    by_variant = {str(row["variant"]): row for row in found.to_dict("records")}
    assert len(by_variant) == 1 + 1 + 2 + 5 + 2
    unchanged = ("ndcg_change", "ndcg_low", "ndcg_high", "new_change", "new_low", "new_high")
    assert [by_variant["the blend"][name] for name in unchanged] == [0.0] * 6
    whole = judge(before, fit("blend", before, config), both[0]).ndcg.mean()
    assert by_variant["the blend"]["ndcg"] == pytest.approx(whole)
    assert by_variant["popularity alone"]["ndcg_high"] < 0
    assert by_variant["popularity alone"]["new_high"] < 0


def test_serving_names_the_products_that_training_ranked_first(tmp_path: Path) -> None:
    _, before, _ = programme()
    form = fit("blend", before, BlendConfig(trees=10, proven=False)).form
    save(form, tmp_path)
    back = load(tmp_path)
    assert isinstance(back, Blend)
    taste = Taste("1", back, positions(back.product_ids), back.product_ids.astype(object), longest(back))
    member = histories(before).member(7)
    named = [product for product, _ in taste.best(member, before.seconds, 10, None)]
    assert named == before.product_ids[top_k(form.score(member, before.seconds), 10)].tolist()
    new = np.ones(48, bool)
    new[member.product_index] = False
    discovered = [product for product, _ in taste.best(member, before.seconds, 5, new)]
    assert not set(discovered) & set(before.product_ids[member.product_index].tolist())
