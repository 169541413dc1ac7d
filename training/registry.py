"""The model registry: every trained version with its lineage, and the bundles that serving reads.

MLflow (`training.mlflow_store`) keeps runs, versions and aliases in one SQLite file below the workspace. A version is a
folder of arrays and JSON, never a pickle; `record.json` beside it says what it is made of, with a SHA-256 per file.
Promotion copies such a folder to `bundles/<model>/<version>/` and points `champions.json` at it, so that serving needs
neither MLflow nor its database.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from features.workspace import Workspace
from training.mlflow_store import client_of, database, experiment, folder_of, locked
from training.records import Draft, RegistryError, SearchTrial, Version, as_json, digest, record_of, tags

Alias = Literal["champion", "challenger", "previous"]
RECORD = "record.json"
BUNDLE = "bundle.json"
_FORM = "form"
_SHOWN = 480
"""MLflow refuses parameters longer than 500 characters on some stores; the record holds them in full."""


def log_version(ws: Workspace, draft: Draft) -> Version:
    """Log a run with the draft's files, parameters, metrics and pictures, and register it as the next version."""
    client = client_of(ws)
    record = record_of(draft)
    run = client.create_run(experiment(ws, client, draft.name), run_name=f"{draft.name} {draft.form}")
    run_id: str = run.info.run_id
    _log_batch(client, run_id, record)
    client.log_artifacts(run_id, str(draft.folder), _FORM)
    client.log_text(run_id, as_json(record), RECORD)
    for exhibit in draft.exhibits:
        client.log_artifact(run_id, str(exhibit), "exhibits")
    client.set_terminated(run_id)
    number = _register(client, draft.name, run_id, f"{run.info.artifact_uri}/{_FORM}", tags(record))
    return Version(draft.name, number, run_id, folder_of(ws, run_id) / _FORM, record)


def log_search(
    ws: Workspace,
    recipe: str,
    tags: Mapping[str, str],
    trials: Sequence[SearchTrial],
    exhibits: Sequence[Path],
    parent: str | None = None,
) -> str:
    """Log a search for settings as a run, and each of its trials as a run nested in it.

    Args:
        ws: the workspace.
        recipe: whose settings were searched.
        tags: what people look for (objectives, protocol, fingerprint).
        trials: those to log now; with `parent`, only those that it does not hold yet.
        exhibits: pictures and files for people; they replace those of the same name.
        parent: the run of an earlier session of the same study.

    Returns:
        The run, for the next session.
    """
    client = client_of(ws)
    place = experiment(ws, client, f"tune {recipe}")
    if parent is None:
        parent = str(client.create_run(place, run_name=f"tune {recipe}").info.run_id)
    for key, value in tags.items():
        client.set_tag(parent, key, value)
    for trial in trials:
        _log_trial(client, place, parent, trial)
    for exhibit in exhibits:
        client.log_artifact(parent, str(exhibit), "exhibits")
    client.set_terminated(parent)
    return parent


def _log_trial(client: Any, place: str, parent: str, trial: SearchTrial) -> None:
    from mlflow.entities import Metric, Param

    nested = {"mlflow.parentRunId": parent, "state": trial.state}
    run = client.create_run(place, run_name=f"trial {trial.number}", tags=nested)
    steps = {name: values for name, values in trial.folds.items() if values}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, 0, step) for name, values in steps.items() for step, value in enumerate(values)]
        + [Metric(f"{name}_mean", sum(values) / len(values), 0, 0) for name, values in steps.items()],
        params=[Param(name, str(value)[:_SHOWN]) for name, value in trial.settings.items()],
    )
    client.set_terminated(run.info.run_id, "FAILED" if trial.state == "failed" else "FINISHED")


def get(ws: Workspace, name: str, number: str) -> Version:
    """The version with this number.

    Raises:
        RegistryError: there is none, or its record differs from what was registered.
    """
    entry = _entry(ws, name, number)
    folder = folder_of(ws, entry.run_id)
    text = _read(folder / RECORD, f"{name} {number}")
    if hashlib.sha256(text).hexdigest() != entry.tags.get("record_sha256"):
        raise RegistryError(f"{name} {number}: {RECORD} is not the one that was registered; train again")
    return Version(name, str(entry.version), entry.run_id, folder / _FORM, json.loads(text))


def find(ws: Workspace, name: str, alias: Alias) -> Version | None:
    """The version that carries this alias; None if there is none."""
    number = aliases(ws, name).get(alias)
    return None if number is None else get(ws, name, number)


def names(ws: Workspace) -> list[str]:
    """Every model that was ever registered."""
    if not database(ws).exists():
        return []
    return sorted(str(model.name) for model in client_of(ws).search_registered_models())


