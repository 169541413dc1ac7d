from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import behavior, catalog, history
from features.entities import Programme
from features.learned import golden, load
from features.learned.churn import load_churn
from features.learned.lifetime import load_lifetime
from features.learned.lifetime_golden import check_lifetime
from features.rows import Rows
from features.states import decode_taste
from features.workspace import Workspace
from training import challengers, frames, registry, settings, vectors
from training.settings import SettingsError, TrainingConfig
from training.train import Outcome, TrainingError, train

CONFIGS = Path(__file__).parents[2] / "configs"
END = datetime(2026, 6, 1, tzinfo=UTC)
SMALL = settings.parse(
    {
        "seed": 3,
        "taste": {"recipes": {"popularity": {}, "als": {"factors": 8, "iterations": 3}}},
        "effects": {"enough": 20, "folds": 2, "trees": 10, "rounds": [15], "shallow_leaves": [3], "ridges": [0.1]},
        "churn": {"trees": 50, "leaves": [4], "min_leaf": 20, "cut_offs": 2, "resamples": 20, "ablation": False},
        "response": {"enough": 20},
    }
)


@pytest.fixture(scope="module")
def programme() -> Programme:
    return catalog.load(CONFIGS / "catalog").programme


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    ws = Workspace(tmp_path_factory.mktemp("ws"), CONFIGS)
    history.merge(ws.tables, simulate(WORLDS["strong"], members=250, products=40, days=400, ends_at=END, seed=2))
    return ws


@pytest.fixture(scope="module")
def outcome(ws: Workspace, programme: Programme) -> Outcome:
    return train(ws, programme, SMALL, END)


def test_every_model_leaves_a_challenger_with_its_lineage(ws: Workspace, outcome: Outcome) -> None:
    assert [(version.name, version.number) for version in outcome.versions] == [
        ("taste", "1"),
        ("churn", "1"),
        ("lifetime", "1"),
        ("response", "1"),
        ("effects", "1"),
    ]
    assert not outcome.skipped
    for version in outcome.versions:
        assert registry.find(ws, version.name, "challenger") == version
        assert version.record["data_fingerprint"] == history.fingerprint(ws.tables)
        assert version.record["seed"] == 3
    assert registry.champions(ws) == {}


def test_the_pictures_and_tables_are_logged(outcome: Outcome) -> None:
    shown = {path.name for version in outcome.versions for path in (version.folder.parent / "exhibits").iterdir()}
    churned = {"churn_members.csv", "churn_families.csv", "churn_calibration.png"}
    assert shown == {"recipes.csv", "recipes.png", "responses.csv", "effects.csv", "lifetime.csv"} | churned


def test_what_serving_would_load_answers_the_golden_questions(outcome: Outcome, programme: Programme) -> None:
    taste, churned, worth, responses, _ = outcome.versions
    check_lifetime(load_lifetime(worth.folder), worth.record["golden"])
    golden.check_products(load(taste.folder), taste.record["golden"])  # type: ignore[arg-type]
    model = load_churn(churned.folder)
    golden.check_churn(model, churned.record["golden"])
    assert model.feature_names == behavior.names(programme)
    assert json.loads((responses.folder / "response.json").read_text())


@pytest.mark.usefixtures("outcome")
def test_no_artefact_names_a_member(ws: Workspace) -> None:
    members = history.read(ws.tables, "members")["member_id"].unique().tolist()
    for path in (ws.mlflow / "artifacts").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            wide = path.suffix == ".npz"
            assert not any(
                member.encode() in content or (wide and member.encode("utf-32-le") in content) for member in members
            ), path


def test_the_same_data_and_seed_give_the_same_files(ws: Workspace, programme: Programme, outcome: Outcome) -> None:
    again = train(ws, programme, SMALL, END, ["taste"]).versions[0]
    assert again.record["files"] == outcome.versions[0].record["files"]


def test_vectors_wait_offline_and_are_pushed_with_their_version(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    known = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]], np.float32)
    assert vectors.keep(ws, "7", np.array(["a", "b", "c"]), known, END) == 2
    vectors.keep(ws, "6", np.array(["a"]), known[2:], END - timedelta(days=9))
    assert vectors.push(ws, "7", END) == 2
    rows = Rows(ws.online)
    row = rows.read("member_taste", "c")
    assert row is not None
    version, vector, at_us = decode_taste(row[0])
    assert (version, vector.tolist(), at_us) == ("7", [3.0, 4.0], int(END.timestamp() * 1e6))
    assert rows.read("member_taste", "b") is None
    vectors.push(ws, "6", END + timedelta(hours=1))
    back = rows.read("member_taste", "a")
    assert back is not None and decode_taste(back[0])[0] == "6", "an older version's vectors come back when it does"
    vectors.forget(ws, but={"6"})
    assert vectors.push(ws, "7", END + timedelta(hours=2)) == 0
    assert rows.read("member_taste", "a") is None
    rows.close()


def test_a_cut_beyond_the_end_of_the_history_is_its_end(ws: Workspace, outcome: Outcome) -> None:
    assert datetime.fromisoformat(outcome.versions[0].record["at"]) == history.ends_at(ws.tables) < END


