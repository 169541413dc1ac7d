"""Closed-form linear models: weights worked out by hand, formulas written out, and ways out that cut nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned import LearnedError, Linear, MemberHistory, score_many
from training.interactions import Interactions, histories
from training.recipes import RecipeError, config_from, fit, low_pass
from training.recipes.degrees import evened, gram, typical_norm, weighted

AT = datetime(2024, 6, 1, tzinfo=UTC)
DAY = 86_400.0
DATA = Path(os.environ.get("TESSERA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def _interactions(bought: NDArray[Any], days_ago: float = 0.0) -> Interactions:
    """Everybody bought so often what stands in (n_members, n_products), all at one time."""
    counts = sp.csr_matrix(bought.astype(np.float32))
    last_at = counts.astype(np.float64)
    last_at.data[:] = AT.timestamp() - days_ago * DAY
    rows, columns = counts.nonzero()
    n, m = bought.shape
    return Interactions(
        at=AT,
        member_ids=np.array([f"m{i:04d}" for i in range(n)]),
        product_ids=np.array([f"p{i:04d}" for i in range(m)]),
        counts=counts,
        last_at=last_at,
        buys=np.stack([rows, columns], axis=1).astype(np.int32),
        bought_at=last_at.data,
        member_tags=sp.csr_matrix((n, 0), dtype=np.float32),
        member_tag_names=(),
        product_tags=sp.csr_matrix((m, 0), dtype=np.float32),
        product_tag_names=(),
    )


def _fitted(recipe: str, found: Interactions, **settings: Any) -> Linear:
    form = fit(recipe, found, config_from(recipe, settings)).form
    assert isinstance(form, Linear)
    return form


def _everybody(form: Linear, found: Interactions) -> NDArray[Any]:
    return np.asarray(score_many(form, histories(found), found.seconds))


def _bought(*products: int, days_ago: float = 0.0) -> MemberHistory:
    n = len(products)
    moments = np.full(n, AT.timestamp() - days_ago * DAY)
    return MemberHistory(np.array(products, np.int32), np.ones(n, np.float32), moments)


def _lots(n: int = 60, m: int = 24, seed: int = 3) -> Interactions:
    """Three kinds of members and of products, repeats among them, the first products bought most."""
    rng = np.random.default_rng(seed)
    alike = np.equal.outer(np.arange(n) % 3, np.arange(m) % 3)
    chance = np.where(alike, 0.5, 0.08) * np.linspace(1.2, 0.5, m)
    return _interactions((rng.random((n, m)) < chance) * rng.integers(1, 4, (n, m)))


def test_ease_on_three_products_has_the_weights_worked_out_by_hand() -> None:
    """G = [[3, 2, 0], [2, 2, 0], [0, 0, 1]]; λ = 0.6 · 10/6 = 1, so that w_01 = 2/(3+1) and w_10 = 2/(2+1)."""
    found = _interactions(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]))
    form = _fitted("ease", found, regularization=0.6, member_power=0, product_power=0)
    assert form.dense == pytest.approx(np.array([[0, 1 / 2, 0], [2 / 3, 0, 0], [0, 0, 0]]), abs=1e-6)
    assert form.score(_bought(0), AT.timestamp()) == pytest.approx([0, 1 / 2, 0], abs=1e-6)
    assert form.score(_bought(0, 1), AT.timestamp()) == pytest.approx([2 / 3, 1 / 2, 0], abs=1e-6)


def test_ease_is_the_ridge_regression_of_each_product_on_the_others() -> None:
    found = _lots()
    form = _fitted("ease", found, member_power=0.3, product_power=0.25)
    rows, divisor = evened(weighted(found, 365.0), 0.3, 0.25)
    x, ridge = rows.toarray(), 5.0 * typical_norm(rows)
    for product in (0, 7, 23):
        others = np.delete(np.arange(24), product)
        normal = x[:, others].T @ x[:, others] + ridge * np.eye(23)
        weights = np.linalg.solve(normal, x[:, others].T @ x[:, product]) * divisor[product] / divisor[others]
        assert form.dense[others, product] == pytest.approx(weights, abs=1e-5)
        assert form.dense[product, product] == 0


def test_typical_norm_and_powers_are_those_worked_out_by_hand() -> None:
    rows = sp.csr_matrix(np.array([[1.0, 1.0, 2.0], [0.0, 0.0, 1.0]]))
    assert typical_norm(rows) == pytest.approx((6**2 + 1) / (6 + 1))
    divided, divisor = evened(rows, 0.5, 1.0)
    assert divisor == pytest.approx([1, 1, 3])
    assert divided.toarray() == pytest.approx(np.array([[1 / 2, 1 / 2, 1 / 3], [0, 0, 1 / 3]]))


def test_a_purchase_weighs_by_how_often_and_how_long_ago() -> None:
    found = weighted(_interactions(np.array([[1, 3]]), days_ago=10.0), half_life_days=10.0)
    assert found.toarray() == pytest.approx(np.array([[0.5, 1.0]]))


@pytest.mark.parametrize("gain", [1e-9, 1e9])
def test_products_with_products_are_the_same_by_either_way(gain: float) -> None:
    rows = sp.random(70, 40, 0.2, format="csr", random_state=1)
    assert gram(rows, gain) == pytest.approx((rows.T @ rows).toarray())


def test_the_way_out_is_exact_where_it_cuts_nothing() -> None:
    found = _lots(600)
    assert ((found.counts.T @ found.counts).toarray() > 0).all()
    whole = _everybody(_fitted("ease", found), found)
    outside = _fitted("ease", found, most_products=0, neighbours=1000)
    assert not len(outside.head)
    assert _everybody(outside, found) == pytest.approx(whole, abs=2e-5)


def test_products_outside_the_square_are_foretold_as_if_they_were_in_it() -> None:
    found = _lots(600)
    whole = _everybody(_fitted("ease", found), found)
    split = _fitted("ease", found, most_products=10, neighbours=1000)
    outside = np.setdiff1d(np.arange(24), split.head)
    assert len(split.head) == 10
    assert set(split.head.tolist()) == set(np.argsort(-found.counts.getnnz(axis=0), kind="stable")[:10].tolist())
    scores = _everybody(split, found)
    assert scores[:, outside] == pytest.approx(whole[:, outside], abs=2e-5)
    assert np.corrcoef(scores[:, split.head].ravel(), whole[:, split.head].ravel())[0, 1] > 0.95


def test_the_square_keeps_to_its_memory() -> None:
    """A quarter of a megabyte holds 2¹⁸/12 pairs: 147 products."""
    found = _interactions(np.random.default_rng(0).random((50, 200)) < 0.2)
    assert len(_fitted("ease", found, memory_mb=0.25).head) == 147


def test_few_neighbours_are_the_most_correlated_ones() -> None:
    found = _lots()
    form = _fitted("ease", found, most_products=0, neighbours=2)
    incoming = np.bincount(form.neighbours, minlength=24)
    assert incoming.tolist() == [2] * 24
    rows, _ = evened(weighted(found, 365.0), 0.3, 0.25)
    x = rows.toarray()
    length = np.sqrt((x**2).sum(axis=0) + 5.0 * typical_norm(rows))
    correlation = (x.T @ x) / length[:, None]
    np.fill_diagonal(correlation, -1)
    sources = np.repeat(np.arange(24), np.diff(form.starts))
    for product in range(24):
        assert set(sources[form.neighbours == product].tolist()) == set(
            np.argsort(-correlation[:, product])[:2].tolist()
        )


def test_the_spectral_filter_is_its_formula() -> None:
    found = _lots()
    form = _fitted("spectral", found, components=4, linear=0.3)
    x = weighted(found, 365.0).toarray()
    rows = x / x.sum(axis=1, keepdims=True) ** 0.3 / x.sum(axis=0) ** 0.3
    _, strength, directions = np.linalg.svd(rows)
    kept = directions[:6].T * np.sqrt([1, 1, 1, 0.75, 0.5, 0.25])
    kernel = 0.3 * rows.T @ rows / strength[0] ** 2 + kept @ kept.T
    asked = x / x.max(axis=1, keepdims=True)
    expected = (asked / x.sum(axis=0) ** 0.3) @ kernel * x.sum(axis=0) ** 0.3
    assert _everybody(form, found) == pytest.approx(expected, abs=1e-5)


def test_the_linear_filter_keeps_the_largest_entries_of_each_row() -> None:
    found = _lots()
    whole, thin = (_fitted("spectral", found, components=4, neighbours=n) for n in (24, 5))
    for product in range(24):
        row, kept = (form.weights[form.starts[product] : form.starts[product + 1]] for form in (whole, thin))
        assert sorted(kept.tolist()) == sorted(row.tolist())[-5:]


def test_vectors_found_by_iteration_span_what_the_exact_ones_do() -> None:
    rng = np.random.default_rng(5)
    rows = sp.csr_matrix(rng.normal(size=(300, 6)) @ rng.normal(size=(6, 200)) + 0.1 * rng.normal(size=(300, 200)))
    exact, iterated = low_pass.leading(rows, 6, 0), low_pass._iterated(rows, 6, 0)
    assert np.linalg.svd(exact.T @ iterated)[1] == pytest.approx(np.ones(6), abs=1e-5)
    assert exact.T @ exact == pytest.approx(np.eye(6), abs=1e-9)
    turned = low_pass.leading(sp.csr_matrix(rows.T), 6, 0)
    assert np.abs(np.linalg.svd(rows.toarray())[0][:, :6].T @ turned).diagonal() == pytest.approx(np.ones(6), abs=1e-6)


@pytest.mark.parametrize("kinds", [8, 32])
def test_about_as_many_vectors_are_chosen_as_there_are_tastes(kinds: int) -> None:
    """All of the first k/2 passes and some of the first 1.5·k, so that k and 2·k both hold the tastes."""
    rng = np.random.default_rng(kinds)
    alike = np.equal.outer(np.arange(600) % kinds, np.arange(256) % kinds)
    bought = sp.csr_matrix((rng.random((600, 256)) < np.where(alike, 0.4, 0.03)).astype(float))
    assert low_pass.chosen(bought, 0.3, 0.3, 128, 0) in {kinds, 2 * kinds}


def test_the_sum_is_ease_and_a_low_pass_filter_of_the_size_asked_for() -> None:
    found = _lots()
    fine = _everybody(_fitted("ease", found), found)
    both = _everybody(_fitted("linear", found, low_pass=0.75, components=4), found)
    broad = _everybody(_fitted("spectral", found, components=4, linear=0.0), found)
    added = both - fine
    assert np.square(added).mean() == pytest.approx(0.75**2 * np.square(fine).mean(), rel=1e-4)
    assert np.corrcoef(added.ravel(), broad.ravel())[0, 1] == pytest.approx(1.0, abs=1e-4)
    assert _everybody(_fitted("linear", found, low_pass=0.0), found) == pytest.approx(fine, abs=1e-6)


@pytest.mark.parametrize("recipe", ["ease", "spectral", "linear"])
def test_without_anything_that_speaks_products_stand_by_popularity(recipe: str) -> None:
    bought = np.zeros((6, 4))
    bought[:3, :2], bought[3:, 2], bought[5, 3] = 1, 1, 1
    form = (
        _fitted(recipe, _interactions(bought), components=1)
        if recipe != "ease"
        else _fitted("ease", _interactions(bought))
    )
    assert np.array_equal(form.score(MemberHistory(), AT.timestamp()), form.popularity)
    deaf = replace(form, dense=form.dense * 0, weights=form.weights * 0, factors=form.factors * 0)
    order = np.argsort(-deaf.score(_bought(0), AT.timestamp()), kind="stable")
    assert order.tolist() == np.argsort(-form.popularity, kind="stable").tolist()


def test_a_members_scores_do_not_fade_while_nothing_is_bought() -> None:
    form = _fitted("ease", _lots(), half_life_days=30.0)
    now, later = (form.score(_bought(0, 3, days_ago=ago), AT.timestamp()) for ago in (1.0, 4000.0))
    assert later == pytest.approx(now)


def test_purchases_too_old_to_count_are_told() -> None:
    with pytest.raises(RecipeError, match="every purchase is too old to count; raise half_life_days"):
        _fitted("ease", _interactions(np.eye(3), days_ago=4000.0), half_life_days=0.1)


def test_arrays_that_contradict_each_other_are_refused() -> None:
    form = _fitted("ease", _lots())
    for broken, said in (
        ({"starts": np.zeros(3, np.int64)}, "starts has shape"),
        ({"head": form.head[::-1].copy()}, "head or starts are not in order"),
        ({"dense": form.dense * np.nan}, "dense has values that are not finite"),
        ({"head": form.head + 1}, "head points outside"),
    ):
        with pytest.raises(LearnedError, match=said):
            replace(form, **broken)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "ml_100k").exists(), reason=f"no MovieLens 100k in {DATA}: set TESSERA_DATA")
def test_on_movielens_the_sum_is_ahead_of_the_best_published_figure_within_five_seconds() -> None:
    from tessera.bench.films import PUBLISHED, measure

    [found] = measure(DATA / "ml_100k" / "u_data.parquet", ["linear"], range(3))
    assert found.ndcg.mean() >= 0.485
    assert found.ndcg.min() > PUBLISHED[0][1]
    assert (found.fit_seconds + found.rank_seconds).max() <= 5.0
