"""How the features are laid out for Feast: views by topic, the online views, and services. Plain data, no Feast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from features.behavior import definitions
from features.entities import Programme
from features.relations import Feature

STATE = "member_state"
"""Online view: the member's state, from which serving finishes every feature (`features.states.decode`)."""
TASTE = "member_taste"
"""Online view: the member's own vector with the version of its model (`features.states.decode_taste`)."""
EVERYTHING = "everything"
"""The service with all finished features."""
ONLINE: Mapping[str, str] = {STATE: "state", TASTE: "taste"}
"""Online view → its only field, bytes."""
FINISHED_TTL_DAYS = 1
"""A finished value is of its moment: asked for a day later it is missing, not stale."""

_TOPICS: Mapping[str, tuple[str, ...]] = {
    "purchase_behavior": ("recency", "frequency", "spend", "basket", "rhythm", "time"),
    "assortment": ("category",),
    "points": ("points",),
    "offers": ("offers",),
    "engagement": ("engagement",),
    "membership": ("tenure", "tier"),
}


@dataclass(frozen=True, slots=True)
class View:
    """One Feast view of finished features, a folder of Parquet offline."""

    name: str
    features: tuple[Feature, ...]


def views(programme: Programme) -> tuple[View, ...]:
    """The views of finished features."""
    return grouped(definitions(programme))


def grouped(features: Sequence[Feature]) -> tuple[View, ...]:
    """Features by topic.

    Raises:
        ValueError: A feature's family belongs to no topic.
    """
    homeless = {feature.family for feature in features} - {family for topic in _TOPICS.values() for family in topic}
    if homeless:
        raise ValueError(f"families {sorted(homeless)} belong to no view: add them to _TOPICS in features/views.py")
    return tuple(
        View(name, tuple(feature for feature in features if feature.family in families))
        for name, families in _TOPICS.items()
    )


def chosen(programme: Programme, names: Sequence[str]) -> dict[str, list[str]]:
    """View → those of its features that are named.

    Raises:
        ValueError: A name is no feature.
    """
    found = {view.name: [f.name for f in view.features if f.name in set(names)] for view in views(programme)}
    unknown = sorted(set(names) - {name for features in found.values() for name in features})
    if unknown:
        raise ValueError(f"no feature is called {', '.join(unknown)}: the names are in features/behavior.py")
    return {view: features for view, features in found.items() if features}
