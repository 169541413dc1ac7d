"""Every catalogue, policy and set of experiments that ever decided, by version, so that a decision can be run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["catalog", "policy", "experiments"]


class VersionError(KeyError):
    """A version that was never kept here."""


def keep(folder: Path, kind: Kind, version: str, content: bytes) -> Path:
    """Keep this content under its version, for ever; nothing happens where it is kept already."""
    path = _path(folder, kind, version)
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return path


def find(folder: Path, kind: Kind, version: str) -> bytes:
    """The content kept under this version.

    Raises:
        VersionError: there is none.
    """
    try:
        return _path(folder, kind, version).read_bytes()
    except FileNotFoundError as missing:
        raise VersionError(f"{kind} {version} is not in {folder}; restore it from a backup") from missing


def _path(folder: Path, kind: Kind, version: str) -> Path:
    return folder / f"{kind}-{version}.json"
