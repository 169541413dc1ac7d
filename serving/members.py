"""What the online store knows about one member, finished at the moment of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.behavior import definitions
from features.entities import Programme
from features.finishing import finisher
from features.online import MemberRows
from features.states import State, decode

STATE, TASTE = "member_state", "member_taste"
_VIEWS = (STATE, TASTE)


@dataclass(frozen=True, slots=True)
class Stored:
    """A member's rows as they lie in the online store; empty bytes where there is none."""

    state: bytes = b""
    taste: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One known member at one moment."""

    state: State
    row: NDArray[np.float64]
    """(n_features,), NaN where a feature is missing; in the order of `Finish.names`."""
    features: Mapping[str, float]
    """The same by name, and `bought_365d:<category>` = 1 for each category bought within a year."""
    taste: bytes

    @property
    def built_at(self) -> float:
        """When the state was made, epoch seconds."""
        return self.state.built_us / 1e6


class Finish:
    """From stored rows to a member, for one programme."""

    def __init__(self, programme: Programme) -> None:
        features = definitions(programme)
        self.names = tuple(feature.name for feature in features)
        self._finish = finisher(features)

    def __call__(self, stored: Stored, at: float) -> Member | None:
        """The member at `at` (epoch seconds); None for one that the store does not know.

        A state that was made a moment after `at` (by the updater, while the request came in) is finished as of its own
        time.
        """
        if not stored.state:
            return None
        state = decode(stored.state)
        when = max(at, state.built_us / 1e6)
        row = self._finish(state, when)
        features: dict[str, float] = dict(zip(self.names, row.tolist(), strict=True))
        for category in state.categories(when):
            features[f"bought_365d:{category}"] = 1.0
        return Member(state, row, features, stored.taste)


def fetch(rows: MemberRows, member_id: str) -> Stored:
    """A member's rows, in one look."""
    found: dict[str, Any] = rows.read_many(_VIEWS, member_id)
    state, taste = found.get(STATE), found.get(TASTE)
    return Stored(state[0] if state else b"", taste[0] if taste else b"")
