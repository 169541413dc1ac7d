"""Finding the workspace and the configuration of a command, and saying plainly when there is none."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


def explain(error: Exception) -> str | None:
    """The text of an error for the person at the terminal, with the way out; None for one that is a fault of ours."""
    seen: BaseException | None = error
    while seen is not None:  # libraries wrap what the disk said
        if (said := _of_the_disk(seen)) is not None:
            return said
        seen = seen.__cause__ or seen.__context__
    if any(words in str(error) for words in _DAMAGED):
        return "a database of the workspace is damaged: `tessera check` says which, and what to do"
    if type(error).__name__ == "DecodeError":
        return "feast/registry.db is damaged: remove it and run `tessera features`; it is made from the definitions"
    if type(error).__name__ == "ValidationError":
        return "; ".join(_invalid(fault) for fault in getattr(error, "errors", list)())
    return str(error) if isinstance(error, (RefusedError, ValueError, OSError)) else None


_FULL = ("No space left on device", "database or disk is full", "not enough space")
_DAMAGED = ("file is not a database", "database disk image is malformed")
_CLOSED = ("Permission denied", "Read-only file system", "unable to open database", "readonly database")


def _of_the_disk(error: BaseException) -> str | None:
    """What disks say, whichever library passed it on."""
    number, text = getattr(error, "errno", None), str(error)
    if "disk I/O error" in text:
        return (
            "the disk cannot be written: it is full, gone or failing; nothing accepted is lost; see to it and run again"
        )
    where = getattr(error, "filename", None)
    named = f" ({where})" if where else ""
    if number == errno.ENOSPC or any(words in text for words in _FULL):
        return f"the disk is full{named}: nothing accepted is lost; free space and run again"
    if isinstance(error, PermissionError) or number == errno.EROFS or any(words in text for words in _CLOSED):
        return f"{where or text}: may not be read or written; give this user the right to, or choose another folder"
    return None


def _invalid(fault: dict[str, Any]) -> str:
    return f"{'.'.join(map(str, fault['loc']))} {fault['input']!r}: {fault['msg']}"


def show_clock(ws: Workspace, at: datetime | None, *, live: bool) -> None:
    """Print the programme clock, after setting it where asked."""
    if live or at is not None:
        clock.set_to(ws, None if live or at is None else at.replace(tzinfo=UTC))
    print(f"{clock.now(ws):%Y-%m-%d %H:%M:%S} UTC, {clock.offset(ws).total_seconds():+.0f} s from real time")
