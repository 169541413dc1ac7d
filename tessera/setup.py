"""Finding the workspace and the configuration of a command, and saying plainly when there is none."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

from features.workspace import Workspace
from tessera import clock


class RefusedError(Exception):
    """A command that cannot be carried out; the text names what is missing and the way out."""


def locate(home: Path, configs: Path | None) -> Workspace:
    """The workspace of a command: `configs`, else HOME/configs, else ./configs holds the YAML files."""
    chosen = configs or (home / "configs" if (home / "configs").is_dir() else Path("configs"))
    if not chosen.is_dir():
        raise RefusedError(
            f"no configuration in {chosen}: run inside the project folder, or name one with --configs "
            "(it holds catalog/, policy.yaml and training.yaml)"
        )
    for switch in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "BENTOML_DO_NOT_TRACK"):
        os.environ.setdefault(switch, "true")
    return Workspace(home.resolve(), chosen.resolve())


def needs_tables(ws: Workspace) -> None:
    """Refuse where no history has been loaded."""
    if not (ws.tables / "purchases.parquet").exists():
        raise RefusedError(f"no history in {ws.root}: run `tessera ingest --source … --path …` first")


def explain(error: ValueError | OSError) -> str:
    """The text of an error for the person at the terminal; disk and port faults get their way out."""
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC:
        where = getattr(error, "filename", None) or "workspace"
        return f"the disk is full ({where}): nothing accepted is lost; free space and run again"
    if number == errno.EADDRINUSE:
        return f"{error}: choose another with --port, or stop the process that listens there"
    return str(error)


def show_clock(ws: Workspace, at: datetime | None, *, live: bool) -> None:
    """Print the programme clock, after setting it where asked."""
    if live or at is not None:
        clock.set_to(ws, None if live or at is None else at.replace(tzinfo=UTC))
    print(f"{clock.now(ws):%Y-%m-%d %H:%M:%S} UTC, {clock.offset(ws).total_seconds():+.0f} s from real time")
