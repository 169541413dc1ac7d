"""Peers beside ours: the same members, the same figures, equal budgets; who fails is named with the reason."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.peers import answering, environment, standing, trials
from experiments.peers.environment import Desk, PeersError, desk, own_desk, python_of
from experiments.peers.records import Answered, Records, RecordsError, Session, Trial
from experiments.peers.rivals import RIVALS
from experiments.peers.side_by_side import Desks, Task, answer, purchases, ranked, side_by_side, sold
from experiments.peers.trials import Budget
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
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desks]:
    """This interpreter has implicit, and neither cornac nor RecTools."""
    with (
        (tmp_path_factory.mktemp("peers") / "log").open("w") as errors,
        desk(Path(sys.executable), errors) as theirs,
        own_desk(errors) as ours,
    ):
        yield Desks(theirs, ours)


ENTRANTS = (trials.recipe("item_item", {"neighbours": 20}), trials.peer("cornac_bpr"), trials.peer("implicit_bm25"))
TERMS = Terms(k=5, draws=20)


@dataclass
class _Stops:
    """A run that is killed after so many lines."""

    after: int

    def __call__(self, _: str) -> None:
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def _run(split: Split, here: Desks, folder: Path, told: Callable[[str], None], **budget: int) -> Records:
    records = Records(folder)
    inner = inside(split, days=20, share=0.25, seed=0)
    given_ = Budget(**{"trials": 3, **budget})
    names = {one.rival.name: one.given for one in ENTRANTS}
    seeds = tuple(range(given_.seeds))
    with records.held():
        records.begin(Session({"split": "one"}, {}, names, given_.trials, seeds, {}, inner.said))
        side_by_side(split, inner, ENTRANTS, here, records, given_, TERMS, told)
    return records


def _without_seconds(line: Trial | Answered) -> dict[str, object]:
    return {name: value for name, value in asdict(line).items() if "seconds" not in name}


@pytest.fixture(scope="module")
def whole(split: Split, here: Desks, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """A run that nothing interrupted, with two seeds."""
    return _run(split, here, tmp_path_factory.mktemp("whole"), lambda _: None, seeds=2)


@pytest.mark.parametrize("name", ["implicit_als", "item_item"])
def test_everybody_is_judged_on_the_same_members_in_the_same_parts(
    split: Split, here: Desks, tmp_path: Path, name: str
) -> None:
    entrant = trials.peer(name) if name in RIVALS else trials.recipe(name, {})
    task = Task.written(split, TERMS, tmp_path)
    found, _ = answer(entrant, {**entrant.given, "factors": 8} if name in RIVALS else {}, task, here, 0)
    assert not found.skipped
    assert found.fit_seconds > 0
    seen = split.before.counts.toarray() > 0
    for question in task.asked:
        lists = found.lists[question.part]
        assert len(lists) == len(found.figures[question.part]["ndcg"]) == len(question.rows)
        rows, ranks = np.nonzero(lists >= 0)
        bought = seen[question.rows[rows], lists[rows, ranks]]
        assert {"repeat": bought.all(), "explore": not bought.any(), "all": bought.any()}[question.part]


def test_ours_asked_over_the_desk_gets_the_figures_of_an_evaluation(split: Split, whole: Records) -> None:
    direct = contest(split, {"item_item": {"neighbours": 20}}, TERMS).asked["item_item"]
    desk_ = standing.evaluation(whole, split, TERMS).asked["item_item"]
    for part, lists in direct.lists.items():
        np.testing.assert_array_equal(lists, desk_.lists[part])
        np.testing.assert_allclose(direct.figures[part]["ndcg"], desk_.figures[part]["ndcg"])


def test_a_peer_that_fails_did_not_run_and_the_others_go_on(split: Split, whole: Records) -> None:
    found = standing.evaluation(whole, split, TERMS)
    table = found.table[(found.table["group"] == "everybody") & (found.table["part"] == "all")]
    judged = table[table["ndcg"].notna()]
    assert set(judged["recipe"]) == {
        "popularity",
        "item_item",
        "item_item (tuned)",
        "implicit_bm25",
        "implicit_bm25 (tuned)",
    }
    assert judged["members"].nunique() == 1
    assert found.skipped["cornac_bpr"].startswith("did not run: ModuleNotFoundError")
    states = {one.title: one for one in standing.states(whole)}
    assert states["cornac_bpr (tuned)"].said.startswith("did not run: none of 3 trials ran: ModuleNotFoundError")
    assert states["cornac_bpr (tuned)"].failed == states["implicit_bm25 (tuned)"].trials == 3
    assert states["item_item"].seeds == (0, 1)
    assert whole.answers()["implicit_bm25", 0].settings == RIVALS["implicit_bm25"].defaults


@pytest.mark.parametrize("after", [1, 5, 9, 14])
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_been(
    split: Split, here: Desks, whole: Records, tmp_path: Path, after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(split, here, tmp_path, _Stops(after), seeds=2)
    kept = Records(tmp_path).file.read_bytes()
    assert len(kept.splitlines()) == 1 + after  # each is on disk as it ends
    Records(tmp_path).file.write_bytes(kept + b'{"line": "trial", "name": "item_i')  # a kill in the middle of a line
    told: list[str] = []
    again = _run(split, here, tmp_path, told.append, seeds=2)
    assert again.file.read_bytes().startswith(kept)
    for one in ENTRANTS:
        name = one.rival.name
        ours, theirs = again.trials(name), whole.trials(name)
        assert [_without_seconds(each) for each in ours] == [_without_seconds(each) for each in theirs]
    before, now = whole.answers(), again.answers()
    assert {key: _without_seconds(one) for key, one in now.items()} == {
        key: _without_seconds(one) for key, one in before.items()
    }
    for one_ in now.values():
        if one_.lists:
            pd.testing.assert_frame_equal(pd.read_parquet(again.lists(one_)), pd.read_parquet(whole.lists(one_)))


def test_a_finished_run_does_nothing_again_and_more_trials_go_on_from_it(
    split: Split, here: Desks, whole: Records, tmp_path: Path
) -> None:
    shutil.copytree(whole.folder, tmp_path / "copy")
    told: list[str] = []
    again = _run(split, here, tmp_path / "copy", told.append, seeds=2)
    assert told == []
    assert {key: one.seconds for key, one in again.answers().items()} == {
        key: one.seconds for key, one in whole.answers().items()
    }
    more = _run(split, here, tmp_path / "copy", told.append, trials=4)
    assert [len(more.trials(one.rival.name)) for one in ENTRANTS] == [4, 4, 4]
    assert more.trials("item_item")[:3] == whole.trials("item_item")


def test_another_run_is_refused_in_the_same_folder(whole: Records, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "copy")
    records = Records(tmp_path / "copy")
    session = standing.last(records)
    with pytest.raises(RecordsError, match="was begun with split 'one', not 'two'"):
        records.begin(replace(session, identity={"split": "two"}))
    with pytest.raises(RecordsError, match="item_item as"):
        records.begin(replace(session, entrants={**session.entrants, "item_item": {"neighbours": 30}}))
    with records.held(), pytest.raises(RecordsError, match="another run writes here"), records.held():
        pass
    with pytest.raises(RecordsError, match="no run was begun here"):
        standing.last(Records(tmp_path))


def test_a_report_of_half_a_run_says_who_has_yet_to_come(split: Split, here: Desks, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(split, here, tmp_path, _Stops(5), seeds=1)
    found = standing.evaluation(Records(tmp_path), split, TERMS)
    assert found.skipped["item_item (tuned)"] == "not yet"
    assert {one.title: one.trials for one in standing.states(Records(tmp_path))}["item_item (tuned)"] == 2
    assert found.best in {"item_item", "implicit_bm25"}


def test_time_is_up_for_a_trial_and_for_an_entrant(tmp_path: Path) -> None:
    asked: list[float] = []

    def slow(_: object, seconds: float) -> tuple[float | None, float, str]:
        asked.append(seconds)
        return (None, seconds, "not done") if len(asked) == 1 else (0.1 * len(asked), 40.0, "")

    one, records = trials.peer("implicit_bm25"), Records(tmp_path)
    budget = Budget(trials=15, trial_seconds=60, entrant_seconds=150)
    with records.held():
        trials.run(one, records, budget, slow, lambda _: None)
        trials.run(one, records, budget, slow, lambda _: None)  # a new call has no new time
    assert asked == [60, 60, 50, 10]
    best = trials.best(records.trials("implicit_bm25"))
    assert best is not None
    assert best.number == 3


def test_a_process_that_takes_too_long_is_ended_and_the_next_request_gets_a_new_one() -> None:
    program = "import sys, time\nfor line in sys.stdin:\n  time.sleep(60 * (line > '{\"b'))\n  print('{}', flush=True)"
    assert sys.__stderr__ is not None
    found = Desk([sys.executable, "-c", program], sys.__stderr__)
    try:
        began = time.monotonic()
        assert found.ask({"slow": 1}, 0.5)["reason"].startswith("not done within")
        assert found.ask({"a": 1}, 20.0) == {}
        assert time.monotonic() - began < 20
    finally:
        found.close()


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
