from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from features.workspace import Workspace
from training import mlflow_store, records, registry
from training.records import Draft, Lineage, RegistryError, SearchTrial

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's migrations run once; every test starts from a copy of the empty database."""
    ws = Workspace(tmp_path_factory.mktemp("empty"))
    mlflow_store.client_of(ws)
    return ws.mlflow / "mlflow.db"


@pytest.fixture
def ws(tmp_path: Path, migrated: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path)
    workspace.mlflow.mkdir()
    shutil.copy(migrated, workspace.mlflow / "mlflow.db")
    yield workspace


def draft(folder: Path, seed: int = 1, name: str = "taste") -> Draft:
    form = folder / f"form-{name}-{seed}"
    form.mkdir()
    np.savez(form / "arrays.npz", scores=np.random.default_rng(seed).normal(size=5))
    (form / "form.json").write_text('{"form": "popularity"}')
    picture = folder / f"calibration-{seed}.png"
    picture.write_bytes(b"not really a picture")
    lineage = Lineage("abc", AT, ("recency_days", "spend_90d"), seed, "v1", {"recipe": "als", "als": {"factors": 8}})
    return Draft(
        name, "popularity", form, lineage, {"ndcg_at_10": 0.25, "broken": float("nan")}, {"in": [1]}, [picture]
    )


def test_a_version_comes_back_with_its_lineage_and_its_files(ws: Workspace, tmp_path: Path) -> None:
    logged = registry.log_version(ws, draft(tmp_path, seed=3))
    read = registry.get(ws, "taste", logged.number)
    assert read == logged
    assert read.config == {"recipe": "als", "als": {"factors": 8}}
    assert read.record["seed"] == 3
    assert read.record["at"] == "2026-03-01T00:00:00+00:00"
    assert read.record["metrics"] == {"ndcg_at_10": 0.25, "broken": None}
    assert sorted(path.name for path in read.folder.iterdir()) == ["arrays.npz", "form.json"]


def test_the_run_carries_metrics_parameters_lineage_and_pictures(ws: Workspace, tmp_path: Path) -> None:
    logged = registry.log_version(ws, draft(tmp_path))
    run = mlflow_store.client_of(ws).get_run(logged.run_id)
    assert run.data.metrics == {"ndcg_at_10": 0.25}
    assert run.data.params == {"recipe": "als", "als.factors": "8"}
    assert run.data.tags["features"] == "recency_days,spend_90d"
    assert run.data.tags["data_fingerprint"] == "abc"
    assert (logged.folder.parent / "exhibits" / "calibration-1.png").exists()
    assert registry.notes(ws, "taste", logged.number)["code"] == "v1"


def test_versions_count_up_for_each_model_by_itself(ws: Workspace, tmp_path: Path) -> None:
    numbers = [registry.log_version(ws, draft(tmp_path, seed)).number for seed in (1, 2)]
    other = registry.log_version(ws, draft(tmp_path, 3, name="churn")).number
    assert (numbers, other) == (["1", "2"], "1")


def test_an_alias_moves_and_can_be_taken_away(ws: Workspace, tmp_path: Path) -> None:
    first, second = (registry.log_version(ws, draft(tmp_path, seed)) for seed in (1, 2))
    registry.point(ws, "taste", "champion", first.number)
    registry.point(ws, "taste", "champion", second.number)
    assert registry.find(ws, "taste", "champion") == second
    registry.unpoint(ws, "taste", "champion")
    registry.unpoint(ws, "taste", "previous")
    assert registry.find(ws, "taste", "champion") is None


def test_a_workspace_without_a_registry_has_no_champion(tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "nothing")
    assert registry.find(ws, "taste", "champion") is None
    assert registry.champions(ws) == {}
    assert not ws.root.exists()


def test_an_unknown_version_is_named_with_the_way_out(ws: Workspace) -> None:
    with pytest.raises(RegistryError, match="taste: there is no version 7; `tessera train` makes one"):
        registry.get(ws, "taste", "7")


