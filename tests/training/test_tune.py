"""A search: never below where it began, the same twice, continued after a kill, shared by workers, kept in MLflow."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic.dataclasses import dataclass

from tessera.tuning import as_yaml
from training import recipes, studies
from training.evaluation.given import ledger, typed
from training.folds import folds
from training.ledger import Ledger
from training.protocols import Split, by_name
from training.recipes import Recipe, RecipeError
from training.search import defaults, space
from training.settings import parse
from training.tune import Plan, Tried, TuneError, best, frontier
from training.tune_picture import draw

ENDS_AT = datetime(2024, 5, 1, tzinfo=UTC)


def _history() -> Ledger:
    """Habits that change every month, so that a short window of popularity is better than a long one."""
    rng = np.random.default_rng(2)
    rows = [
        (member, int(day // 30) * 5 + int(rng.integers(0, 5)) if rng.random() < 0.7 else int(rng.integers(0, 25)), day)
        for member in range(60)
        for day in np.sort(rng.uniform(0, 140, 25))
    ]
    frame = pd.DataFrame(rows, columns=["member_id", "product_id", "day"])
    frame["occurred_at"] = pd.Timestamp(ENDS_AT) - pd.to_timedelta(140 - frame.pop("day"), unit="D")
    return ledger(typed(frame))


def _slices(count: int = 2) -> list[Split]:
    return folds(_history(), ENDS_AT, "time", count, days=14, share=0.25, seed=0)


PLAN = Plan("popularity", trials=6, k=5, seed=1)


def test_the_last_slice_is_never_seen() -> None:
    ledger_ = _history()
    last = by_name("time", ledger_, ENDS_AT, days=14, share=0.25, seed=0)
    cuts = [one.before.at for one in folds(ledger_, ENDS_AT, "time", 3, days=14, share=0.25, seed=0)]
    assert cuts == [ENDS_AT - timedelta(days=14 * n) for n in (4, 3, 2)]
    assert max(cuts) + timedelta(days=14) == last.before.at
    used = folds(ledger_, ENDS_AT, "time", 1, days=14, share=0.25, seed=0, use_all=True)
    assert [one.before.at for one in used] == [last.before.at]


@pytest.mark.parametrize("protocol", ["random", "last_basket", "leave_one_out"])
def test_what_the_protocol_would_hide_is_in_no_fold(protocol: str) -> None:
    outer = by_name(protocol, _history(), ENDS_AT, days=14, share=0.25, seed=0)
    inner = folds(_history(), ENDS_AT, protocol, 2, days=14, share=0.25, seed=0)
    assert len(inner) == 2
    for fold in inner:
        assert fold.before.buys.shape[0] < outer.before.buys.shape[0]
        assert not ((fold.bought.astype(int) - (outer.before.counts > 0).astype(int)) > 0).nnz
    if protocol == "random":
        assert (inner[0].bought != inner[1].bought).nnz


def test_a_search_is_never_below_where_it_began_and_the_same_twice(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        study = studies.search(PLAN, _slices(), tmp_path / f"{name}.journal")
        found.append(studies.tried(study, PLAN))
    first, again = found
    assert [one.settings for one in first] == [one.settings for one in again]
    assert first[0].settings == defaults("popularity", {})
    assert len(first) == 6
    assert best(first, PLAN).values >= first[0].values
    assert all(len(one.folds["ndcg"]) == 2 for one in first if one.state == "complete")


@dataclass(frozen=True)
class Fuse:
    strength: float = 4.0


SEARCH: dict[str, Any] = {}


def _fit_or_die(interactions: Any, config: Any) -> Any:
    """Ends the process without a word at the fit that `TESSERA_FUSE` counts down to."""
    left = int(os.environ.get("TESSERA_FUSE", "1000")) - 1
    os.environ["TESSERA_FUSE"] = str(left)
    if left == 0:
        os._exit(9)
    if config.strength > 12:
        raise RecipeError("strength above 12 burns")
    return recipes.RECIPES["popularity"].fit(interactions, recipes.config_from("popularity"))


def _burn(journal: Path, fuse: int) -> None:
    os.environ["TESSERA_FUSE"] = str(fuse)
    recipes.RECIPES["fuse"] = Recipe("fuse", Fuse, _fit_or_die)
    studies.search(replace(PLAN, recipe="fuse"), _slices(1), journal, resume=True)


def test_a_killed_search_goes_on_where_it_was_and_tries_again_what_was_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.RECIPES, "fuse", Recipe("fuse", Fuse, _fit_or_die))
    plan, journal = replace(PLAN, recipe="fuse"), tmp_path / "fuse.journal"
    process = multiprocessing.get_context("fork").Process(target=_burn, args=(journal, 4))
    process.start()
    process.join()
    assert process.exitcode == 9
    half = studies._opened(journal)
    assert [one.state for one in studies.tried(half, plan)] == ["complete"] * 3
    (lost,) = [one.params for one in half.trials if one.state.name == "RUNNING"]
    study = studies.search(plan, _slices(1), journal, resume=True)
    found = studies.tried(study, plan)
    assert len(found) == 6
    assert found[3].settings == lost
    assert studies.tried(studies.search(plan, _slices(1), journal, resume=True), plan) == found


def test_settings_that_cannot_be_fitted_count_as_failed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.RECIPES, "fuse", Recipe("fuse", Fuse, _fit_or_die))
    plan = replace(PLAN, recipe="fuse", trials=12, sampler="random", seed=3)
    found = studies.tried(studies.search(plan, _slices(1), tmp_path / "fuse.journal"), plan)
    failed = [one for one in found if one.state == "failed"]
    assert failed
    assert {one.reason for one in failed} == {"strength above 12 burns"}
    assert all(one.settings["strength"] > 12 for one in failed)
    assert best(found, plan).state == "complete"


def test_hopeless_trials_stop_early(tmp_path: Path) -> None:
    plan = replace(PLAN, trials=16, sampler="random")
    found = studies.tried(studies.search(plan, _slices(3), tmp_path / "p.journal"), plan)
    stopped = [one for one in found if one.state == "pruned"]
    assert stopped
    assert all(len(one.folds["ndcg"]) < 3 for one in stopped)
    assert max(one.values[0] for one in stopped) < best(found, plan).values[0]


def test_workers_share_one_study(tmp_path: Path) -> None:
    plan = replace(PLAN, trials=5, workers=2)
    found = studies.tried(studies.search(plan, _slices(1), tmp_path / "w.journal"), plan)
    assert sorted(one.number for one in found) == list(range(5))
    assert sum(one.settings == defaults("popularity", {}) for one in found) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objectives": ("ndgc",)}, 'objective "ndgc" is unknown'),
        ({"objectives": ("ndcg", "ndcg")}, "name each once"),
        ({"sampler": "grid"}, 'sampler "grid" is unknown'),
    ],
)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(TuneError, match=said):
        studies.search(replace(PLAN, **change), [], tmp_path / "x.journal")


def test_a_study_is_not_mixed_with_another(tmp_path: Path) -> None:
    plan, journal = replace(PLAN, trials=1), tmp_path / "x.journal"
    studies.search(plan, _slices(1), journal)
    with pytest.raises(TuneError, match="holds a study already"):
        studies.search(plan, _slices(1), journal)
    with pytest.raises(TuneError, match="was begun with k 5, not 7"):
        studies.search(replace(plan, k=7), _slices(1), journal, resume=True)


@pytest.mark.slow
def test_when_a_search_is_killed_its_workers_end_and_it_can_be_continued(tmp_path: Path) -> None:
    plan, journal = replace(PLAN, recipe="lightfm_hybrid", trials=40, workers=2), tmp_path / "k.journal"
    process = multiprocessing.get_context("spawn").Process(target=studies.search, args=(plan, _slices(1), journal))
    process.start()
    while not journal.exists() or len(studies.tried(studies._opened(journal), plan)) < 3:
        time.sleep(0.2)
    process.kill()
    process.join()
    after_kill = -1
    while after_kill != (after_kill := len(studies.tried(studies._opened(journal), plan))):
        time.sleep(5.0)  # what was running may end; nothing new may begin
    assert after_kill < 40
    shorter = replace(plan, trials=after_kill + 2)
    found = studies.tried(studies.search(shorter, _slices(1), journal, resume=True), shorter)
    assert len(found) == after_kill + 2


def test_the_frontier_holds_what_nothing_beats_in_everything() -> None:
    plan = replace(PLAN, objectives=("ndcg", "seconds"))
    values = {0: (0.3, 2.0), 1: (0.4, 3.0), 2: (0.3, 1.0), 3: (0.2, 1.5), 4: (0.4, 3.5)}
    found = [Tried(number, "complete", {}, value, {}) for number, value in values.items()]
    assert [one.number for one in frontier(found, plan)] == [1, 2]
    assert best(found, plan).number == 1


def test_several_objectives_are_searched_together(tmp_path: Path) -> None:
    plan = replace(PLAN, objectives=("ndcg", "coverage"), trials=4)
    study = studies.search(plan, _slices(1), tmp_path / "m.journal")
    found = studies.tried(study, plan)
    assert all(one.values == (one.folds["ndcg"][0], one.folds["coverage"][0]) for one in found)
    assert not studies.importances(study, plan)  # four trials say nothing
    drawn = matplotlib.image.imread(draw(plan, found, {}, tmp_path / "m.png"))
    assert drawn.shape[1] == 1100


def test_the_setting_that_decides_is_named(tmp_path: Path) -> None:
    plan = replace(PLAN, recipe="item_item", trials=14, sampler="random")
    study = studies.search(plan, _slices(1), tmp_path / "i.journal")
    share = studies.importances(study, plan)
    assert set(share) <= set(space("item_item"))
    assert sum(share.values()) == pytest.approx(1.0)
    drawn = matplotlib.image.imread(draw(plan, studies.tried(study, plan), share, tmp_path / "i.png"))
    assert (np.abs(drawn[:, :, :3] - [0.561, 0.702, 0.804]).max(axis=2) < 0.02).mean() > 0.003


def test_what_is_written_is_training_yaml() -> None:
    plan = replace(PLAN, recipe="als", settings={"seed": 4, "factors": 8})
    found = [
        Tried(0, "complete", {"factors": 8}, (0.1,), {"ndcg": [0.1]}),
        Tried(1, "complete", {"factors": 16, "alpha": 1.23456}, (0.2,), {"ndcg": [0.2]}),
    ]
    text = as_yaml(plan, found, found[1], ["some days"])
    assert yaml.safe_load(text) == {"taste": {"recipes": {"als": {"seed": 4, "factors": 16, "alpha": 1.235}}}}
    assert parse(yaml.safe_load(text)).taste.recipes["als"]["factors"] == 16
    assert "before the search 0.1000" in text


def test_the_plan_in_the_file_is_json(tmp_path: Path) -> None:
    study = studies.search(replace(PLAN, trials=1, settings={}), _slices(1), tmp_path / "j.journal")
    assert json.loads(json.dumps(study.user_attrs["plan"])) == study.user_attrs["plan"]
    assert math.isfinite(studies.tried(study, PLAN)[0].values[0])
