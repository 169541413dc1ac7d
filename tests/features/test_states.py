from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import behavior
from features.finishing import finisher
from features.member_states import state_blobs
from features.states import State, StateError, decode, decode_taste, empty, encode_taste
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write
from training.interactions import build

LATER = {"at once": timedelta(0), "26 hours later": timedelta(hours=26), "40 days later": timedelta(days=40)}
finish = finisher(behavior.definitions(PROGRAMME))


def states(tables: Path, at: datetime = T0, members: list[str] | None = None) -> dict[str, State]:
    return {member: decode(blob) for member, blob, _ in state_blobs(tables, at, PROGRAMME, members)}


def known_by(tables: Mapping[str, pd.DataFrame], at: datetime) -> dict[str, pd.DataFrame]:
    return {name: frame if name == "products" else frame[frame["known_at"] <= at] for name, frame in tables.items()}


def assert_same(tables: Path, found: Mapping[str, State], members: list[str], at: datetime) -> None:
    offline = behavior.historical(tables, pairs(members, at), PROGRAMME).set_index("member_id")
    for member in members:
        online = finish(found.get(member, empty()), at)
        expected = offline.loc[member, list(behavior.names(PROGRAMME))].to_numpy(dtype=np.float64)
        np.testing.assert_allclose(online, expected, rtol=1e-12, atol=0, err_msg=member)


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_stored_state_finishes_to_what_training_computes(tmp_path: Path, seed: int, later: str) -> None:
    """Also with facts that are known already and happen only between the two moments."""
    tables = known_by(drawn(seed, ends=T0 + timedelta(days=5)), T0)
    future = (
        tables["purchases"]
        .head(40)
        .assign(purchase_id=lambda frame: "f-" + frame["purchase_id"], occurred_at=T0 + timedelta(days=3), known_at=T0)
    )
    tables["purchases"] = pd.concat([tables["purchases"], future], ignore_index=True)
    write(tmp_path, tables)
    members = [*sorted(tables["members"]["member_id"]), "nobody"]
    assert_same(tmp_path, states(tmp_path), members, T0 + LATER[later])


def test_late_rows_are_there_once_the_state_is_made_again(tmp_path: Path) -> None:
    tables = drawn(4, ends=T0 + timedelta(days=20))
    write(tmp_path, tables)
    members = sorted(tables["members"]["member_id"])
    at = T0 + timedelta(days=30)
    old, new = states(tmp_path), states(tmp_path, at)
    assert_same(tmp_path, new, members, at)
    assert (
        sum(not np.array_equal(finish(old[m], at), finish(new[m], at), equal_nan=True) for m in members if m in old)
        > 20
    )


