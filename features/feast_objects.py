"""What Feast is told: its entity, views and services, made from `features.views`; and Feast itself, imported late."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from features import behavior, views
from features.entities import Programme
from features.workspace import Workspace

TIMES = ("event_timestamp", "created")


@lru_cache(maxsize=1)
def feast() -> Any:
    """Feast, without typeguard's import-time checks, which parse its sources again on every start (5 s → 1.5 s)."""
    if os.environ.get("TESSERA_FEAST_TYPECHECK") != "1":
        import typeguard

        typeguard.typechecked = _unchecked  # type: ignore[assignment]
    import feast

    return feast


def objects(ws: Workspace, programme: Programme, services: Mapping[str, Sequence[str]]) -> list[Any]:
    """Everything to register, in an explicit list; files that Feast expects are made where they are missing."""
    member = feast().Entity(name="member", join_keys=["member_id"], value_type=feast().ValueType.STRING)
    finished = {view.name: _finished_view(ws, view, member) for view in views.views(programme)}
    online = [_online_view(ws, name, member) for name in views.ONLINE]
    wanted = {views.EVERYTHING: behavior.names(programme), **services}
    return [member, *finished.values(), *online, *_services(programme, wanted, finished)]


def offline_file(ws: Workspace, view: str) -> Path:
    """Where a view's rows lie offline."""
    return ws.features / view / "rows.parquet"


def lay_down(path: Path, rows: pd.DataFrame) -> None:
    """Put rows into a Parquet file in place of those with the same member and time; the file is replaced at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("rows", rows)
        text = "select * from rows"
        if path.exists():
            text += (
                f" union all by name select * from read_parquet('{_escaped(path)}') as before where not exists ("
                "select 1 from rows where rows.member_id = before.member_id"
                " and rows.event_timestamp = before.event_timestamp)"
            )
        connection.execute(f"copy ({text}) to '{_escaped(beside)}' (format parquet)")
    beside.replace(path)


def _unchecked(decorated: Any = None, **_: Any) -> Any:
    return decorated if decorated is not None else lambda inner: inner


def _finished_view(ws: Workspace, view: views.View, member: Any) -> Any:
    from feast.types import Float64, String

    door = feast()
    path = offline_file(ws, view.name)
    if not path.exists():
        lay_down(path, _no_rows([feature.name for feature in view.features]))
    source = door.FileSource(
        name=view.name, path=str(path), timestamp_field=TIMES[0], created_timestamp_column=TIMES[1]
    )
    fields = [door.Field(name=f.name, dtype=Float64, description=f.doc) for f in view.features]
    return door.FeatureView(
        name=view.name,
        entities=[member],
        ttl=timedelta(days=views.FINISHED_TTL_DAYS),
        source=source,
        online=False,
        schema=[door.Field(name="member_id", dtype=String), *fields],
    )


def _online_view(ws: Workspace, name: str, member: Any) -> Any:
    """A view that is only pushed to; its file exists because Feast wants one, and stays empty."""
    from feast.types import Bytes, String

    door = feast()
    path = offline_file(ws, name)
    if not path.exists():
        lay_down(path, _no_rows([]).assign(**{views.ONLINE[name]: pd.Series(dtype="object")}))
    batch = door.FileSource(
        name=f"{name}_batch", path=str(path), timestamp_field=TIMES[0], created_timestamp_column=TIMES[1]
    )
    return door.FeatureView(
        name=name,
        entities=[member],
        ttl=timedelta(0),
        source=door.PushSource(name=f"{name}_push", batch_source=batch),
        online=True,
        schema=[door.Field(name="member_id", dtype=String), door.Field(name=views.ONLINE[name], dtype=Bytes)],
    )


def _services(programme: Programme, wanted: Mapping[str, Sequence[str]], finished: Mapping[str, Any]) -> Iterator[Any]:
    for name, names in wanted.items():
        parts = views.chosen(programme, names)
        yield feast().FeatureService(name=name, features=[finished[view][kept] for view, kept in parts.items()])


def _no_rows(names: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {"member_id": pd.Series(dtype="object")}
    columns |= {name: pd.Series(dtype="datetime64[us, UTC]") for name in TIMES}
    return pd.DataFrame(columns | {name: pd.Series(dtype="float64") for name in names})


def _escaped(path: Path) -> str:
    return str(path).replace("'", "''")