def test_nothing_after_the_cut_changes_what_was_learned(ws: Workspace, programme: Programme, tmp_path: Path) -> None:
    cut = END - timedelta(days=60)
    shorter = Workspace(tmp_path, CONFIGS)
    for name in ("members", "products", "purchases", "engagements", "points", "offer_events"):
        rows = history.read(ws.tables, name)
        history.merge(shorter.tables, {name: rows[rows["known_at"] <= cut]})

    def learned(place: Workspace) -> pd.DataFrame:
        def features(pairs: pd.DataFrame) -> pd.DataFrame:
            return behavior.historical(place.tables, pairs, programme)

        task = challengers.Task(place, programme, SMALL, cut, "", tmp_path, lambda _: None, features)
        config = challengers.churn_config(SMALL.churn, programme)
        cuts = challengers.churn_cuts(config, frames.begins(place.tables), cut)
        return challengers.churn_frames(task, config, (cuts, cuts), cut)[1]

    pd.testing.assert_frame_equal(learned(ws), learned(shorter))


def test_a_model_that_this_history_cannot_carry_is_skipped_with_a_reason(
    ws: Workspace, programme: Programme, tmp_path: Path
) -> None:
    short = Workspace(tmp_path, CONFIGS)
    recent = history.read(ws.tables, "purchases")
    recent = recent[recent["occurred_at"] > END - timedelta(days=200)]
    history.merge(short.tables, {"purchases": recent, "products": history.read(ws.tables, "products")})
    outcome = train(short, programme, SMALL, END)
    assert [version.name for version in outcome.versions] == ["taste", "lifetime"]
    assert outcome.versions[1].record["metrics"]["learned_days"] == 30
    assert "set churn.horizon_days to at most" in outcome.skipped["churn"]
    assert "go on resting on the policy's priors" in outcome.skipped["response"]
    nothing = train(short, programme, SMALL, END, ["churn"])
    assert not nothing.versions
    assert "horizon of 90 days needs 150" in nothing.skipped["churn"]


def test_an_unknown_model_is_refused(ws: Workspace, programme: Programme) -> None:
    with pytest.raises(TrainingError, match="model 'mood' is unknown; use one of taste, churn, lifetime, response"):
        train(ws, programme, SMALL, END, ["mood"])


def test_the_file_in_configs_is_valid() -> None:
    config = settings.read(CONFIGS / "training.yaml")
    assert config.taste.recipes["als"]["factors"] == 32
    assert config.churn.leaves == (6,)


def test_a_quick_contest_leaves_out_what_the_file_calls_slow_and_nothing_else() -> None:
    whole = settings.read(CONFIGS / "training.yaml").taste
    fast, left_out = whole.quick()
    assert left_out == ("lightfm_hybrid", "blend")
    assert {name: whole.recipes[name] for name in whole.recipes if name not in left_out} == fast.recipes
    assert replace(fast, recipes=whole.recipes) == whole
    only_slow = settings.parse({"taste": {"recipes": {"bpr": {}}, "slow": ["bpr"]}}).taste
    assert only_slow.quick() == (only_slow, ())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"sed": 1}, "training.yaml: sed is no setting; take it out or correct its name"),
        ({"churn": {"tree": 1}}, "training.yaml: churn.tree is no setting"),
        ({"churn": {"trees": "many"}}, "training.yaml: churn.trees is 'many': input should be a valid integer"),
        ({"taste": {"recipes": {"als": {"factor": 3}}}}, 'recipe "als": "factor" is no setting of it'),
        ({"taste": {"recipes": {"deep": {}}}}, 'recipe "deep" is unknown'),
        ({"taste": {"slow": ["deep"]}}, 'recipe "deep" is unknown'),
        ([1], "training.yaml: the file is [1]"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(written: object, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.parse(written)
    assert said in str(caught.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no such file; copy configs/training\.yaml there"):
        settings.read(tmp_path / "training.yaml")
    (tmp_path / "training.yaml").write_text("seed: [")
    with pytest.raises(SettingsError, match=r"training\.yaml: no YAML"):
        settings.read(tmp_path / "training.yaml")
    (tmp_path / "training.yaml").write_text("")
    assert settings.read(tmp_path / "training.yaml") == TrainingConfig()


def test_a_recipe_takes_the_seed_of_the_file_unless_it_has_its_own() -> None:
    assert challengers.recipe_config("als", {}, 5).seed == 5
    assert challengers.recipe_config("als", {"seed": 1}, 5).seed == 1
    assert challengers.recipe_config("popularity", {}, 5)


def test_a_recipes_settings_survive_json() -> None:
    config = challengers.recipe_config("als", {"factors": 3, "half_life_days": math.inf}, 5)
    written = json.loads(json.dumps(challengers.plain(config), allow_nan=False))
    assert challengers.recipe_config("als", written, 0) == replace(config)
    blend = challengers.recipe_config("blend", {"inner": "purchases"}, 5)
    written = json.loads(json.dumps(challengers.plain(blend), allow_nan=False))
    assert challengers.recipe_config("blend", written, 0) == blend
