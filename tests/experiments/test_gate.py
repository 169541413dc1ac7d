from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import contests, gate, guardrails
from experiments.contests import Court
from experiments.gate import GateError
from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from features.rows import Rows
from features.states import decode_taste
from features.workspace import Workspace
from training import registry, settings, vectors
from training.metrics import Interval
from training.records import Draft, Lineage, RegistryError, Version
from training.settings import GateConfig
from training.train import train

CONFIGS = Path(__file__).parents[2] / "configs"
END = datetime(2026, 6, 1, tzinfo=UTC)
CONFIG = settings.parse(
    {
        "taste": {"recipes": {"popularity": {}, "repeat": {}}},
        "churn": {"trees": 50, "leaves": [4], "min_leaf": 20, "cut_offs": 2, "resamples": 20, "ablation": False},
        "response": {"enough": 20},
        "gate": {"resamples": 100},
    }
)
PROGRAMME = catalog.load(CONFIGS / "catalog").programme
RULES = GateConfig()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Version 1 of each model is good; taste 2 is popularity, taste 3 is worse; churn 2 knows next to nothing."""
    ws = Workspace(tmp_path_factory.mktemp("ws"), CONFIGS)
    history.merge(ws.tables, simulate(WORLDS["strong"], members=250, products=40, days=400, ends_at=END, seed=2))
    train(ws, PROGRAMME, CONFIG, END)
    taste, churned = (registry.get(ws, name, "1") for name in ("taste", "churn"))
    logged(ws, taste, config={**taste.config, "recipe": "popularity", "settings": {}})
    far = {"factors": 1, "iterations": 1, "regularization": 1e6}
    logged(ws, taste, config={**taste.config, "recipe": "als", "settings": far})
    logged(ws, churned, feature_names=("tier_rank",))
    return ws


def logged(ws: Workspace, like: Version, **changes: Any) -> Version:
    """Another version with the same files, made from something else."""
    record = like.record
    lineage = Lineage(
        record["data_fingerprint"],
        datetime.fromisoformat(record["at"]),
        tuple(record["feature_names"]),
        record["seed"],
        record["code"],
        record["config"],
    )
    changed = replace(lineage, **changes)
    return registry.log_version(
        ws, Draft(like.name, record["form"], like.folder, changed, record["metrics"], record["golden"])
    )


@pytest.fixture
def court(trained: Workspace, tmp_path: Path) -> Court:
    """A copy of the trained workspace; the tables are shared."""
    ws = Workspace(tmp_path / "ws", CONFIGS)
    shutil.copytree(trained.mlflow, ws.mlflow)
    ws.tables.symlink_to(trained.tables)
    return Court(ws, PROGRAMME, CONFIG, END)


def challenge(court: Court, name: str, number: str) -> None:
    registry.point(court.ws, name, "challenger", number)


def test_the_first_champion_must_beat_popularity_and_then_serves(court: Court) -> None:
    challenge(court, "taste", "1")
    done = gate.promote(court, "taste")
    assert done.promoted and done.verdict.passed and done.verdict.champion is None
    assert done.verdict.against["popularity"].low > 0
    assert registry.champions(court.ws) == {"taste": "1"}
    assert registry.aliases(court.ws, "taste") == {"champion": "1"}
    assert json.loads((court.ws.bundles / "taste" / "1" / "bundle.json").read_text())["version"] == "1"
    assert registry.notes(court.ws, "taste", "1")["gate"] == "passed"


def test_popularity_itself_equals_popularity_and_passes(court: Court) -> None:
    challenge(court, "taste", "2")
    done = gate.promote(court, "taste")
    assert done.promoted
    assert done.verdict.against["popularity"] == Interval(0.0, 0.0, 0.0)


def test_what_loses_to_popularity_is_refused_and_nothing_changes(court: Court) -> None:
    challenge(court, "taste", "3")
    done = gate.promote(court, "taste")
    assert not done.promoted
    assert "a list of bestsellers is better" in done.verdict.objections[0]
    assert registry.champions(court.ws) == {} and not court.ws.bundles.exists()
    assert registry.aliases(court.ws, "taste") == {"challenger": "3"}
    assert registry.notes(court.ws, "taste", "3")["gate"].startswith("refused: NDCG@10 is -")


def test_what_is_worse_than_the_champion_is_refused_unless_a_reason_is_recorded(court: Court) -> None:
    challenge(court, "taste", "1")
    gate.promote(court, "taste")
    challenge(court, "taste", "2")
    refused = gate.promote(court, "taste")
    assert not refused.promoted and "against the champion" in refused.verdict.objections[0]
    assert registry.champions(court.ws) == {"taste": "1"}
    with pytest.raises(GateError, match="takes a reason"):
        gate.promote(court, "taste", force_reason=" ")
    forced = gate.promote(court, "taste", force_reason="the recipe leaks stock figures")
    assert forced.promoted and forced.forced == "the recipe leaks stock figures"
    assert registry.champions(court.ws) == {"taste": "2"}
    assert registry.aliases(court.ws, "taste") == {"champion": "2", "previous": "1"}
    tags = registry.notes(court.ws, "taste", "2")
    assert tags["gate_forced"] == "the recipe leaks stock figures"
    assert tags["gate"].startswith("refused")
    assert tags["gate_champion"] == "1"


def test_a_reason_that_was_not_needed_is_not_recorded(court: Court) -> None:
    challenge(court, "taste", "1")
    assert gate.promote(court, "taste", force_reason="just in case").forced is None
    assert "gate_forced" not in registry.notes(court.ws, "taste", "1")


def test_the_same_model_again_is_as_good_as_itself(court: Court) -> None:
    for number in ("1", "1"):
        challenge(court, "taste", number)
        done = gate.promote(court, "taste")
    assert done.promoted and done.verdict.against["champion"] == Interval(0.0, 0.0, 0.0)
    assert "previous" not in registry.aliases(court.ws, "taste")


def test_a_churn_model_is_judged_by_what_came_after(court: Court) -> None:
    challenge(court, "churn", "1")
    first = gate.promote(court, "churn")
    assert first.promoted and first.verdict.figures["auc"] > 0.7 and first.verdict.figures["brier_skill"] > 0
    assert first.verdict.cut is not None and first.verdict.cut + timedelta(days=90) <= END
    challenge(court, "churn", "2")
    second = gate.promote(court, "churn")
    assert not second.promoted
    assert second.verdict.against["champion"].high < 0
    assert any(objection.startswith("AUC is -") for objection in second.verdict.objections)
    assert any("Brier skill" in objection for objection in second.verdict.objections)
    assert registry.champions(court.ws) == {"churn": "1"}


def test_effects_pass_and_are_exported(court: Court) -> None:
    challenge(court, "response", "1")
    assert gate.promote(court, "response").promoted
    assert json.loads((court.ws.bundles / "response" / "1" / "response.json").read_text())


def test_rolling_back_serves_the_previous_and_a_second_time_undoes_it(court: Court) -> None:
    for number, reason in (("1", None), ("2", "a test")):
        challenge(court, "taste", number)
        gate.promote(court, "taste", reason)
    assert gate.rollback(court.ws, "taste", END).number == "1"
    assert registry.champions(court.ws) == {"taste": "1"}
    assert registry.aliases(court.ws, "taste") == {"champion": "1", "previous": "2"}
    assert gate.rollback(court.ws, "taste", END).number == "2"
    assert registry.champions(court.ws) == {"taste": "2"}


def test_without_a_challenger_or_a_previous_champion_it_says_what_to_do(court: Court) -> None:
    registry.unpoint(court.ws, "taste", "challenger")
    with pytest.raises(GateError, match="no challenger waits; `tessera train --model taste` makes one"):
        gate.promote(court, "taste")
    with pytest.raises(GateError, match="no previous champion"):
        gate.rollback(court.ws, "taste", END)


def test_a_version_that_does_not_answer_as_it_did_is_not_served(court: Court) -> None:
    good = registry.get(court.ws, "taste", "1")
    members = [question | {"scores": [9.0] * len(question["scores"])} for question in good.record["golden"]["members"]]
    wrong = dict(good.record) | {"golden": {**good.record["golden"], "members": members}}
    with pytest.raises(ValueError, match="does not answer as it did when it was trained"):
        gate._serve(court.ws, replace(good, record=wrong), END)
    assert registry.champions(court.ws) == {}


def test_a_tampered_file_is_not_served(court: Court) -> None:
    challenge(court, "taste", "1")
    (registry.get(court.ws, "taste", "1").folder / "arrays.npz").write_bytes(b"other arrays")
    with pytest.raises(RegistryError, match="differs from its SHA-256"):
        gate.promote(court, "taste")
    assert registry.champions(court.ws) == {}


def test_promotion_brings_the_versions_vectors_online_and_forgets_the_rest(court: Court) -> None:
    for number, reason in (("1", None), ("2", "a test")):
        for version in (number, "9"):
            vectors.keep(court.ws, version, np.array(["a"]), np.array([[float(version)]], np.float32), END)
        challenge(court, "taste", number)
        assert gate.promote(court, "taste", reason).vectors == 1
    assert served(court.ws) == ("2", [2.0])
    gate.rollback(court.ws, "taste", END + timedelta(minutes=1))
    assert served(court.ws) == ("1", [1.0])
    kept = {path.stem for path in (court.ws.features / "member_taste" / "versions").iterdir()}
    assert kept == {"1", "2"}


def served(ws: Workspace) -> tuple[str, list[float]]:
    rows = Rows(ws.online)
    row = rows.read("member_taste", "a")
    rows.close()
    assert row is not None
    version, vector, _ = decode_taste(row[0])
    return version, vector.tolist()


@pytest.mark.parametrize(
    ("gap", "objected"),
    [
        (Interval(0.01, -0.003, 0.03), False),
        (Interval(0.01, -0.005, 0.03), True),
        (Interval(0.0, 0.0, 0.0), False),
        (Interval(-0.001, -0.0015, -0.0005), False),
        (Interval(-0.01, -0.015, -0.005), True),
        (Interval(float("nan"), float("nan"), float("nan")), True),
    ],
)
def test_a_challenger_must_be_shown_to_lose_at_most_a_hundredth(gap: Interval, objected: bool) -> None:
    rivals = {"popularity": Interval(0.1, 0.1, 0.1), "champion": gap}
    assert bool(contests._taste_objections(rivals, 0.4, RULES, "NDCG@10")) is objected


GOOD = {"auc": 0.7, "brier_skill": 0.1}


@pytest.mark.parametrize(
    ("figures", "gap", "objections"),
    [
        (GOOD, None, 0),
        ({"auc": 0.7, "brier_skill": 0.0}, None, 1),
        ({"auc": 0.5, "brier_skill": -0.1}, None, 2),
        ({**GOOD, "champion_brier_skill": 0.105, "champion_auc": 0.69}, Interval(0.01, 0.0, 0.02), 0),
        ({**GOOD, "champion_brier_skill": 0.12, "champion_auc": 0.69}, Interval(0.01, 0.0, 0.02), 1),
        ({**GOOD, "champion_brier_skill": 0.1, "champion_auc": 0.71}, Interval(-0.006, -0.02, 0.02), 1),
        ({"auc": float("nan"), "brier_skill": float("nan")}, None, 2),
    ],
)
def test_better_ranking_does_not_buy_worse_probabilities(
    figures: Mapping[str, float], gap: Interval | None, objections: int
) -> None:
    assert len(contests._churn_objections(figures, gap, RULES)) == objections


def test_guardrails_object_to_narrow_slow_or_wrong_answers_and_say_the_limit() -> None:
    assert not list(guardrails.coverage(0.2, 0.4, RULES)) and not list(guardrails.coverage(0.0, None, RULES))
    assert "less than 50%" in next(guardrails.coverage(0.19, 0.4, RULES))
    assert not list(guardrails.latency(5.0, RULES))
    assert "the limit is 5 ms" in next(guardrails.latency(5.1, RULES))
    assert not list(guardrails.calibration(0.05, 0.04, RULES))
    assert "more than the margin of 0.02" in next(guardrails.calibration(0.07, 0.04, RULES))


def test_a_model_that_rests_on_a_feature_that_broke_is_not_promoted(court: Court) -> None:
    """The feed of engagements ended unnoticed 100 days ago, after the model had learned from it."""
    challenge(court, "churn", "1")
    assert gate.judge(court, "churn").passed
    whole = {name: history.read(court.ws.tables, name) for name in ("members", "products", "purchases", "engagements")}
    feed = whole["engagements"]
    court.ws.tables.unlink()
    history.merge(court.ws.tables, whole | {"engagements": feed[feed["occurred_at"] < END - timedelta(days=100)]})
    verdict = gate.judge(court, "churn")
    assert any("engagements_90d (engagement) broken" in objection for objection in verdict.objections)
    assert "tessera report" in registry.notes(court.ws, "churn", "1")["gate"]
