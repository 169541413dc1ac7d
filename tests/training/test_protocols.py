"""Every way to cut a history, on purchases small enough to see the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from training.evaluation.given import cut, ledger, typed
from training.folds import inside
from training.ledger import Ledger
from training.protocols import ProtocolError, Split, by_name, made_elsewhere

START = datetime(2024, 1, 1, tzinfo=UTC)
ENDS_AT = START + timedelta(days=100)
BOUGHT = [
    ("ann", "milk", 0),
    ("ann", "bread", 0),
    ("ann", "milk", 50),
    ("ann", "milk", 90),
    ("ann", "tea", 90),
    ("bob", "milk", 10),
    ("bob", "tea", 20),
    ("bob", "beer", 30),
    ("cyd", "beer", 95),
    ("cyd", "milk", 95),
]


def _frame(rows: list[tuple[str, str, int]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["member_id", "product_id", "day"])
    found["occurred_at"] = pd.Timestamp(START) + pd.to_timedelta(found.pop("day"), unit="D")
    return found


def _ledger(rows: list[tuple[str, str, int]]) -> Ledger:
    return ledger(typed(_frame(rows)))


def _cut(name: str, rows: list[tuple[str, str, int]] = BOUGHT, share: float = 0.25, seed: int = 0) -> Split:
    return by_name(name, _ledger(rows), ENDS_AT, days=20, share=share, seed=seed)


def _pairs(split: Split, matrix: Any = None) -> set[tuple[str, str]]:
    rows, columns = (split.bought if matrix is None else matrix).nonzero()
    before = split.before
    return {(str(before.member_ids[r]), str(before.product_ids[c])) for r, c in zip(rows, columns, strict=True)}


def test_by_time_everybody_is_asked_at_one_moment_and_those_unknown_then_are_counted() -> None:
    split = _cut("time")
    assert split.before.at == START + timedelta(days=80)
    assert _pairs(split) == {("ann", "milk"), ("ann", "tea")}
    assert _pairs(split, split.repeat()) == {("ann", "milk")}
    assert _pairs(split, split.explore()) == {("ann", "tea")}
    assert split.asked is split.before
    assert dict(split.counts) == {
        "members": 2,
        "products": 4,
        "purchases_before": 6,
        "pairs_before": 5,
        "members_asked": 1,
        "pairs_asked": 2,
        "unknown_members": 1,
        "unknown_products_share": 0.0,
    }


def test_by_lot_a_share_of_the_products_of_each_member_is_hidden_with_all_their_purchases() -> None:
    rows = [("ann", f"p{i}", day) for i in range(8) for day in (1, 2)] + [("bob", "p0", 1)]
    split = _cut("random", rows)
    assert [split.bought[row].nnz for row in range(2)] == [2, 0]
    assert split.before.counts[0].nnz == 6
    assert not _pairs(split, split.repeat())
    assert split.unseen_only
    assert _pairs(split) == _pairs(_cut("random", rows))
    assert len({frozenset(_pairs(_cut("random", rows, seed=seed))) for seed in range(8)}) > 3


def test_the_share_is_rounded_for_each_member_as_in_the_published_stratified_split() -> None:
    rows = [("ann", f"p{i}", 1) for i in range(10)] + [("bob", f"p{i}", 1) for i in range(5)]
    split = _cut("random", rows)
    assert [split.bought[row].nnz for row in range(2)] == [10 - round(7.5), 5 - round(3.75)]


def test_the_last_basket_is_hidden_and_asked_for_at_its_own_moment() -> None:
    split = _cut("last_basket")
    assert _pairs(split) == {("ann", "milk"), ("ann", "tea"), ("bob", "beer")}
    assert _pairs(split, split.before.counts) == {
        ("ann", "milk"),
        ("ann", "bread"),
        ("bob", "milk"),
        ("bob", "tea"),
        ("cyd", "beer"),
        ("cyd", "milk"),
    }
    age = (split.asked.seconds - split.asked.last_at[:2].toarray()) / 86_400
    bread, milk, tea = (split.before.product_ids.tolist().index(name) for name in ("bread", "milk", "tea"))
    assert age[0, [milk, bread]].tolist() == [40.0, 90.0]
    assert age[1, [milk, tea]].tolist() == [20.0, 10.0]
    assert split.before.last_at.max() < split.asked.last_at.max()


def test_a_basket_whose_lines_have_several_times_is_one_basket() -> None:
    frame = _frame([("ann", "milk", 1), ("ann", "tea", 5), ("ann", "beer", 6), ("bob", "tea", 3)])
    split = by_name(
        "last_basket",
        ledger(typed(frame.assign(basket_id=["a", "b", "b", "c"]))),
        ENDS_AT,
        days=1,
        share=0.5,
        seed=0,
    )
    assert _pairs(split) == {("ann", "tea"), ("ann", "beer")}


def test_leave_one_out_hides_the_product_bought_last_and_of_one_moment_the_last_by_id() -> None:
    split = _cut("leave_one_out")
    assert _pairs(split) == {("ann", "tea"), ("bob", "beer"), ("cyd", "milk")}
    assert not _pairs(split, split.repeat())


def test_who_has_one_product_only_keeps_it() -> None:
    split = _cut("leave_one_out", [("ann", "milk", 1), ("ann", "milk", 9), ("bob", "milk", 2), ("bob", "tea", 3)])
    assert _pairs(split) == {("bob", "tea")}


@pytest.mark.parametrize(
    ("later", "inner", "said"),
    [
        ([("ann", "tea", 99), ("bob", "milk", 96)], "time", "by time"),
        ([("ann", "tea", 91), ("bob", "milk", 40)], "last_basket", "each member's latest"),
        ([("ann", "tea", 91), ("bob", "milk", 15)], "purchases", "not by time"),
        ([("ann", "beer", 91), ("cyd", "tea", 15)], "random", "not by time"),
    ],
)
def test_a_split_made_elsewhere_is_recognised_by_its_times(
    later: list[tuple[str, str, int]], inner: str, said: str
) -> None:
    split = made_elsewhere(_ledger(BOUGHT), typed(_frame(later)).purchases, timed=True)
    assert split.inner == inner
    assert said in split.said
    assert _pairs(split) == {(member, product) for member, product, _ in later}
    ages = split.asked.seconds - split.asked.last_at.data
    assert (ages >= 0).all()


def test_a_split_without_times_asks_all_at_the_one_moment_there_is() -> None:
    train = typed(_frame(BOUGHT).drop(columns="occurred_at"))
    test = typed(_frame([("ann", "beer", 0), ("eve", "tea", 0)]).drop(columns="occurred_at"))
    split = made_elsewhere(ledger(train), test.purchases, timed=False)
    assert split.inner == "random"
    assert _pairs(split) == {("ann", "beer")}
    assert split.counts["unknown_members"] == 1
    assert (split.before.last_at.data == split.before.seconds).all()
    milk = split.before.product_ids.tolist().index("milk")
    assert split.before.counts[0, milk] == 3


def test_where_nobody_ever_bought_twice_lists_hold_only_new_products() -> None:
    assert not _cut("time").unseen_only
    once = [row for row in BOUGHT if row[2] != 50]
    assert _cut("time", [*once, ("bob", "bread", 99)]).unseen_only


@pytest.mark.parametrize(
    ("name", "rows", "share", "said"),
    [
        ("weekly", BOUGHT, 0.25, 'protocol "weekly" is unknown; use one of time, random'),
        ("time", BOUGHT[8:], 0.25, "no purchase before 2024-03-21"),
        ("random", BOUGHT, 1.5, "share 1.5: must lie between 0 and 1"),
        ("last_basket", BOUGHT[:2], 0.25, "no member has enough purchases"),
        ("leave_one_out", BOUGHT[:1], 0.25, "no member has enough purchases"),
        ("time", BOUGHT[:3], 0.25, "no member known before bought"),
    ],
)
def test_a_history_that_cannot_be_cut_so_is_refused(
    name: str, rows: list[tuple[str, str, int]], share: float, said: str
) -> None:
    with pytest.raises(ProtocolError, match=said):
        _cut(name, rows, share)


def test_ids_of_any_type_are_the_same_ids() -> None:
    whole = typed(pd.DataFrame({"u": [1, 2], "i": ["a", "b"]}), {"member": "u", "product": "i"})
    halves = typed(pd.DataFrame({"u": [1.0, 2.0], "i": ["a", "b"]}), {"member": "u", "product": "i"})
    assert whole.purchases["member_id"].tolist() == halves.purchases["member_id"].tolist() == ["1", "2"]


def test_times_may_be_seconds_milliseconds_or_text() -> None:
    moment = 1_700_000_000
    frames = [
        pd.DataFrame({"member_id": ["a"], "product_id": ["b"], "occurred_at": [when]})
        for when in (moment, moment * 1000, np.datetime64(moment, "s"), "2023-11-14T22:13:20Z")
    ]
    assert {typed(frame).purchases["occurred_at"].iloc[0] for frame in frames} == {
        pd.Timestamp(moment, unit="s", tz="UTC")
    }


def test_one_time_for_all_is_no_time_and_lines_of_it_are_no_one_basket() -> None:
    rows = [("ann", "milk", 5), ("ann", "milk", 5), ("ann", "tea", 5), ("bob", "tea", 5)]
    given = typed(_frame(rows))
    assert not given.tells_order
    assert typed(_frame(BOUGHT)).tells_order
    assert cut(_frame(rows), _frame([("ann", "milk", 5)]), None, "time", days=1, share=0.2, seed=0).inner == "purchases"
    known = ledger(given).at(given.ends_at)
    assert known.counts.toarray().tolist() == [[2, 1], [0, 1]]
    with pytest.raises(ProtocolError, match="with times that differ; without there is only random"):
        cut(_frame(rows), None, None, "time", days=1, share=0.2, seed=0)


def test_a_fold_inside_a_split_by_single_purchases_is_one_too() -> None:
    later = _frame([("ann", "tea", 91), ("bob", "milk", 15)])
    outer = made_elsewhere(_ledger(BOUGHT), typed(later).purchases, timed=True)
    fold = inside(outer, days=10, share=0.25, seed=0)
    assert fold.inner == "purchases"
    held = len(outer.before.buys) - len(fold.before.buys)
    assert held == 2  # 1 of ann's 5, 1 of bob's 3 (0.75 rounded), none of cyd's 2 (0.5 rounded to even)
