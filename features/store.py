"""The only door to Feast: definitions, point-in-time retrieval, materialising and pushing.

Feast is the contract for training frames and for writing the online store. Serving reads `features.rows` and never
comes here, because importing Feast takes more than a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from features import behavior, facts, identity, views
from features.entities import Programme
from features.feast_objects import TIMES, feast, lay_down, objects, offline_file
from features.member_states import state_blobs
from features.online import settings
from features.relations import microseconds
from features.states import StateError, decode, encode_taste
from features.workspace import Workspace

ROWS_AT_ONCE = 5_000

Row = tuple[str, bytes, datetime]
"""Member id, bytes, event time."""


def apply(ws: Workspace, programme: Programme, services: Mapping[str, Sequence[str]] | None = None) -> None:
    """Register the entity, the views and the services with Feast; running it again changes nothing.

    Args:
        ws: The workspace.
        programme: Its rules.
        services: Service → its features, one for each model version (such as `churn_v3`), beside the service
            `everything`. Services registered before stay.
    """
    ws.registry.parent.mkdir(parents=True, exist_ok=True)
    _opened(ws).apply(objects(ws, programme, services or {}))


def write_offline(ws: Workspace, pairs: pd.DataFrame, programme: Programme, *, only: bool = False) -> int:
    """Compute all features for these members and times and lay them down for Feast, a Parquet file for each view.

    Args:
        ws: The workspace, with its typed tables.
        pairs: Columns `member_id` and `at`.
        programme: Its rules.
        only: Drop what was laid down before, so that work done every night does not fill the disk.

    Returns:
        How many rows were computed. Rows of the same member and time are replaced, all others stay unless `only`.
    """
    unique = pairs[["member_id", "at"]].drop_duplicates(ignore_index=True)
    frame = behavior.historical(ws.tables, unique, programme)
    frame["event_timestamp"] = frame["created"] = frame["at"]
    for view in views.views(programme):
        names = [feature.name for feature in view.features]
        if only:
            offline_file(ws, view.name).unlink(missing_ok=True)
        lay_down(offline_file(ws, view.name), frame[["member_id", *TIMES, *names]])
    return len(frame)


def historical(ws: Workspace, pairs: pd.DataFrame, service: str) -> pd.DataFrame:
    """Feast's point-in-time retrieval of a service, from what `write_offline` laid down.

    Args:
        ws: The workspace.
        pairs: Columns `member_id` and `at`; further columns are kept.
        service: Name of a registered service.

    Returns:
        One row for each row of `pairs`, in their order: their columns, then the features of the service.

    Raises:
        RuntimeError: Feast gave back another number of rows.
    """
    store = _opened(ws)
    found = store.get_feature_service(service)
    names = [feature.name for projection in found.feature_view_projections for feature in projection.features]
    entities = pairs.rename(columns={"at": "event_timestamp"}).assign(row_number=np.arange(len(pairs)))
    job = store.get_historical_features(entity_df=entities, features=found, filter_by_created_timestamp=True)
    frame: pd.DataFrame = job.to_df()
    if len(frame) != len(pairs):
        raise RuntimeError(f"Feast gave {len(frame)} rows for {len(pairs)} asked of service {service!r}: report this")
    ordered = frame.sort_values("row_number", ignore_index=True)
    return pd.concat([pairs.reset_index(drop=True), ordered[names].astype("float64")], axis=1)


def services(ws: Workspace) -> list[str]:
    """The names of the registered services."""
    return sorted(found.name for found in _opened(ws).list_feature_services())


def materialize(
    ws: Workspace,
    programme: Programme,
    at: datetime,
    overlap_days: float = 2.0,
    member_ids: Sequence[str] | None = None,
    fresh: Mapping[str, pd.DataFrame] | None = None,
) -> int:
    """Bring the online states up to `at`: of all members the first time, later of those of whom something became known.

    Args:
        ws: The workspace, after `apply`.
        programme: Its rules.
        at: The moment, aware.
        overlap_days: Facts that became known up to this long before the last run count as news again, so that what
            arrived while it ran is not lost.
        member_ids: Only these members; the run then does not count as a full one.
        fresh: Typed rows known by `at` that are not in the tables, such as events accepted since the last ingest.
            Without them a run would put the tables' older view in place of what `features.freshness` pushed before.

    Returns:
        How many states were written.
    """
    store = _opened(ws)
    view = store.get_feature_view(views.STATE)
    last = view.most_recent_end_time
    wanted = member_ids
    if wanted is None and last is not None and _readable(ws):
        wanted = _with_news(ws.tables, fresh, min(last, at) - timedelta(days=overlap_days))
    written = push(ws, state_blobs(ws.tables, at, programme, wanted, fresh))
    if member_ids is None:
        start = last if last is not None and last < at else at - timedelta(days=1)
        store.registry.apply_materialization(view, store.project, start, at)
        store.refresh_registry()
    return written


def push(ws: Workspace, rows: Iterable[Row], view: str = views.STATE) -> int:
    """Push rows of an online view through Feast; a row never replaces a newer one.

    Returns:
        How many rows were pushed.
    """
    store = _opened(ws)
    pushed = 0
    for frame in _frames(rows, views.ONLINE[view]):
        store.push(f"{view}_push", frame)
        pushed += len(frame)
    return pushed


def push_tastes(
    ws: Workspace, version: str, member_ids: Sequence[str], vectors: NDArray[np.float32], at: datetime
) -> int:
    """Push the members' own vectors of one model version.

    Args:
        ws: The workspace.
        version: Version of the model they belong to; serving ignores vectors of any other.
        member_ids: (n_members,).
        vectors: Shape (n_members, k).
        at: Up to when the vectors know the members' purchases.
    """
    at_us = microseconds(at)
    rows = (
        (member_id, encode_taste(version, vector, at_us), at)
        for member_id, vector in zip(member_ids, vectors, strict=True)
    )
    return push(ws, rows, views.TASTE)


def online(ws: Workspace, view: str, member_ids: Sequence[str]) -> dict[str, bytes]:
    """What Feast reads from an online view, whatever store is configured; members without a row are left out."""
    store = _opened(ws)
    field = views.ONLINE[view]
    answer = store.get_online_features(
        features=[f"{view}:{field}"], entity_rows=[{"member_id": member_id} for member_id in member_ids]
    ).to_dict()
    found = zip(answer["member_id"], answer[field], strict=True)
    return {member_id: value for member_id, value in found if value is not None}


def online_row(ws: Workspace, fields: Mapping[str, str], member_id: str) -> dict[str, tuple[bytes, float]]:
    """View → bytes and event time (epoch seconds) of one member; `fields` names each view's field."""
    answer = (
        _opened(ws)
        .get_online_features(
            features=[f"{view}:{field}" for view, field in fields.items()], entity_rows=[{"member_id": member_id}]
        )
        .to_dict(include_event_timestamps=True)
    )
    found = {view: (answer[field][0], float(answer[f"{field}__ts"][0])) for view, field in fields.items()}
    return {view: row for view, row in found.items() if row[0] is not None}