def versions(ws: Workspace, name: str) -> list[Version]:
    """All versions of a model, the oldest first."""
    if not database(ws).exists():
        return []
    found = client_of(ws).search_model_versions(f"name = '{name}'")
    return [get(ws, name, number) for number in sorted((str(one.version) for one in found), key=int)]


def aliases(ws: Workspace, name: str) -> dict[str, str]:
    """Alias → version number; empty for a model that was never registered."""
    if not database(ws).exists():
        return {}
    found = client_of(ws).search_registered_models(f"name = '{name}'")
    return {alias: str(number) for model in found for alias, number in model.aliases.items()}


def point(ws: Workspace, name: str, alias: Alias, number: str) -> None:
    """Let an alias point at this version."""
    client_of(ws).set_registered_model_alias(name, alias, number)


def unpoint(ws: Workspace, name: str, alias: Alias) -> None:
    """Take an alias away; nothing happens where it is not set."""
    if alias in aliases(ws, name):
        client_of(ws).delete_registered_model_alias(name, alias)


def annotate(ws: Workspace, name: str, number: str, notes: Mapping[str, str]) -> None:
    """Write notes (a verdict, a reason) as tags of a version."""
    client = client_of(ws)
    for key, value in notes.items():
        client.set_model_version_tag(name, number, key, value)


def notes(ws: Workspace, name: str, number: str) -> dict[str, str]:
    """All tags of a version."""
    return {key: str(value) for key, value in _entry(ws, name, number).tags.items()}


def export(ws: Workspace, version: Version) -> Path:
    """Copy a version to `bundles/<model>/<version>/` and check every file on the way.

    A bundle never changes: where it is already there and whole, it is left alone.

    Returns:
        The folder with `bundle.json` and the files it names.

    Raises:
        RegistryError: a file is missing or differs from its SHA-256.
    """
    target = ws.bundles / version.name / version.number
    if not _is_whole(target):
        fresh = target.with_name(f".{version.number}-{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, expected in version.record["files"].items():
            content = _read(version.folder / name, f"{version.name} {version.number}")
            if hashlib.sha256(content).hexdigest() != expected:
                raise RegistryError(f"{version.name} {version.number}: {name} differs from its SHA-256; train again")
            _write(fresh / name, content)
        bundle = {"version": version.number, **version.record}
        _write(fresh / BUNDLE, as_json(bundle).encode())
        _sync_folder(fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        _sync_folder(target.parent)
    return target


def champions(ws: Workspace) -> dict[str, str]:
    """Model → version that serves."""
    if not ws.champions.exists():
        return {}
    try:
        return {str(name): str(number) for name, number in json.loads(ws.champions.read_text()).items()}
    except (ValueError, AttributeError) as error:
        raise RegistryError(
            f"{ws.champions.name}: is not what was written ({error}); remove it and promote again"
        ) from error


def crown(ws: Workspace, name: str, number: str) -> None:
    """Let serving take up this bundle: `champions.json` is replaced in one step, or not at all."""
    ws.root.mkdir(parents=True, exist_ok=True)
    with locked(ws.champions.with_suffix(".lock")):
        content = champions(ws) | {name: number}
        fresh = ws.champions.with_suffix(f".{os.getpid()}.tmp")
        _write(fresh, json.dumps(content, sort_keys=True, indent=1).encode())
        fresh.replace(ws.champions)
        _sync_folder(ws.root)


def _log_batch(client: Any, run_id: str, record: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    stamp = int(datetime.fromisoformat(record["at"]).timestamp() * 1000)
    measured = {key: value for key, value in record["metrics"].items() if value is not None}
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, stamp, 0) for key, value in measured.items()],
        params=[Param(key, value[:_SHOWN]) for key, value in _flat(record["config"])],
        tags=[RunTag(key, value) for key, value in tags(record).items()],
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _register(client: Any, name: str, run_id: str, source: str, tags: Mapping[str, str]) -> str:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return str(client.create_model_version(name, source=source, run_id=run_id, tags=dict(tags)).version)


def _entry(ws: Workspace, name: str, number: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client_of(ws).get_model_version(name, number)
    except MlflowException as missing:
        raise RegistryError(f"{name}: there is no version {number}; `tessera train` makes one") from missing


def _is_whole(bundle: Path) -> bool:
    try:
        files = json.loads((bundle / BUNDLE).read_text())["files"]
        return all(digest(bundle / name) == expected for name, expected in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as missing:
        raise RegistryError(f"{what}: {path.name} is gone from the registry; train again") from missing


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
