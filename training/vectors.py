"""Members' own vectors: features of a member like any other, kept beside the views and never in an artefact.

A version's vectors wait offline until it is promoted; then they go to the online store, tagged with the version they
belong to. The product vectors of another version mean nothing to them.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import online
from features.rows import Rows
from features.states import encode_taste
from features.workspace import Workspace

VIEW = "member_taste"


def keep(ws: Workspace, version: str, member_ids: NDArray[np.str_], vectors: NDArray[np.float32], at: datetime) -> int:
    """Write the vectors of a version offline.

    Args:
        ws: where.
        version: of the model they belong to.
        member_ids: (n,)
        vectors: (n, k), NaN in the rows of members the model knows nothing of; these are left out.
        at: up to when they know the members' purchases.

    Returns:
        How many members have one.
    """
    known = ~np.isnan(vectors).any(axis=1)
    frame = pd.DataFrame(
        {
            "member_id": member_ids[known].astype(object),
            "event_timestamp": pd.Timestamp(at),
            "version": version,
            "vector": [row.astype("<f4").tobytes() for row in vectors[known]],
        }
    )
    path = _path(ws, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    frame.to_parquet(draft, index=False)
    draft.replace(path)
    return int(known.sum())


def kept(ws: Workspace, version: str) -> tuple[NDArray[np.str_], NDArray[np.float32], float] | None:
    """Member ids in order, (n,), their vectors, (n, k), and up to when these know purchases (epoch seconds).

    None where the version has no vectors.
    """
    path = _path(ws, version)
    frame = pd.read_parquet(path).sort_values("member_id") if path.exists() else pd.DataFrame()
    if frame.empty:
        return None
    vectors = np.stack([np.frombuffer(vector, "<f4") for vector in frame["vector"]])
    return frame["member_id"].to_numpy(np.str_), vectors, frame["event_timestamp"].iloc[0].timestamp()


def push(ws: Workspace, version: str, at: datetime) -> int:
    """Bring a version's vectors into the online store, whatever version lies there, and say how many.

    A version without vectors (a form that needs none) takes away what lies there: nothing could read it.
    """
    path = _path(ws, version)
    if online.settings(ws)["online_store"]["type"] != online.OURS:
        return _push_through_feast(ws, version, path, at)
    rows = Rows(ws.online)
    try:
        if not path.exists():
            rows.delete(VIEW)
            return 0
        frame = pd.read_parquet(path)
        known_us = round(frame["event_timestamp"].iloc[0].timestamp() * 1e6) if len(frame) else 0
        pairs = zip(frame["member_id"], frame["vector"], strict=True)
        return rows.write(
            VIEW,
            ((member, encode_taste(version, np.frombuffer(vector, "<f4"), known_us), at) for member, vector in pairs),
        )
    finally:
        rows.close()


def _push_through_feast(ws: Workspace, version: str, path: Path, at: datetime) -> int:
    """The same into a store of Feast's own; vectors of other versions stay there, and serving does not read them."""
    from features import store

    if not path.exists():
        return 0
    frame = pd.read_parquet(path)
    vectors = np.stack([np.frombuffer(vector, "<f4") for vector in frame["vector"]])
    return store.push_tastes(ws, version, frame["member_id"].tolist(), vectors, at)


def forget(ws: Workspace, but: set[str]) -> None:
    """Delete the offline vectors of all versions except these."""
    for path in (ws.features / VIEW / "versions").glob("*.parquet"):
        if path.stem not in but:
            path.unlink()


def _path(ws: Workspace, version: str) -> Path:
    return ws.features / VIEW / "versions" / f"{version}.parquet"
