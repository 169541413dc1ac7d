from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from serving.prices import NOTHING, Allocation, marginal, solve

Floats = NDArray[np.float64]


def by_highs(values: Floats, costs: Sequence[Floats], amounts: Sequence[float]) -> float:
    """The whole linear programme, one variable for each member and candidate, by HiGHS."""
    n, m = values.shape
    may = np.isfinite(values)
    rows = [sp.kron(sp.eye(n), np.ones((1, m)))]
    rows += [sp.csr_matrix(np.broadcast_to(table, values.shape).reshape(1, -1)) for table in costs]
    upper = np.concatenate([np.ones(n), np.minimum(np.asarray(amounts, float), 1e9)])
    found = linprog(
        -np.where(may, values, 0.0).ravel(),
        A_ub=sp.vstack(rows).tocsr(),
        b_ub=upper,
        bounds=np.column_stack([np.zeros(n * m), may.ravel().astype(float)]),
        method="highs",
    )
    return -float(found.fun)


def instance(n: int, m: int, budgets: int, seed: int, tight: float = 0.3) -> tuple[Floats, list[Floats], list[float]]:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.5, 1.5, (n, m)) + 3 * rng.random((n, 1)) * rng.random((1, m))
    costs = [rng.random((n, m)) * (rng.random((1, m)) < 0.7) for _ in range(budgets)]
    wanted = [float(np.take_along_axis(table, values.argmax(1)[:, None], 1).sum()) for table in costs]
    return values, costs, [tight * (0.6 + 0.8 * rng.random()) * one for one in wanted]


def holds(found: Allocation, values: Floats, costs: Sequence[Floats], amounts: Sequence[float]) -> None:
    """What an allocation says of itself is so, and every budget holds."""
    given = np.flatnonzero(found.choice != NOTHING)
    chosen = found.choice[given]
    use = [float(np.broadcast_to(table, values.shape)[given, chosen].sum()) for table in costs]
    assert found.use == pytest.approx(use, rel=1e-9, abs=1e-12)
    assert (found.use <= np.asarray(amounts)).all()
    assert found.value == pytest.approx(float(values[given, chosen].sum()), rel=1e-9, abs=1e-9)
    assert found.value <= found.bound * (1 + 1e-9) + 1e-12
    assert (found.prices >= 0).all()


@st.composite
def small(draw: st.DrawFn) -> tuple[Floats, list[Floats], list[float]]:
    """Instances full of ties, zeros, slack and forbidden candidates."""
    n, m, budgets = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    coarse = draw(st.booleans())
    values = rng.integers(-2, 5, (n, m)).astype(float) if coarse else rng.normal(1, 2, (n, m))
    values[rng.random((n, m)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = draw(st.sampled_from([-np.inf, -1.0]))
    costs = [
        rng.integers(0, 3, (1 if draw(st.booleans()) else n, m)).astype(float)
        if coarse
        else rng.random((n, m)) * (rng.random((n, m)) < 0.8)
        for _ in range(budgets)
    ]
    amounts = [draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7, 10.0, 1e6, np.inf])) for _ in range(budgets)]
    return values, costs, amounts


