"""Which online store the configuration names, and a reader for it; serving needs no Feast for the default one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from features.rows import Rows
from features.workspace import Workspace
from features.written import read

OURS = "features.row_store.RowOnlineStore"
_DEFAULTS: Mapping[str, Any] = {
    "project": "tessera",
    "provider": "local",
    "registry": {"path": "feast/registry.db", "cache_ttl_seconds": 0},
    "online_store": {"type": OURS, "path": "online.db"},
    "offline_store": {"type": "duckdb"},
    "entity_key_serialization_version": 3,
}


class MemberRows(Protocol):
    """What serving asks of an online store. A store that fails raises `apsw.Error` or `OSError`."""

    def read_many(self, views: Sequence[str], member_id: str) -> dict[str, tuple[bytes, float]]:
        """View → bytes and event time (epoch seconds); a view without a row for the member is left out."""
        ...


def settings(ws: Workspace) -> dict[str, Any]:
    """Feast's configuration: `feature_store.yaml` of the configuration folder; what it does not say is SQLite here."""
    path = ws.config_folder / "feature_store.yaml"
    return {**_DEFAULTS, **(read(path)[1] if path.exists() else {})}


def reader(ws: Workspace) -> MemberRows | None:
    """A reader for the configured store; None where it is SQLite and nothing was ever written."""
    store = settings(ws)["online_store"]
    if store["type"] != OURS:
        from features.feast_rows import FeastRows

        return FeastRows(ws)
    path = Path(ws.root, store.get("path", "online.db"))
    return Rows(path) if path.exists() else None
