"""The book of one member: a worked roll-back and debt, and the law on random histories in random order."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import points
from features.ledger.book import Kind, Movement, play
from tests.features.test_points import day


def move(kind: Kind, key: str, at: float, size: float, lot: str | None = None, **more: Any) -> Movement:
    life = {"a": 90.0, "b": 90.0, "c": 20.0}.get(lot or "", 90.0)
    ends = day(at + life) if kind == "earn" else None
    return Movement(kind, key, day(at), day(at), size, lot, ends, **more)


def told(*moves: Movement, upto: float = 60.0) -> list[tuple[str, str, float]]:
    return [(e["type"], e["lot_id"], e["points"]) for e in play(moves, day(upto)).entries]


def test_what_expires_soonest_is_used_first() -> None:
    moves = [move("earn", "1", 0, 30, "a"), move("earn", "2", 5, 30, "c"), move("redeem", "w", 6, 40)]
    assert told(*moves)[2:] == [("redeem", "c", -30), ("redeem", "a", -10)]


def test_a_roll_back_returns_points_to_their_lots_and_what_is_out_of_time_expires_at_once() -> None:
    moves = [
        *(move("earn", "1", 0, 30, "a"), move("earn", "2", 1, 30, "c"), move("redeem", "w", 6, 40)),
        move("restore", "back", 30, 40, restores="w"),
    ]
    assert told(*moves)[4:] == [("redeem", "a", 10), ("redeem", "c", 30), ("expire", "c", -30)]


def test_spent_points_of_a_return_are_owed_by_the_open_lots_and_then_by_the_next() -> None:
    moves = [
        *(move("earn", "1", 0, 50, "a"), move("redeem", "w", 1, 50), move("earn", "2", 2, 20, "b")),
        *(move("reverse", "r", 3, 50, "a"), move("earn", "3", 4, 40, "d")),
    ]
    found = told(*moves)
    assert found[3:] == [("reverse", "b", -20), ("earn", "d", 40), ("reverse", "d", -30)]
    assert play(moves, day(60)).debt == 0
    assert play(moves[:4], day(60)).debt == 30


def test_points_that_expired_unspent_are_owed_by_nobody() -> None:
    moves = [move("earn", "1", 0, 50, "c"), move("redeem", "w", 1, 10), move("reverse", "r", 30, 50, "c")]
    assert play(moves, day(60)).debt == 10


def test_a_lot_that_pays_one_debt_twice_does_so_in_two_entries() -> None:
    moves = [
        *(move("earn", "1", 0, 50, "a"), move("redeem", "w", 1, 50), move("reverse", "r", 2, 50, "a")),
        *(move("adjust", "2", 3, 10, "b"), move("adjust", "3", 4, 10, "b")),
    ]
    ids = [entry["entry_id"] for entry in play(moves, day(60)).entries]
    assert len(set(ids)) == len(ids) == 6


KINDS: tuple[Kind, ...] = ("reverse", "redeem", "restore", "adjust")
MOVES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 120), st.integers(1, 80), st.sampled_from("abcd")), max_size=14
)
EARNS = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 90), st.integers(5, 60)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    EARNS, MOVES, st.randoms(use_true_random=False), st.tuples(st.integers(-1, 160), st.integers(-1, 160)).map(sorted)
)
def test_the_law_holds_for_every_lot_and_the_order_of_coming_says_nothing(
    earns: list[tuple[int, int, int]],
    others: list[tuple[Kind, int, int, str]],
    rng: random.Random,
    stretch: list[int],
) -> None:
    lots = [
        Movement("earn", f"e{lot}", day(at), day(at), size, lot, day(at) + timedelta(days=life))
        for lot, (at, size, life) in zip("abcd", earns, strict=False)
    ]
    redemptions = [f"w{i}" for i, other in enumerate(others) if other[0] == "redeem"]
    moves = [
        Movement(
            kind, f"w{i}", day(at), day(at + i % 3), size, None if kind in ("redeem", "restore") else lot,
            restores=rng.choice(redemptions) if kind == "restore" and redemptions else None,
        )
        for i, (kind, at, size, lot) in enumerate(others)
    ]  # fmt: skip
    played = play([*lots, *moves], day(130))
    mixed = [*lots, *moves, *rng.sample(lots, len(lots) // 2), *rng.sample(moves, len(moves) // 2)]
    rng.shuffle(mixed)
    assert play(mixed, day(130)) == played
    assert len({entry["entry_id"] for entry in played.entries}) == len(played.entries)
    held: dict[str, float] = defaultdict(float)
    spent: dict[str, float] = defaultdict(float)
    before = day(-5)
    for entry in played.entries:
        assert entry["occurred_at"] >= before
        before = entry["occurred_at"]
        held[entry["lot_id"]] += entry["points"]
        spent[entry["lot_id"]] -= entry["points"] * (entry["type"] == "redeem")
        assert held[entry["lot_id"]] >= 0
        assert spent[entry["lot_id"]] >= 0
    for lot in lots:
        assert lot.expires_at is not None
        if lot.expires_at <= day(130):
            assert held[lot.lot_id or ""] == 0
    table = points.statement(pd.DataFrame(played.entries), day(stretch[0]), day(stretch[1]))
    moved = table["opening"] + table["issued"] - table["redeemed"] - table["expired"] - table["reversed"]
    assert (moved == table["closing"]).all()
    asked = sum(one.points for one in moves if one.kind == "reverse")
    taken = -sum(entry["points"] for entry in played.entries if entry["type"] == "reverse")
    assert 0 <= played.debt <= asked - taken


def test_a_later_horizon_only_adds_entries() -> None:
    moves = [move("earn", "1", 0, 50, "a"), move("redeem", "w", 10, 20), move("reverse", "r", 30, 50, "a")]
    short, long = play(moves, day(20)).entries, play(moves, day(200)).entries
    assert long[: len(short)] == short
    assert [entry["type"] for entry in long] == ["earn", "redeem", "reverse"]


def test_a_movement_of_an_unknown_lot_moves_nothing() -> None:
    assert told(move("reverse", "r", 0, 5, "nowhere"), move("restore", "x", 1, 5, restores="nothing")) == []


@pytest.mark.parametrize("wanted", [0.5, 50.0, 51.0])
def test_a_redemption_takes_what_there_is(wanted: float) -> None:
    moves = [move("earn", "1", 0, 50, "a"), move("redeem", "w", 1, wanted)]
    assert told(*moves)[1:] == [("redeem", "a", -min(wanted, 50.0))]
