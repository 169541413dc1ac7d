"""The history on disk: typed tables as Parquet files that depend on the facts alone, never on the order of loading.

`<folder>/<table>.parquet` has one row for each key, sorted by member, time and key. `manifest.json` is written last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from features.border import BorderError, finish, no_rejects
from features.merging import Merged, Rows, merge_table
from features.table_files import count, quote, read_frame, replacing, session, sha256, table_path, write_json
from features.tables import TABLES, Table


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What a merge did; every mapping is by table."""

    rows: Mapping[str, int]
    """Rows in the table afterwards."""
    added: Mapping[str, int]
    repeated: Mapping[str, int]
    """Rows that came again with the same content."""
    rejected: pd.DataFrame
    """Rows with the key of another row and other content: `file` is the table, `value` the row as JSON."""
    returns_tied: int
    """Returns in the table tied to a sale by `features.returns.tie`."""
    returns_alone: int
    """Returns in the table whose sale is not known."""


def merge(
    tables_dir: Path,
    incoming: Mapping[str, Rows],
    *,
    watermark: int | None = None,
    superseding: Mapping[str, str] | None = None,
) -> MergeSummary:
    """Unite the tables on disk with incoming rows.

    Of several rows with one key the one known first stays, and among those known at the same time the one with the
    smallest content hash: so the files come out byte for byte the same in whatever order, and however often, the rows
    come. Returns that do not name their sale are tied anew over the whole table each time. Each file is replaced
    atomically and the manifest comes last; a merge that is cut off can simply be run again.

    Args:
        tables_dir: The folder of the tables; made if absent.
        incoming: Rows by name of their table; missing optional columns may be left out.
        watermark: The last sequence number of the journal contained in `incoming`; the larger one is kept.
        superseding: By table an SQL condition over its columns; rows on disk that meet it make place
            first. For rows that are derived from others and come anew as a whole.

    Raises:
        BorderError: A table is not one of ours or lacks a column.
    """
    _known(incoming)
    tables_dir.mkdir(parents=True, exist_ok=True)
    with locked(tables_dir):
        manifest = _manifest(tables_dir)
        merged = {
            name: merge_table(tables_dir, TABLES[name], incoming[name], (superseding or {}).get(name))
            for name in TABLES
            if name in incoming
        }
        for name, result in merged.items():
            manifest["tables"][name] = {"rows": result.rows, "sha256": sha256(table_path(tables_dir, name))}
        if watermark is not None:
            manifest["watermark"] = max(watermark, manifest["watermark"] or watermark)
        write_json(tables_dir / "manifest.json", manifest)
    return _summary(merged)


def read(tables_dir: Path, name: str, columns: list[str] | None = None) -> pd.DataFrame:
    """A table, or some of its columns, in the order of the file; typed and empty where nothing is known.

    Args:
        tables_dir: The folder of the tables.
        name: One of `features.tables.TABLES`.
        columns: Which columns; all by default.
    """
    _known({name: pd.DataFrame()})
    table = TABLES[name]
    wanted = tuple(c for c in table.columns if columns is None or c.name in columns)
    path = table_path(tables_dir, name)
    names = [c.name for c in wanted]
    frame = read_frame(path, names) if path.exists() else pd.DataFrame({name: [] for name in names})
    return finish(frame, Table(name, table.key, wanted))[columns or names]


def fingerprint(tables_dir: Path) -> str:
    """SHA-256 over the contents of all tables: what a model was trained on."""
    manifest = _manifest(tables_dir)
    return hashlib.sha256(json.dumps(manifest["tables"], sort_keys=True).encode()).hexdigest()


def watermark(tables_dir: Path) -> int | None:
    """The last sequence number of the journal that the tables contain; None before the first."""
    mark: int | None = _manifest(tables_dir)["watermark"]
    return mark


def ends_at(tables_dir: Path) -> datetime:
    """When the last thing happened that members did: a purchase, an engagement, an answer to an offer.

    Raises:
        BorderError: The history has no such row.
    """
    last: list[datetime] = []
    for name in ("purchases", "engagements", "offer_events"):
        if (path := table_path(tables_dir, name)).exists():
            with session() as db:
                row = db.execute(f"select max(occurred_at) from read_parquet({quote(path)})").fetchone()
            last += [row[0]] if row and row[0] is not None else []
    if not last:
        raise BorderError(
            f"{tables_dir.name}: the history is empty: no purchase, engagement or offer event. "
            "Load one with `tessera ingest` first."
        )
    return pd.Timestamp(max(last)).tz_convert("UTC").to_pydatetime()


def damage(tables_dir: Path) -> list[str]:
    """What is wrong with the files of the tables, a sentence each; empty where they are as they were written."""
    faults = []
    for name, written in _manifest(tables_dir)["tables"].items():
        path = table_path(tables_dir, name)
        if not path.exists():
            faults.append(f"{path.name} is gone: load the history again with `tessera ingest`")
        elif sha256(path) != written["sha256"]:
            faults.append(f"{path.name} is not what was written: load the history again with `tessera ingest`")
    return faults


def set_aside(quarantine: Path, source: str, rejected: pd.DataFrame) -> Path | None:
    """Write rejected rows into the quarantine, named by their content so that loading twice leaves one file.

    Returns:
        The file, or None when nothing was rejected.
    """
    if rejected.empty:
        return None
    text = rejected.to_csv(index=False).encode()
    quarantine.mkdir(parents=True, exist_ok=True)
    path = quarantine / f"{source}-{hashlib.sha256(text).hexdigest()[:12]}.csv"
    with replacing(path) as tmp:
        tmp.write_bytes(text)
    return path


def _summary(merged: Mapping[str, Merged]) -> MergeSummary:
    lost = [result.rejected for result in merged.values() if len(result.rejected)]
    return MergeSummary(
        rows={name: result.rows for name, result in merged.items()},
        added={name: result.added for name, result in merged.items()},
        repeated={name: result.repeated for name, result in merged.items()},
        rejected=pd.concat(lost, ignore_index=True) if lost else no_rejects(),
        returns_tied=sum(result.tied for result in merged.values()),
        returns_alone=sum(result.alone for result in merged.values()),
    )


def _known(names: Mapping[str, Any]) -> None:
    for name in names:
        if name not in TABLES:
            raise BorderError(f"{name}: not a table of a history; the tables are {', '.join(TABLES)}.")


def _manifest(tables_dir: Path) -> dict[str, Any]:
    path = tables_dir / "manifest.json"
    if not path.exists():
        return {"tables": {}, "watermark": None}
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"tables": dict(loaded["tables"]), "watermark": loaded["watermark"]}
    except (ValueError, KeyError, TypeError) as error:
        raise BorderError(
            f"{path.name}: is not what was written ({error}); load the history again with `tessera ingest`"
        ) from error


def sign(tables_dir: Path, watermark: int | None) -> None:
    """Write the manifest of tables that were made from others; the lock (`locked`) must be held."""
    written = {}
    with session() as db:
        for name in TABLES:
            path = table_path(tables_dir, name)
            if path.exists():
                written[name] = {"rows": count(db, f"read_parquet({quote(path)})"), "sha256": sha256(path)}
    write_json(tables_dir / "manifest.json", {"tables": written, "watermark": watermark})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One merge at a time in a folder, whichever process wants it."""
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
