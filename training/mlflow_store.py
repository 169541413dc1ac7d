"""MLflow on one SQLite file below the workspace: how it is opened, and where it keeps things."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features.workspace import Workspace


def database(ws: Workspace) -> Path:
    """The file that holds runs, versions and aliases; not there before something was registered."""
    return ws.mlflow / "mlflow.db"


def client_of(ws: Workspace) -> Any:
    """A client on this workspace's SQLite file; the flags must stand before MLflow is imported."""
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    ws.mlflow.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{database(ws).resolve()}"
    with locked(ws.mlflow / "opening.lock"):  # two processes that open it first would both lay out its tables
        return MlflowClient(uri, uri)


def experiment(ws: Workspace, client: Any, model: str, name: str | None = None) -> str:
    """The experiment under which runs of a model are kept, by id; made where there is none."""
    name = name or model
    place = (ws.mlflow / "artifacts").resolve().as_uri()
    known = client.get_experiment_by_name(name)
    if known is None:
        created: str = client.create_experiment(name, artifact_location=place)
        return created
    if known.artifact_location != place and name == model:
        # The workspace was moved. MLflow keeps absolute places for ever, so runs go on under a name of the new place.
        return experiment(ws, client, model, f"{model} at {hashlib.sha256(place.encode()).hexdigest()[:8]}")
    found: str = known.experiment_id
    return found


def folder_of(ws: Workspace, run_id: str) -> Path:
    """Where the files of a run lie."""
    return ws.mlflow / "artifacts" / run_id / "artifacts"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time, on this machine."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