def test_a_bundle_names_every_file_with_its_hash(ws: Workspace, tmp_path: Path) -> None:
    version = registry.log_version(ws, draft(tmp_path))
    folder = registry.export(ws, version)
    bundle = json.loads((folder / "bundle.json").read_text())
    assert folder == ws.bundles / "taste" / "1"
    assert (bundle["name"], bundle["version"], bundle["form"]) == ("taste", "1", "popularity")
    assert bundle["golden"] == {"in": [1]}
    found = {path.name for path in folder.iterdir()} - {"bundle.json"}
    assert found == set(bundle["files"])
    for name, digest in bundle["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_exporting_again_leaves_a_whole_bundle_alone_and_mends_a_broken_one(ws: Workspace, tmp_path: Path) -> None:
    version = registry.log_version(ws, draft(tmp_path))
    arrays = registry.export(ws, version) / "arrays.npz"
    born = arrays.stat().st_ino
    registry.export(ws, version)
    assert arrays.stat().st_ino == born
    good = arrays.read_bytes()
    arrays.write_bytes(good[:-1])
    registry.export(ws, version)
    assert arrays.read_bytes() == good


def test_a_file_that_was_changed_in_the_registry_is_not_exported(ws: Workspace, tmp_path: Path) -> None:
    version = registry.log_version(ws, draft(tmp_path))
    (version.folder / "arrays.npz").write_bytes(b"other arrays")
    with pytest.raises(RegistryError, match=r"taste 1: arrays\.npz differs from its SHA-256"):
        registry.export(ws, version)
    assert not (ws.bundles / "taste" / "1").exists()


def test_a_record_that_was_changed_is_not_believed(ws: Workspace, tmp_path: Path) -> None:
    version = registry.log_version(ws, draft(tmp_path))
    record = version.folder.parent / "record.json"
    record.write_text(record.read_text().replace("arrays.npz", "others.npz"))
    with pytest.raises(RegistryError, match="not the one that was registered"):
        registry.get(ws, "taste", "1")


def test_crowning_one_model_keeps_the_others(ws: Workspace) -> None:
    registry.crown(ws, "taste", "3")
    registry.crown(ws, "churn", "7")
    registry.crown(ws, "taste", "4")
    assert json.loads(ws.champions.read_text()) == {"taste": "4", "churn": "7"}
    assert not list(ws.root.glob("*.tmp"))


def test_a_moved_workspace_reads_its_versions_and_keeps_new_ones_where_it_is_now(
    ws: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("moved")
    registry.log_version(ws, draft(place))
    moved = Workspace(place / "ws")
    shutil.copytree(ws.root, moved.root)
    assert registry.get(moved, "taste", "1").folder.is_relative_to(moved.root)
    for number in ("2", "3"):
        version = registry.log_version(moved, draft(place, seed=int(number)))
        assert version.number == number
        assert version.folder.is_relative_to(moved.root)
        assert registry.get(moved, "taste", number).record["seed"] == int(number)
        assert registry.export(moved, version).is_relative_to(moved.root)
    assert [one.name for one in (ws.mlflow / "artifacts").iterdir()] == [registry.get(ws, "taste", "1").run_id]


def test_code_has_a_version_with_and_without_git(tmp_path: Path) -> None:
    assert records.code_version(tmp_path) == metadata.version("tessera")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    (tmp_path / "file").write_text("one")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run([*git, "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    clean = records.code_version(tmp_path)
    (tmp_path / "file").write_text("two")
    assert re.fullmatch("[0-9a-f]{12}", clean)
    assert records.code_version(tmp_path) == f"{clean}+"


def test_trials_are_runs_nested_in_one_and_the_next_session_adds_to_it(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("what was found")
    trials = [
        SearchTrial(0, "complete", {"factors": 8}, {"ndcg": [0.1, 0.3]}),
        SearchTrial(1, "failed", {"factors": 9}, {}),
    ]
    run = registry.log_search(ws, "als", {"objectives": "ndcg"}, trials[:1], [tmp_path / "note.txt"])
    assert registry.log_search(ws, "als", {"objectives": "ndcg"}, trials[1:], [], run) == run
    client = mlflow_store.client_of(ws)
    (experiment,) = [one for one in client.search_experiments() if one.name == "tune als"]
    nested = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{run}'")
    by_name_ = {one.info.run_name: one for one in nested}
    assert set(by_name_) == {"trial 0", "trial 1"}
    assert by_name_["trial 0"].data.metrics["ndcg_mean"] == pytest.approx(0.2)
    history = client.get_metric_history(by_name_["trial 0"].info.run_id, "ndcg")
    assert [(one.step, one.value) for one in history] == [(0, 0.1), (1, 0.3)]
    assert by_name_["trial 1"].info.status == "FAILED"
    assert client.get_run(run).data.tags["objectives"] == "ndcg"
