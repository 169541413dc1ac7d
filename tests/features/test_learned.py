"""Learned forms: equal to a plain computation, equal to LightGBM, and refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.learned import (
    Counts,
    Factors,
    Form,
    ItemItem,
    LearnedError,
    Linear,
    MemberHistory,
    Popularity,
    ProductForm,
    Trees,
    from_arrays,
    from_lightgbm,
    history,
    load,
    positions,
    save,
    to_arrays,
    top_k,
)
from features.learned.counts import NEW_TERMS, TERMS, first_worth, rhythm
from features.learned.longest import longest

DAY = 86_400.0
AT = 1_000 * DAY
IDS = np.array(["apple", "bread", "cheese", "dill"])


def _bought(index: list[int], count: list[float], days_ago: list[float], **more: Any) -> MemberHistory:
    return MemberHistory(
        np.array(index, np.int32), np.array(count, np.float32), AT - DAY * np.array(days_ago, float), **more
    )


def _factors(**changes: Any) -> Factors:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(4, 3)).astype(np.float32)
    gram = vectors.T.astype(float) @ vectors + 0.5 * np.eye(3)
    parts = {
        "vectors": vectors,
        "biases": np.array([0.0, 0.1, 0.0, -0.1], np.float32),
        "popularity": np.array([0.4, 0.3, 0.2, 0.1], np.float32),
        "gram": gram,
        "bridge": np.empty((0, 0)),
    }
    return Factors(IDS, **{**parts, **changes})


def _silent() -> Linear:
    """Nothing speaks for anything."""
    return Linear(
        IDS,
        popularity=np.array([0.4, 0.3, 0.2, 0.1], np.float32),
        head=np.empty(0, np.int32),
        dense=np.empty((0, 0), np.float32),
        starts=np.zeros(5, np.int64),
        neighbours=np.empty(0, np.int32),
        weights=np.empty(0, np.float32),
        factors=np.empty((4, 0), np.float32),
        inward=np.ones(4, np.float32),
        outward=np.ones(4, np.float32),
    )


def _counts(again: Mapping[str, float], first: Mapping[str, float], **changes: Any) -> Counts:
    parts: dict[str, Any] = {
        "popularity": np.array([0.2, 0.1, 0.05, 0.01], np.float32),
        "ever": np.array([0.5, 0.4, 0.2, 0.02], np.float32),
        "rhythm_days": np.array([7.0, 7.0, 30.0, 30.0], np.float32),
        "repeat_rate": np.full(4, 0.5, np.float32),
        "weights": np.array([again.get(term, 0.0) for term in TERMS]),
        "new_weights": np.array([first.get(term, 0.0) for term in NEW_TERMS]),
        "neighbours": _silent(),
    }
    worth = first_worth(parts["popularity"], parts["ever"], parts["new_weights"])
    return Counts(IDS, **{**parts, "first_worth": worth, **changes})


FORMS: dict[str, ProductForm] = {
    "popularity": Popularity(IDS, np.array([0.4, 0.3, 0.2, 0.1], np.float32)),
    "factors": _factors(),
    "item_item": ItemItem(
        IDS,
        neighbours=np.array([[1, 2], [0, 3], [0, 0], [1, 0]], np.int32),
        similarity=np.array([[0.9, 0.2], [0.9, 0.4], [0.2, 0.0], [0.4, 0.0]], np.float32),
        popularity=np.array([0.4, 0.3, 0.2, 0.1], np.float32),
    ),
    "counts": _counts({"one": -1.0, "log_count": 1.0, "log_age": -0.5, "due_squared": -0.2}, {"wanted": 1.0}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_comes_back_from_disk_as_it_was_and_twice_the_same_bytes(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    first, second = save(form, tmp_path / "a"), save(form, tmp_path / "b")
    assert first == second
    back = load(tmp_path / "a")
    assert type(back) is type(form)
    for field, array in to_arrays(form).items():
        assert np.array_equal(array, to_arrays(back)[field])


@pytest.mark.parametrize("name", FORMS)
def test_a_member_without_purchases_gets_the_popular_products(name: str) -> None:
    assert top_k(FORMS[name].score(MemberHistory(), AT), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["popularity", "counts", "item_item", "factors"])
def test_scoring_leaves_the_form_untouched(name: str) -> None:
    before = {field: array.copy() for field, array in to_arrays(FORMS[name]).items()}
    FORMS[name].score(_bought([1, 3], [2, 1], [3, 9]), AT)
    assert all(np.array_equal(before[field], array) for field, array in to_arrays(FORMS[name]).items())


def test_a_changed_byte_is_refused_before_anything_is_parsed(tmp_path: Path) -> None:
    save(FORMS["factors"], tmp_path)
    content = bytearray((tmp_path / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "arrays.npz").write_bytes(content)
    with pytest.raises(LearnedError, match=r"arrays.npz.*SHA-256"):
        load(tmp_path)


def test_a_truncated_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    save(FORMS["counts"], tmp_path)
    description = json.loads((tmp_path / "form.json").read_text())
    (tmp_path / "form.json").write_text(json.dumps({**description, "form": "oracle"}))
    with pytest.raises(LearnedError, match="'oracle' is unknown"):
        load(tmp_path)
    (tmp_path / "form.json").write_text("{")
    with pytest.raises(LearnedError, match=r"form\.json"):
        load(tmp_path)
    (tmp_path / "form.json").write_text(json.dumps(description))
    (tmp_path / "arrays.npz").unlink()
    with pytest.raises(LearnedError, match=r"arrays\.npz"):
        load(tmp_path)


def test_a_form_saved_before_a_setting_existed_is_read_with_its_default() -> None:
    arrays = to_arrays(FORMS["factors"])
    back = from_arrays("factors", {name: array for name, array in arrays.items() if name != "ridge"})
    assert isinstance(back, Factors)
    assert back.ridge == 0.0
    member = _bought([1, 3], [2, 1], [3, 9])
    assert np.array_equal(back.score(member, AT), FORMS["factors"].score(member, AT))


def test_a_ridge_grows_with_what_a_member_bought() -> None:
    """One factor: gram 2, bought v = 3 once, just now, α = 1/ln 2 so that w = 1: x = (1 + 1)·3 / (2 + 9 + .5·1)."""
    none = np.zeros(1, np.float32)
    form = Factors(
        IDS[:1],
        np.array([[3.0]], np.float32),
        none,
        none,
        np.array([[2.0]]),
        np.empty((0, 0)),
        alpha=1 / np.log(2.0),
        ridge=0.5,
    )
    assert form.fold_in(_bought([0], [1], [0]), AT) == pytest.approx([6 / 11.5])


def test_swapped_arrays_are_refused(tmp_path: Path) -> None:
    save(FORMS["counts"], tmp_path / "counts")
    save(FORMS["factors"], tmp_path / "factors")
    (tmp_path / "counts" / "arrays.npz").write_bytes((tmp_path / "factors" / "arrays.npz").read_bytes())
    with pytest.raises(LearnedError):
        load(tmp_path / "counts")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("popularity", "scores", np.array([0.1, np.nan, 0.1, 0.1], np.float32)),
        ("popularity", "scores", np.ones(3, np.float32)),
        ("factors", "vectors", np.ones((3, 3), np.float32)),
        ("factors", "vectors", np.ones((4, 3), np.int64)),
        ("item_item", "neighbours", np.full((4, 2), 4, np.int32)),
        ("counts", "popularity", np.zeros(4, np.float32)),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(name: str, field: str, value: NDArray[Any]) -> None:
    arrays = to_arrays(FORMS[name])
    assert type(from_arrays(name, arrays)) is type(FORMS[name])
    with pytest.raises(LearnedError, match=field):
        from_arrays(name, {**arrays, field: value})


def test_the_vector_of_new_purchases_solves_the_least_squares_equations() -> None:
    form = _factors(alpha=2.0, half_life_days=30.0)
    member = _bought([0, 2], [3, 1], [0, 30])
    confidence = np.ones(4)
    confidence[0] += 2.0 * np.log(4.0)
    confidence[2] += 2.0 * np.log(2.0) * 0.5
    wanted = np.array([1.0, 0.0, 1.0, 0.0])
    y = form.vectors.astype(float)
    exact = np.linalg.solve(y.T @ np.diag(confidence) @ y + 0.5 * np.eye(3), y.T @ (confidence * wanted))
    folded = form.fold_in(member, AT)
    assert folded is not None
    assert np.allclose(folded, exact, atol=1e-5)


def test_a_stored_vector_is_used_until_something_is_bought_after_it() -> None:
    form = _factors()
    stored = np.ones(3, np.float32)
    old = _bought([0], [1], [5], vector=stored, vector_at=AT - DAY)
    fresh = _bought([0], [1], [0.5], vector=stored, vector_at=AT - DAY)
    assert np.allclose(form.score(old, AT), form.vectors @ stored + form.biases)
    folded, used = form.fold_in(fresh, AT), form.vector(fresh, AT)
    assert folded is not None
    assert used is not None
    assert np.array_equal(used, folded)
    without = _factors(gram=np.empty((0, 0)))
    assert without.vector(fresh, AT) is stored


def test_a_vector_of_another_version_is_refused() -> None:
    with pytest.raises(LearnedError, match="another model version"):
        _factors().score(MemberHistory(vector=np.ones(5, np.float32)), AT)


def test_neighbours_add_up_and_old_purchases_count_half() -> None:
    form = FORMS["item_item"]
    assert isinstance(form, ItemItem)
    halved = ItemItem(IDS, form.neighbours, form.similarity, form.popularity, half_life_days=10.0)
    scores = halved.score(_bought([0, 1], [1, 3], [10, 0]), AT)
    once, thrice = np.log(2.0) * 0.5, np.log(4.0)
    assert np.allclose(scores, [0.9 * thrice, 0.9 * once, 0.2 * once, 0.4 * thrice], atol=1e-6)


def test_a_product_is_wanted_again_when_it_is_due() -> None:
    form = _counts({"due_squared": -1.0}, {"wanted": 1.0})
    scores = form.score(_bought([0, 1], [1, 1], [7, 1]), AT)
    assert scores[0] == pytest.approx(0.5)
    assert scores[1] == pytest.approx(1 / (1 + np.exp(np.log(2 / 8) ** 2)))
    assert scores[2:] == pytest.approx([0.05 / 1.05, 0.01 / 1.01])  # the logistic of ln p is p/(1+p)


def test_the_rhythm_of_a_member_is_that_of_the_visits_which_last_purchases_show() -> None:
    days, hour = np.array([0.1, 9.0, 9.0 + 5 / 24, 30.0, 2.0]), np.array([0, 4, 4, 5])
    found = rhythm(hour, np.array([1, 3, 1, 1, 4], np.float32), AT - DAY * days, AT)
    assert np.expm1(found.visits_since) == pytest.approx([0, 1, 1, 2, 0])
    assert np.expm1(found.log_age) == pytest.approx(days)
    assert np.exp(found.member[:, 0]) == pytest.approx([3, 1, 1])
    assert np.expm1(found.member[:, 1]) == pytest.approx([0.1, 0, 2])
    assert np.exp(found.member[:, 2]) == pytest.approx([1.5, 1, 4])


def test_what_was_bought_speaks_for_products_that_were_not() -> None:
    bread_says = replace(
        _silent(),
        starts=np.array([0, 0, 1, 1, 1]),
        neighbours=np.array([3], np.int32),
        weights=np.array([0.495], np.float32),
    )
    form = _counts({}, {"near": 1.0}, neighbours=bread_says)
    scores = form.score(_bought([1], [1], [4]), AT)
    assert scores == pytest.approx([0.005 / 1.005, 0.5, 0.005 / 1.005, 0.5 / 1.5], abs=1e-6)


def test_products_the_form_does_not_know_are_left_out_of_a_history() -> None:
    member = history(positions(IDS), ["dill", "ghost", "apple", "bread"], [2, 1, 1, 0], [5.0, 6.0, 7.0, 8.0])
    assert member.product_index.tolist() == [3, 0]
    assert member.count.tolist() == [2, 1]
    assert member.last_at.tolist() == [5.0, 7.0]
    assert history(positions(IDS), [], [], []).product_index.size == 0


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, float("nan"), float("-inf")]), max_size=30),
    st.integers(0, 35),
    st.randoms(use_true_random=False),
)
def test_the_top_is_what_sorting_everything_gives(values: list[float], k: int, chance: Any) -> None:
    scores = np.array(values, float)
    allowed = np.array([chance.random() < 0.7 for _ in values], bool)
    eligible = [i for i in range(len(values)) if allowed[i] and values[i] > float("-inf")]
    assert top_k(scores, k, allowed).tolist() == sorted(eligible, key=lambda i: (-values[i], i))[:k]


def _trained(seed: int, **params: Any) -> tuple[lightgbm.Booster, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, 6))
    rows[:, 3:] = np.round(rows[:, 3:])
    rows[rng.random(rows.shape) < 0.15] = np.nan
    filled = np.nan_to_num(rows)
    label = (filled[:, 0] + filled[:, 3] * filled[:, 1] + np.isnan(rows[:, 2]) + rng.normal(size=600) > 0).astype(float)
    settings_ = {
        "objective": "binary",
        "num_leaves": 15,
        "verbose": -1,
        "num_threads": 1,
        "min_data_in_leaf": 5,
        **params,
    }
    return lightgbm.train(settings_, lightgbm.Dataset(rows, label), 30), rows


VARIANTS: dict[str, dict[str, Any]] = {
    "nan is missing": {},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "64 leaves": {"num_leaves": 64, "min_data_in_leaf": 1},
    "steep": {"sigmoid": 2.5},
    "regression": {"objective": "regression"},
    "nothing learned": {"min_data_in_leaf": 500},
}


@pytest.fixture(scope="module", params=VARIANTS)
def grown(request: pytest.FixtureRequest) -> tuple[lightgbm.Booster, NDArray[np.float64], Trees]:
    booster, rows = _trained(7, **VARIANTS[request.param])
    return booster, rows, from_lightgbm(booster.model_to_string())


def test_trees_answer_as_lightgbm_does(grown: tuple[lightgbm.Booster, NDArray[np.float64], Trees]) -> None:
    booster, rows, trees = grown
    assert np.array_equal(trees.raw(rows), booster.predict(rows, raw_score=True))
    assert np.allclose(trees.predict(rows), booster.predict(rows), rtol=0, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_trees_answer_as_lightgbm_does_at_every_edge(
    grown: tuple[lightgbm.Booster, NDArray[np.float64], Trees], data: st.DataObject
) -> None:
    booster, _, trees = grown
    edges = [0.0, -0.0, 1e-36, -1e-36, 1e-35, 2e-35, np.nan, np.inf, -np.inf, *trees.threshold.tolist()]
    value = st.one_of(st.sampled_from(edges), st.floats(width=64))
    row = np.array(data.draw(st.lists(value, min_size=6, max_size=6)))
    assert trees.raw(row[None, :])[0] == booster.predict(row[None, :], raw_score=True)[0]


def test_one_row_and_many_rows_give_the_same_bits(grown: tuple[lightgbm.Booster, NDArray[np.float64], Trees]) -> None:
    _, rows, trees = grown
    many = trees.predict(rows)
    assert [trees.predict_one(row) for row in rows[:200]] == many[:200].tolist()


def test_contributions_sum_to_the_answer_and_unused_features_have_none(
    grown: tuple[lightgbm.Booster, NDArray[np.float64], Trees],
) -> None:
    _, rows, trees = grown
    parts = trees.contributions(rows[:50])
    assert parts.shape == (50, 7)
    assert np.allclose(parts.sum(axis=1), trees.raw(rows[:50]), atol=1e-9)
    unused = [f for f in range(6) if f not in set(trees.feature.tolist())]
    assert not parts[:, unused].any()


def test_trees_come_back_from_disk_as_they_were(
    grown: tuple[lightgbm.Booster, NDArray[np.float64], Trees], tmp_path: Path
) -> None:
    _, rows, trees = grown
    save(trees, tmp_path)
    back: Form = load(tmp_path)
    assert isinstance(back, Trees)
    assert np.array_equal(back.predict(rows), trees.predict(rows))
    assert back.feature_names.tolist() == [f"Column_{i}" for i in range(6)]


def test_what_cannot_be_served_is_refused_with_a_way_out() -> None:
    booster, rows = _trained(1, num_leaves=90, min_data_in_leaf=1)
    with pytest.raises(LearnedError, match="smaller num_leaves"):
        from_lightgbm(booster.model_to_string())
    booster, rows = _trained(1, linear_tree=True)
    with pytest.raises(LearnedError, match="linear_tree=false"):
        from_lightgbm(booster.model_to_string())
    label = (np.nan_to_num(rows[:, 4]) > 0).astype(float)
    kinds = lightgbm.Dataset(np.abs(rows), label, categorical_feature=[4])
    categorical = lightgbm.train({"objective": "binary", "verbose": -1, "min_data_per_group": 1}, kinds, 3)
    with pytest.raises(LearnedError, match="categories"):
        from_lightgbm(categorical.model_to_string())


@cache
def _model_text() -> str:
    return _trained(7)[0].model_to_string()


@settings(max_examples=80, deadline=None)
@given(cut=st.floats(0, 1), junk=st.text(max_size=5))
def test_a_damaged_text_is_refused_or_read_but_never_crashes(cut: float, junk: str) -> None:
    text = _model_text()
    place = int(cut * len(text))
    try:
        from_lightgbm(text[:place] + junk)
    except LearnedError:
        return
    assert "end of trees" in text[:place]


def test_a_tree_that_bites_its_tail_is_refused() -> None:
    trees = from_lightgbm(_trained(7)[0].model_to_string())
    arrays = to_arrays(trees)
    left = trees.left.copy()
    left[1] = 0
    with pytest.raises(LearnedError, match=r"tree|leaf"):
        from_arrays("trees", {**arrays, "left": left})


@pytest.mark.parametrize("seed", range(4))
def test_the_best_among_the_longest_vectors_are_the_best_of_all_or_nothing_is_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = 3_000, 8
    lengths = rng.lognormal(0.0, 1.5, n)[:, None] if seed else np.ones((n, 1))
    vectors = np.round(rng.normal(size=(n, k)) * lengths, 1).astype(np.float32)
    vectors[40] = vectors[30] = vectors[int(np.argmax(np.linalg.norm(vectors, axis=1)))]
    none = np.zeros((0, 0))
    ids, zeros = np.array([f"p{i}" for i in range(n)]), np.zeros(n, np.float32)
    form = Factors(ids, vectors, zeros, zeros, none, none)
    near = longest(form)
    assert near is not None
    said = 0
    for vector in rng.normal(size=(200, k)).astype(np.float32):
        found = near.best(vector, 3)
        if found is None:
            continue
        said += 1
        scores = form.score(MemberHistory(vector=vector), AT)
        best = sorted(range(n), key=lambda i: (-round(float(scores[i]), 3), i))[:3]
        assert [position for position, _ in found] == best
        assert [score for _, score in found] == pytest.approx(scores[best].tolist(), rel=1e-5)
    assert said > 100 if seed else said < 200
    assert longest(Factors(ids, vectors, zeros + 1, zeros, none, none)) is None
