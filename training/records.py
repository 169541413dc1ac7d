"""What the registry keeps of a version: its files with their hashes, where it came from, what it was worth."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


class RegistryError(ValueError):
    """A version, alias or file that is not there or not what its record says."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a version came from: enough to train it again to the same arrays."""

    data_fingerprint: str
    at: datetime
    """The cut: nothing known after it was used."""
    feature_names: tuple[str, ...]
    seed: int
    code: str
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """A trained model before it has a version: its files, and what is known about them."""

    name: str
    form: str
    folder: Path
    lineage: Lineage
    metrics: Mapping[str, float]
    golden: Mapping[str, Any] = field(default_factory=dict)
    """Inputs and the outputs they must give, so that a loader can tell a wrong model from a right one."""
    exhibits: Sequence[Path] = ()
    """Pictures and tables for people."""


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """One trial of a search for settings."""

    number: int
    state: str
    """complete, pruned (stopped early) or failed."""
    settings: Mapping[str, Any]
    folds: Mapping[str, Sequence[float]]
    """Figure → its value in each fold that was run."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version; `folder` holds its files as they were logged."""

    name: str
    number: str
    run_id: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration it was trained with."""
        config: Mapping[str, Any] = self.record["config"]
        return config


def code_version(checkout: Path | None = None) -> str:
    """The git revision of the code, `+` when files differ from it; the package's version where there is no git."""
    root = checkout or Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        said = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode == 0:
            return said.stdout.strip()
    return metadata.version("tessera")


def record_of(draft: Draft) -> dict[str, Any]:
    """The draft as JSON can hold it; what is not finite becomes null."""
    files = {path.name: digest(path) for path in sorted(draft.folder.iterdir())}
    return {
        "name": draft.name,
        "form": draft.form,
        "files": files,
        "data_fingerprint": draft.lineage.data_fingerprint,
        "at": draft.lineage.at.astimezone(UTC).isoformat(),
        "code": draft.lineage.code,
        "seed": draft.lineage.seed,
        "config": dict(draft.lineage.config),
        "feature_names": list(draft.lineage.feature_names),
        "metrics": {key: _finite(value) for key, value in draft.metrics.items()},
        "golden": dict(draft.golden),
    }


def _finite(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None


def tags(record: Mapping[str, Any]) -> dict[str, str]:
    """What people search for, and the hash that ties the record to its entry."""
    return {
        "form": record["form"],
        "data_fingerprint": record["data_fingerprint"],
        "at": record["at"],
        "code": record["code"],
        "seed": str(record["seed"]),
        "config": json.dumps(record["config"], sort_keys=True),
        "features": ",".join(record["feature_names"]),
        "record_sha256": hashlib.sha256(as_json(record).encode()).hexdigest(),
    }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_json(value: Mapping[str, Any]) -> str:
    """The one text in which records and bundles are written."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
