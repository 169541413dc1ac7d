"""The form of answers: who accepts or redeems which candidate, and what that says of effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.trees import Trees

Floats = NDArray[np.float64]
_FARTHEST = 30.0


@dataclass(frozen=True, eq=False)
class Answering:
    """Rows are those of the `Effects` it belongs to. Without trees nothing is known of answers."""

    trees: Trees
    """Over f features and one column for each of `groups`; the raw sum is a log-odds."""
    groups: NDArray[np.str_]
    """(g,)"""
    column: NDArray[np.int64]
    """(k,): position of each row's group, −1 for none."""
    shift: Floats
    """(k,): added to the log-odds."""
    line: Floats
    """(k, 4): calibration of each row, over 1, log-odds, effect and its square."""
    ratio: Floats
    """(k,): share of the answers that is caused, for a member in the middle of everything."""
    ranks: Floats
    """(f + 1,): how that share changes with a member's places."""
    middle: Floats
    """(k,): mean of ratio · chance."""
    share: float = 0.0
    """How much of what that says of members' differences enters the effect."""

    def __post_init__(self) -> None:
        k = len(self.column)
        shaped("answering", "line", self.line, (k, 4))
        for name in ("shift", "ratio", "middle"):
            shaped("answering", name, getattr(self, name), (k,))
        for name in ("shift", "line", "ratio", "ranks", "middle"):
            finite("answering", name, getattr(self, name))
        if k and not -1 <= self.column.min() <= self.column.max() < max(len(self.groups), 1):
            raise LearnedError("answering: column points outside the groups; train the model again")

    @property
    def known(self) -> bool:
        """Whether answers were learned."""
        return len(self.trees.split_starts) > 1

    def log_odds(self, rows: Floats) -> Floats:
        """(n, k), before calibration; NaN where a row's group is not known.

        Args:
            rows: (n, f).
        """
        n, g = len(rows), len(self.groups)
        kinds = np.tile(np.eye(g), (n, 1))
        found = self.trees.raw(np.hstack([np.repeat(rows, g, axis=0), kinds])).reshape(n, g)
        padded = np.concatenate((found, np.full((n, 1), np.nan)), axis=1)
        return np.asarray(padded[:, self.column] + self.shift)

    def apart(self, log_odds: Floats, places: Floats) -> Floats:
        """(n, k): effects off their mean, as answers let expect; 0 where nothing is known.

        Args:
            log_odds: (n, k).
            places: (n, f + 1), of the features.
        """
        chance = 1.0 / (1.0 + np.exp(-log_odds))
        said = chance * (self.ratio + (places @ self.ranks)[:, None]) - self.middle
        return np.asarray(self.share * np.where(np.isnan(said), 0.0, said))

    def response(self, log_odds: Floats, effect: Floats) -> Floats:
        """(n, k): calibrated chance of an answer; NaN where nothing is known."""
        a, b, c, d = self.line.T
        turned = np.clip(a + b * log_odds + c * effect + d * effect**2, -_FARTHEST, _FARTHEST)
        return np.asarray(1.0 / (1.0 + np.exp(-turned)))