@settings(max_examples=120, deadline=None)
@given(small())
def test_the_bound_is_what_highs_finds_and_the_allocation_stays_inside(
    case: tuple[Floats, list[Floats], list[float]],
) -> None:
    values, costs, amounts = case
    found = solve(values, costs, amounts)
    holds(found, values, costs, amounts)
    assert found.bound == pytest.approx(by_highs(values, costs, amounts), rel=2e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_thousand_members_little_is_lost_to_whole_members(seed: int) -> None:
    values, costs, amounts = instance(1000, 8, 4, seed)
    found = solve(values, costs, amounts)
    holds(found, values, costs, amounts)
    assert found.bound == pytest.approx(by_highs(values, costs, amounts), rel=1e-6)
    assert found.gap < 2e-3


def test_what_is_solved_on_a_sample_first_is_right_for_all() -> None:
    values, costs, amounts = instance(45_000, 4, 3, 1)
    found = solve(values.astype(np.float32), [table.astype(np.float32) for table in costs], amounts)
    assert found.gap < 1e-5  # the allocation is feasible and the bound holds: together they are the proof
    assert (found.use <= np.asarray(amounts)).all()
    warm = solve(values, costs, amounts, warm=found.prices)
    assert warm.bound == pytest.approx(found.bound, rel=3e-6)
    assert warm.looks < found.looks


def test_prices_of_one_budget_are_those_of_the_greedy_knapsack() -> None:
    # Four members, one candidate each, worth 8, 6, 4, 2 for one unit: with two units the third member sets the price.
    values, costs = np.array([[8.0], [6.0], [4.0], [2.0]]), [np.ones((1, 1))]
    found = solve(values, costs, [2.0])
    assert found.choice.tolist() == [0, 0, NOTHING, NOTHING]
    assert found.value == found.bound == 14.0
    assert 4.0 <= found.prices[0] <= 6.0
    (edge,) = marginal(values, costs, [2.0], found, [1.0])
    assert (edge.next, edge.last) == pytest.approx((4.0, 6.0), abs=1e-5)


def test_the_next_thousand_earn_what_a_second_solution_with_a_thousand_more_earns() -> None:
    values, costs, amounts = instance(3000, 6, 3, 5)
    found, steps = solve(values, costs, amounts), [0.05 * one for one in amounts]
    edges = marginal(values, costs, amounts, found, steps)
    base = by_highs(values, costs, amounts)
    for budget, (edge, step) in enumerate(zip(edges, steps, strict=True)):
        more, less = list(amounts), list(amounts)
        more[budget] += step
        less[budget] -= step
        assert edge.next == pytest.approx((by_highs(values, costs, more) - base) / step, rel=1e-3)
        assert edge.last == pytest.approx((base - by_highs(values, costs, less)) / step, rel=1e-3)
        assert edge.next <= found.prices[budget] * 1.001
        assert edge.last >= found.prices[budget] * 0.999


def test_an_empty_budget_gives_nothing_and_its_price_is_what_a_first_unit_would_earn() -> None:
    values, costs = np.array([[8.0, 3.0], [6.0, 5.0]]), [np.array([[2.0, 0.0]])]
    found = solve(values, costs, [0.0])
    assert found.choice.tolist() == [1, 1]
    assert found.prices[0] == pytest.approx(2.5)  # the first member would gain 5 by the two units
    unlimited = solve(values, costs, [np.inf])
    assert (unlimited.choice.tolist(), unlimited.prices[0], unlimited.gap) == ([0, 0], 0.0, 0.0)


def test_members_who_are_all_alike_share_what_there_is() -> None:
    values, costs = np.full((30_000, 2), [3.0, 2.0]), [np.array([[2.0, 1.0]])]
    found = solve(values, costs, [45_000.0])
    assert found.bound == pytest.approx(75_000.0, rel=1e-6)  # half of them get each
    assert found.gap < 1e-4
    assert found.use[0] <= 45_000.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_money_in_another_currency_changes_prices_and_nothing_else(seed: int, rate: float) -> None:
    values, costs, amounts = instance(40, 3, 2, seed)
    here, there = solve(values, costs, amounts), solve(values * rate, costs, amounts)
    assert there.bound == pytest.approx(here.bound * rate, rel=5e-6)
    more = solve(values, costs, [one * 1.3 for one in amounts])
    assert more.bound >= here.bound * (1 - 2e-6)


@pytest.mark.parametrize(
    ("values", "costs", "amounts", "says"),
    [
        (np.array([[np.nan]]), [np.ones((1, 1))], [1.0], "values"),
        (np.array([[1.0]]), [-np.ones((1, 1))], [1.0], "costs of budget 0"),
        (np.array([[1.0]]), [np.ones((2, 3))], [1.0], "does not fit"),
        (np.array([[1.0]]), [np.ones((1, 1))], [-1.0], "at least 0"),
        (np.array([[1.0]]), [np.ones((1, 1))], [1.0, 2.0], "there are 1 budgets"),
    ],
)
def test_what_cannot_be_allocated_is_refused(
    values: Floats, costs: list[Floats], amounts: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        solve(values, costs, amounts)
