"""What every store of reservations promises, on each of them; and both against a model of a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.reservations.contract import SCALE, Cap, Claim, Draw, Given, Hold
from tests.serving.reservation_stores import NO_POSTGRES, SqliteStore, claim, private_postgres, units

TWO = (units(amount=2), units(amount=5, budget="c"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="install the extra: tessera[postgres]")
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip(NO_POSTGRES)
    with private_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "sqlite":
        kept: Any = SqliteStore(tmp_path / "journal.db")
    else:
        kept = fresh_postgres(request.getfixturevalue("postgres"))
    yield kept
    kept.close()


def fresh_postgres(url: str) -> Any:
    import psycopg

    from serving.reservations.postgres import PostgresReservations

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    return PostgresReservations(url)


def money(face: float, chance: float, amount: float, overspend: float = 0.001, budget: str = "b") -> Draw:
    a, p = face * SCALE, chance
    z = NormalDist().inv_cdf(1 - overspend)
    moments = (p * a, p * (1 - p) * a * a, p * (1 - p) * (1 - 2 * p) * a**3)
    return Draw(budget, 0, round(amount * SCALE), 0, round(a), "money", round(a), *moments, z)


def of(store: Any, budget: str = "b") -> Any:
    (found,) = [one for one in store.balances() if one.budget_id == budget]
    return found


def test_the_last_piece_is_given_once(store: Any) -> None:
    refused = store.reserve([claim(n, units(amount=3)) for n in range(5)])
    assert refused == {"d-3": ("c",), "d-4": ("c",)}
    assert (of(store).granted, of(store).refused, of(store).open_count) == (3, 2, 3)


def test_all_budgets_of_a_decision_change_or_none(store: Any) -> None:
    assert list(store.reserve([claim(n, *TWO) for n in range(3)])) == ["d-2"]
    assert [round(one.open_most * SCALE) for one in store.balances()] == [2, 2]


def test_the_last_ranked_candidate_that_needs_what_is_missing_gives_way(store: Any) -> None:
    holds = tuple(
        Hold(f"r{n}", name, 99, (draw,))
        for n, (name, draw) in enumerate([("first", units(amount=1)), ("second", units(amount=1)), ("third", TWO[1])])
    )
    assert store.reserve([Claim("d", "m", 1, holds)]) == {"d": ("second",)}
    assert all(one.open_most == 0 for one in store.balances())


def test_the_same_decision_reserves_once(store: Any) -> None:
    for _ in range(3):
        assert store.reserve([claim(1, units())]) == {}
    assert of(store).open_count == 1


def test_a_right_draws_but_is_not_refused(store: Any) -> None:
    assert store.reserve([claim(n, units(amount=1), forced=True) for n in range(3)]) == {}
    assert of(store).open_count == 3
    assert list(store.reserve([claim(9, units(amount=1))])) == ["d-9"]


def test_a_member_gets_no_more_than_the_cap_and_the_clock_set_back_mints_nothing(store: Any) -> None:
    def at(n: int, moment: int, member: str = "m") -> Claim:
        return claim(n, member=member, at=moment, caps=(Cap("c", 2, moment - 100),))

    assert list(store.reserve([at(1, 1000), at(2, 1010), at(3, 1020)])) == ["d-3"]
    assert store.reserve([at(4, 1020, "other")]) == {}
    assert list(store.reserve([at(5, 500)])) == ["d-5"]  # what lies ahead counts too
    assert store.reserve([at(6, 1101)]) == {}
    store.release("r-6", 1102)
    assert store.reserve([at(7, 1102)]) == {}


def test_commit_spends_once_and_release_takes_it_back_once(store: Any) -> None:
    store.reserve([claim(1, money(5, 0.5, 100))])
    for _ in range(2):
        assert store.commit("r-1", 20, Given(money=3.5)).state == "committed"
    assert (of(store).spent, of(store).open_most, of(store).open_mean, of(store).open_count) == (3.5, 0, 0, 0)
    for _ in range(2):
        assert store.release("r-1", 30).state == "released"
    assert of(store).spent == 0.0
    assert store.commit("r-1", 40, Given()).reason == "RELEASED"


def test_what_is_unknown_late_or_over_is_refused_with_its_reason(store: Any) -> None:
    hard = Draw("b", 0, 10 * SCALE, 0, 4 * SCALE, "money", 4 * SCALE, 1.0, 1.0, 1.0)
    store.reserve([claim(1, hard), claim(2, hard)])
    assert store.commit("nobody", 20, Given()).reason == "UNKNOWN"
    assert store.commit("r-1", 20, Given(money=6.5)).reason == "OVER_BUDGET"
    assert of(store).open_count == 2
    assert store.commit("r-1", 20, Given(money=6.0)).state == "committed"
    assert store.commit("r-2", 110, Given()).reason == "EXPIRED"
    assert store.sweep(109).expired == 0
    assert store.sweep(110).expired == 1
    assert store.commit("r-2", 20, Given()).reason == "EXPIRED"  # also by a clock that was set back
    assert store.release("r-2", 20).state == "expired"


def test_what_happened_is_spent_even_where_it_was_let_go(store: Any) -> None:
    sure = Draw("b", 0, 100 * SCALE, 2 * SCALE, 5 * SCALE, "money", 5 * SCALE, 1.0, 1.0, 1.0)
    store.reserve([claim(1, sure), claim(2, sure)])
    store.sweep(500)
    assert of(store).spent == 4.0  # contacts were made
    assert store.commit("r-1", 600, Given(money=4.0), fact=True).state == "committed"
    assert of(store).spent == 8.0
    assert of(store).open_count == 0


def test_a_period_has_its_own_amount_and_going_back_to_one_finds_it_as_it_was(store: Any) -> None:
    for n, period in enumerate([0, 0, 7, 0, 7, 7]):
        store.reserve([claim(n, units(amount=2, period=period))])
    assert [(one.period, one.granted, one.refused) for one in store.balances()] == [(0, 2, 1), (7, 2, 1)]


def test_money_is_reserved_by_its_quantile_and_in_full_where_hard(store: Any) -> None:
    # 100 responses of 1 with p = 0.1: mean 10, sd 3, third 7.2; z = 3.0902, so 10 + 9.271 + 1.1376 + … = 20.41
    claims = [claim(n, money(1, 0.1, 20.42)) for n in range(120)]
    refused = store.reserve(claims)
    z = 3.090232306167813
    quantile = 10 + z * 3 + (z * z - 1) / 6 * 7.2 / 9
    assert quantile == pytest.approx(20.41, abs=0.01)
    assert 120 - len(refused) == 100
    hard = [claim(1000 + n, Draw("h", 0, 20 * SCALE, 0, SCALE, "money", SCALE, 1e3, 9e6, 7e10)) for n in range(30)]
    assert len(store.reserve(hard)) == 10


def test_more_redemptions_than_expected_make_a_budget_careful(store: Any) -> None:
    store.reserve([claim(n, money(1, 0.1, 1e6), expires_at=50) for n in range(400)])
    for n in range(80):
        store.commit(f"r-{n}", 20, Given())
    assert of(store).safety == 1.0
    while store.sweep(60).matured:
        pass
    assert of(store).safety == pytest.approx((80 + 10) / (40 + 10))


CLAIMS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=25,
)


@given(CLAIMS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_it_is_as_if_claims_came_one_after_another(store: Any, wanted: Any) -> None:
    import uuid

    run = uuid.uuid4().hex  # budgets and decisions of this example alone
    amounts = dict.fromkeys("abc", 12)
    used = dict.fromkeys("abc", 0)
    held: dict[str, int] = {}
    claims, expected = [], []
    for n, (member, draws, forced) in enumerate(wanted):
        mine = tuple(
            units(count, amounts[name], f"{run}-{name}") for name, count, _ in {d[0]: d for d in draws}.values()
        )
        cap = (Cap(f"{run}-k", 5, 0),)
        claims.append(Claim(f"{run}-{n}", f"m{member}", 10, (Hold(f"{run}-r{n}", "c", 99, mine, cap, forced),)))
        after = {name: used[name] + count for name, count, _ in {d[0]: d for d in draws}.values()}
        fits = forced or (
            held.get(f"m{member}", 0) < 5 and all(total <= amounts[name] for name, total in after.items())
        )
        if fits:
            used.update(after)
            held[f"m{member}"] = held.get(f"m{member}", 0) + (not forced)
        else:
            expected.append(f"{run}-{n}")
    assert sorted(store.reserve(claims)) == sorted(expected)
    found = {one.budget_id[-1]: round(one.open_most * SCALE) for one in store.balances() if one.budget_id[:-2] == run}
    assert found == {name: used[name] for name in found}
