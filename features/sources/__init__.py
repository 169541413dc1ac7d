"""Histories and where they come from: one module for each layout, all of them ending in the typed tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from features.border import BorderError
from features.entities import Programme
from features.sources import complete_journey, folder, movielens, online_retail
from features.sources.loaded import Loaded

__all__ = ["SOURCES", "Loaded", "describe", "load"]

SOURCES: dict[str, Callable[[Path, Programme, Path | None], Loaded]] = {
    "online_retail": online_retail.load,
    "complete_journey": complete_journey.load,
    "movielens": movielens.load,
    "folder": folder.load,
}
"""The loader of each layout: `loader(path, programme, mapping)`."""

_DESCRIPTIONS = {
    "online_retail": online_retail.DESCRIPTION,
    "complete_journey": complete_journey.DESCRIPTION,
    "movielens": movielens.DESCRIPTION,
    "folder": folder.DESCRIPTION,
}


def load(source: str, path: Path, programme: Programme, mapping: Path | None = None) -> Loaded:
    """Read a history.

    Args:
        source: One of `SOURCES`.
        path: The folder or file that its publisher, or the team, delivers.
        programme: The rules that fill in what a history does not say.
        mapping: A `map.yaml`, for the source `folder`.

    Raises:
        BorderError: The source is unknown, or its files cannot be used.
    """
    if source not in SOURCES:
        raise BorderError(f"{source}: no such source; the sources are {', '.join(SOURCES)}.")
    return SOURCES[source](path, programme, mapping)


def describe() -> dict[str, str]:
    """What each source expects at its path, for help texts."""
    return dict(_DESCRIPTIONS)
