"""Feast's online store, ours: a row of bytes for each member and view in one SQLite file (`features.rows`).

Feast finds it by the dotted path in `configs/feature_store.yaml`. A view with a single field of bytes is stored as
these bytes, so that serving reads them without Feast; any other view as a protobuf, its fields in order of their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import FeastConfigBaseModel
from feast.types import Bytes

from features.rows import Rows


class RowOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The settings under `online_store`."""

    type: Literal["features.row_store.RowOnlineStore"] = "features.row_store.RowOnlineStore"
    path: str = "online.db"
    """SQLite file, below the workspace folder."""


class RowOnlineStore(OnlineStore):  # type: ignore[misc]
    """One row of bytes for each member and view; a row never gives way to an older one."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of a view; see Feast's `OnlineStore`."""
        rows = ((_member(key), _pack(table, values), _aware(at)) for key, values, at, _ in data)
        written = _rows(config).write(table.name, rows)
        if progress:
            progress(written)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: Sequence[EntityKey],
        requested_features: Sequence[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read rows of a view in the order of the keys; (None, None) for a member without one."""
        found = _rows(config).read_members(table.name, [_member(key) for key in entity_keys])
        return [_unpacked(table, found.get(_member(key)), requested_features) for key in entity_keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],  # noqa: ARG002 — Feast's signature
        entities_to_delete: Sequence[Any],  # noqa: ARG002
        entities_to_keep: Sequence[Any],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make the file, and take out the rows of views that are gone."""
        for table in tables_to_delete:
            _rows(config).delete(table.name)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]) -> None:  # noqa: ARG002
        """Take out all rows of these views."""
        for table in tables:
            _rows(config).delete(table.name)


def _rows(config: RepoConfig) -> Rows:
    path = Path(config.repo_path or ".") / config.online_store.path
    if not path.exists():
        Rows(path).close()
    return _open(str(path), path.stat().st_ino)


@lru_cache(maxsize=16)
def _open(path: str, _inode: int) -> Rows:
    """The file at the path as it is now: one that was removed or replaced is not written to any longer."""
    return Rows(Path(path))


def _member(key: EntityKey) -> str:
    """The only join key there is, `member_id`."""
    return str(key.entity_values[0].string_val)


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _is_plain(table: FeatureView) -> bool:
    return len(table.features) == 1 and table.features[0].dtype == Bytes


def _pack(table: FeatureView, values: dict[str, Value]) -> bytes:
    if _is_plain(table):
        return bytes(values[table.features[0].name].bytes_val)
    ordered = [values.get(name, Value()) for name in sorted(feature.name for feature in table.features)]
    return bytes(RepeatedValue(val=ordered).SerializeToString())


def _unpacked(
    table: FeatureView, row: tuple[bytes, float] | None, requested: Sequence[str] | None
) -> tuple[datetime | None, dict[str, Value] | None]:
    if row is None:
        return None, None
    blob, at = row
    if _is_plain(table):
        values = {table.features[0].name: Value(bytes_val=blob)}
    else:
        names = sorted(feature.name for feature in table.features)
        values = dict(zip(names, RepeatedValue.FromString(blob).val, strict=True))
    kept = values if requested is None else {name: values[name] for name in requested}
    return datetime.fromtimestamp(at, UTC), kept
