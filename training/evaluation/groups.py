"""Groups of members that are judged apart: by how much they had bought, and by their segment where that is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import behavior, segments
from features.entities import Programme
from features.workspace import Workspace
from training.interactions import Interactions

EVERYBODY = "everybody"
_QUARTERS = (0.25, 0.5, 0.75)


def baskets(before: Interactions) -> NDArray[np.int64]:
    """How many baskets each member had, (n_members,): moments with a purchase; purchases where all have one moment."""
    at = before.bought_at
    member = before.buys[:, 0].astype(np.int64)
    if len(at) and at.min() < at.max():
        order = np.lexsort((at, member))
        member, at = member[order], at[order]
        new = (np.diff(member, prepend=-1) != 0) | (np.diff(at, prepend=np.nan) != 0)
        member = member[new]
    return np.bincount(member, minlength=len(before.member_ids)).astype(np.int64)


def by_activity(before: Interactions, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """A label for every member, (n_members,), by baskets; the borders are the quartiles of the members in `rows`."""
    count = baskets(before)
    borders = np.unique(np.floor(np.quantile(count[rows], _QUARTERS))) if len(rows) else np.empty(0)
    borders = borders[borders < count[rows].max(initial=0)]
    least = [int(count[rows].min()) if len(rows) else 0, *(int(border) + 1 for border in borders)]
    most = [*(int(border) for border in borders), None]
    names = [_named(low, high) for low, high in zip(least, most, strict=True)]
    return np.array(names, object)[np.searchsorted(borders, count)]


def _named(low: int, high: int | None) -> str:
    many = f"{low} or more" if high is None else str(low) if low == high else f"{low}–{high}"
    return f"baskets: {many}"


def by_segment(ws: Workspace, programme: Programme, before: Interactions) -> dict[str, NDArray[np.object_]]:
    """Lifecycle and value label of every member as of the cut, (n_members,) each, from the features known then."""
    at = pd.Series([pd.Timestamp(before.at)] * len(before.member_ids)).astype("datetime64[us, UTC]")
    pairs = pd.DataFrame({"member_id": before.member_ids.astype(object), "at": at})
    found = segments.label(behavior.historical(ws.tables, pairs, programme), programme.segments)
    return {name: np.array([f"{name}: {label}" for label in found[name]], object) for name in ("lifecycle", "value")}