@given(seed=st.integers(100, 10_000), days=st.floats(0, 800), microseconds=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_both_engines_agree_on_any_history_at_any_later_moment(
    tmp_path_factory: pytest.TempPathFactory, seed: int, days: float, microseconds: int
) -> None:
    tables = known_by(drawn(seed, n_members=6, days=1400), T0)
    folder = write(tmp_path_factory.mktemp("drawn"), tables)
    at = T0 + timedelta(days=days, microseconds=microseconds)
    assert_same(folder, states(folder), sorted(tables["members"]["member_id"]), at)


@pytest.mark.parametrize("days", [30, 90, 365])
@pytest.mark.parametrize("microseconds", [-1, 0, 1])
def test_both_engines_cut_a_window_at_the_same_microsecond(tmp_path: Path, days: int, microseconds: int) -> None:
    bought = T0 - timedelta(days=days) + timedelta(microseconds=microseconds)
    rows = {"member_id": "m", "occurred_at": bought}
    write(
        tmp_path,
        {
            "purchases": typed("purchases", [{**rows, "basket_id": "b"}]),
            "engagements": typed("engagements", [{**rows, "type": "review"}]),
        },
    )
    assert_same(tmp_path, states(tmp_path), ["m"], T0)
    index = behavior.names(PROGRAMME).index(f"baskets_{days}d")
    assert finish(states(tmp_path)["m"], T0)[index] == (1 if microseconds > 0 else 0)


def test_a_moment_may_be_given_as_epoch_seconds(tmp_path: Path) -> None:
    write(tmp_path, drawn(1, n_members=5))
    state = states(tmp_path)["m0001"]
    at = T0 + timedelta(microseconds=123_457)
    np.testing.assert_array_equal(finish(state, at), finish(state, at.timestamp()))


def test_states_do_not_depend_on_how_many_members_are_made_at_once(tmp_path: Path) -> None:
    write(tmp_path, drawn(6, n_members=20))
    whole = states(tmp_path)
    pieces = {m: decode(b) for m, b, _ in state_blobs(tmp_path, T0, PROGRAMME, members_at_once=3)}
    alone = states(tmp_path, members=["m0004"])
    assert whole.keys() == pieces.keys()
    for member, state in whole.items():
        np.testing.assert_array_equal(finish(state, T0), finish(pieces[member], T0))
        assert state.products()[0] == pieces[member].products()[0]
    np.testing.assert_array_equal(finish(alone["m0004"], T0), finish(whole["m0004"], T0))


def test_the_products_of_a_state_are_those_a_recipe_learns_from(tmp_path: Path) -> None:
    tables = drawn(8, n_members=30)
    write(tmp_path, tables)
    learned = build(tables["purchases"], tables["products"], tables["members"], T0)
    compared = 0
    for member, state in states(tmp_path).items():
        row = learned.member_ids.tolist().index(member)
        columns = learned.counts[row].indices
        expected = dict(zip(learned.product_ids[columns], learned.counts[row].data, strict=True))
        last = dict(zip(learned.product_ids[columns], learned.last_at[row].data, strict=True))
        ids, times, last_at = state.products()
        assert dict(zip(ids, times, strict=True)) == expected
        assert dict(zip(ids, last_at, strict=True)) == last
        compared += len(ids)
    assert compared > 200


def test_a_state_carries_consents_region_and_the_years_categories(tmp_path: Path) -> None:
    first = {"member_id": "m", "occurred_at": T0 - timedelta(days=90), "region": "north", "consent_sms": False}
    moved = {**first, "occurred_at": T0 - timedelta(days=5), "region": "süd", "consent_email": False}
    bought = {"member_id": "m", "basket_id": "b", "occurred_at": T0 - timedelta(days=300), "product_id": "milk"}
    write(
        tmp_path,
        {
            "members": typed("members", [moved, first]),
            "products": typed("products", [{"product_id": "milk", "category": "dairy"}]),
            "purchases": typed("purchases", [bought]),
        },
    )
    state = states(tmp_path)["m"]
    assert state.region == "süd"
    assert state.consents == {"personalisation": True, "email": False, "sms": False, "push": True, "call": True}
    assert state.categories(T0.timestamp()) == {"dairy"}
    assert state.categories((T0 + timedelta(days=66)).timestamp()) == frozenset()
    earlier = states(tmp_path, T0 - timedelta(days=10))["m"]
    assert (earlier.region, earlier.consents["email"]) == ("north", True)


def test_a_member_of_whom_nothing_is_known_yet_has_no_state(tmp_path: Path) -> None:
    write(tmp_path, {"members": typed("members", [{"member_id": "m", "occurred_at": T0}])})
    assert list(states(tmp_path, T0 - timedelta(seconds=1))) == []
    enrolled = states(tmp_path, T0)["m"]
    assert enrolled.consents["email"]
    assert enrolled.product_ids == ()
    assert empty().consents == {}


def test_no_tables_give_no_states(tmp_path: Path) -> None:
    assert states(tmp_path / "nothing") == {}
    assert states(tmp_path / "nothing", members=["m"]) == {}


def test_a_state_that_was_cut_off_or_made_for_other_relations_is_refused(tmp_path: Path) -> None:
    write(tmp_path, drawn(1, n_members=3))
    blob = next(blob for member, blob, _ in state_blobs(tmp_path, T0, PROGRAMME) if member == "m0001")
    for length in range(len(blob)):
        with pytest.raises(StateError):
            decode(blob[:length])
    with pytest.raises(StateError, match="cut off"):
        decode(blob + b"x")
    with pytest.raises(StateError, match="materialise again"):
        decode(b"abcd" + blob[4:])


def test_a_vector_comes_back_with_its_version_and_time() -> None:
    vector = np.array([0.5, -1.0, 3.0], dtype=np.float32)
    version, found, at_us = decode_taste(encode_taste("taste-7", vector, 1_700_000_000_000_001))
    assert (version, at_us) == ("taste-7", 1_700_000_000_000_001)
    np.testing.assert_array_equal(found, vector)
