"""Peers beside ours: the same members, the same figures, equal budgets; who fails is named with the reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.peers import answering, environment
from experiments.peers.environment import Desk, PeersError, desk, python_of
from experiments.peers.rivals import RIVALS
from experiments.peers.side_by_side import Budget, answer, purchases, ranked, side_by_side, sold
from training.evaluation import given
from training.evaluation.contest import Terms, contest
from training.evaluation.lists import Question
from training.folds import inside
from training.protocols import Split
from training.search import Between


def _bought() -> pd.DataFrame:
    """Two tastes: even members buy of products 0–9, odd ones of 10–19; product 20 is everybody's."""
    rng = np.random.default_rng(6)
    rows = [
        (member, 10 * (member % 2) + int(rng.integers(0, 10)) if rng.random() < 0.8 else 20, day)
        for member in range(80)
        for day in np.sort(rng.uniform(0, 100, 20))
    ]
    frame = pd.DataFrame(rows, columns=["member_id", "product_id", "day"])
    frame["occurred_at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return frame


@pytest.fixture(scope="module")
def split() -> Split:
    return given.cut(_bought(), None, None, "time", days=20, share=0.25, seed=0)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """This interpreter has implicit, and neither cornac nor RecTools."""
    with (tmp_path_factory.mktemp("peers") / "log").open("w") as errors, desk(Path(sys.executable), errors) as found:
        yield found


def test_a_peer_is_judged_on_the_same_members_in_the_same_parts(split: Split, here: Desk, tmp_path: Path) -> None:
    asked = contest(split, {}, Terms(k=5, draws=2)).questions
    rival = RIVALS["implicit_als"]
    found = answer(rival, {**rival.defaults, "factors": 8}, split, asked, here, 0, 5, tmp_path)
    assert not found.skipped
    assert found.fit_seconds > 0
    seen = split.before.counts.toarray() > 0
    for question in asked:
        lists = found.lists[question.part]
        assert len(lists) == len(found.figures[question.part]["ndcg"]) == len(question.rows)
        rows, ranks = np.nonzero(lists >= 0)
        bought = seen[question.rows[rows], lists[rows, ranks]]
        assert {"repeat": bought.all(), "explore": not bought.any(), "all": bought.any()}[question.part]


def test_a_peer_that_fails_did_not_run_and_the_others_go_on(split: Split, here: Desk) -> None:
    inner = inside(split, days=20, share=0.25, seed=0)
    found = side_by_side(
        split, inner, {"item_item": {}}, ["cornac_bpr", "implicit_bm25"], here, Budget(trials=3), Terms(k=5, draws=20)
    )
    table = found.evaluation.table
    everybody = table[(table["group"] == "everybody") & (table["part"] == "all") & table["ndcg"].notna()]
    assert set(everybody["recipe"]) == {
        "popularity",
        "item_item",
        "item_item (tuned)",
        "implicit_bm25",
        "implicit_bm25 (tuned)",
    }
    assert everybody["members"].nunique() == 1
    assert found.evaluation.skipped["cornac_bpr"].startswith("did not run: ModuleNotFoundError")
    assert found.settings["implicit_bm25"] == RIVALS["implicit_bm25"].defaults
    assert found.settings["cornac_bpr (tuned)"] == RIVALS["cornac_bpr"].defaults


def test_what_is_tuned_on_was_never_asked_for(split: Split) -> None:
    inner = inside(split, days=20, share=0.25, seed=0)
    assert inner.before.at < split.before.at
    assert inner.before.bought_at.max() <= inner.before.seconds
    assert len(inner.before.buys) + inner.counts["pairs_asked"] <= len(split.before.buys)


def test_a_process_that_ends_is_a_reason_and_the_next_peer_gets_a_new_one() -> None:
    program = "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"
    assert sys.__stderr__ is not None
    dies_at_once = Desk([sys.executable, "-c", program], sys.__stderr__)
    try:
        for _ in range(2):
            assert dies_at_once.ask({"peer": "any"})["reason"].startswith("the process ended with -9")
    finally:
        dies_at_once.close()


def test_lists_come_back_in_the_order_of_the_question() -> None:
    question = Question("explore", np.array([2, 5, 9]), None, "new to the member")
    lists = pd.DataFrame(
        {"mask": ["new", "new", "new", "any"], "row": [9, 2, 9, 5], "rank": [2, 1, 1, 1], "column": [40, 10, 30, 7]}
    )
    assert ranked(lists, question, 2).tolist() == [[10, -1], [-1, -1], [30, 40]]


def test_peers_see_only_products_that_somebody_bought(split: Split) -> None:
    some = given.cut(_bought(), None, None, "leave_one_out", days=20, share=0.25, seed=0)
    frame = purchases(some.before)
    assert frame["column"].max() == len(sold(some.before)) - 1
    assert frame["count"].sum() == some.before.counts.sum()
    assert len(sold(split.before)) == len(np.unique(split.before.buys[:, 1]))


def test_every_rival_has_a_function_and_ranges_that_hold_its_defaults() -> None:
    assert set(RIVALS) == set(answering.PEERS)
    for rival in RIVALS.values():
        assert set(rival.space) == set(rival.defaults)
        for name, value in rival.defaults.items():
            given_ = rival.space[name]
            inside_ = given_.low <= value <= given_.high if isinstance(given_, Between) else value in given_.values
            assert inside_, (rival.name, name)


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeersError, match="uv is not installed"):
        python_of(tmp_path / "none")
    assert environment.SCRIPT.exists()