def _opened(ws: Workspace) -> Any:
    return _open(str(ws.root.resolve()), yaml.safe_dump(settings(ws)))


@lru_cache(maxsize=8)
def _open(root: str, written: str) -> Any:
    """One store for each workspace and configuration: opening it reads the registry."""
    config = yaml.safe_load(written)
    config["registry"] = {**config["registry"], "path": str(Path(root) / config["registry"]["path"])}
    return feast().FeatureStore(config=feast().RepoConfig(repo_path=root, **config))


def _readable(ws: Workspace) -> bool:
    """Whether the store holds states, made for the relations of this version; if not, all are made anew."""
    somebody = facts.members(ws.tables)[:1]
    try:
        return any(decode(blob) for blob in online(ws, views.STATE, somebody).values()) if somebody else True
    except StateError:
        return False


def _with_news(tables: Path, fresh: Mapping[str, pd.DataFrame] | None, since: datetime) -> list[str]:
    """Members of whom anything became known after `since`."""
    news = facts.members(tables, fresh, known_after=f"known_at > make_timestamptz({microseconds(since)})")
    return sorted({*news, *identity.touched(tables, since)})


def _frames(rows: Iterable[Row], field: str) -> Iterator[pd.DataFrame]:
    waiting = iter(rows)
    while chunk := list(islice(waiting, ROWS_AT_ONCE)):
        member_ids, blobs, times = zip(*chunk, strict=True)
        at = pd.to_datetime(list(times), utc=True).as_unit("us")
        yield pd.DataFrame({"member_id": member_ids, field: blobs, "event_timestamp": at, "created": at})
