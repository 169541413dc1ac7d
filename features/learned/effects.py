"""The form of learned effects: what each candidate causes for a member, compared with doing nothing.

`τ_a(x) = level_a + slope_a · (h(x) − centre_a) + own_a · φ(x)`: a level of the candidate's own; one direction h in
which members differ, the same for all candidates and followed by each as far as it was seen to; and what differs for
this candidate alone. Where it is known who answers, that says how members differ too (`features.learned.answering`).
φ holds each feature's place among all members, between −1 and 1, and its square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.learned.answering import Answering
from features.learned.faults import LearnedError, finite, shaped
from features.learned.trees import Trees

Floats = NDArray[np.float64]
NEW = ""
"""Stands for a candidate nothing was learned about: of its group, or, where the group is NEW too, of any."""
LATER = "later."
"""Begins the names of the files of a second form beside the first: what changes after the reward window, in money."""
EXPECTED = "expected"
"""The feature after all others: the outcome that is expected of the member anyway."""
_ROWS = 512


class Told(NamedTuple):
    """What is said of n members and all k rows; each (n, k)."""

    effect: Floats
    error: Floats
    response: Floats
    """Chance that it is accepted or redeemed; NaN where nothing is known of that."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Rows of all arrays are `arms`: those learned from, then a NEW one for each group, last a NEW one of no group."""

    feature_names: NDArray[np.str_]
    """(f,)"""
    arms: NDArray[np.str_]
    """(k,): candidate ids; the first is doing nothing, with no effect by definition."""
    groups: NDArray[np.str_]
    """(k,): the type of each."""
    knots: Floats
    """(f + 1, q): rising values of each feature, EXPECTED last."""
    places: Floats
    """(f + 1, q): their places among members, −1 to 1."""
    level: Floats
    """(k,)"""
    level_variance: Floats
    slope: Floats
    slope_variance: Floats
    centre: Floats
    weight: Floats
    """(2f + 2,): linear part of h, over φ."""
    own: Floats
    """(k, 2f + 2)"""
    trees: Trees
    """The other part of h, over f + 1 features."""
    expected: Trees
    """The outcome expected anyway, over f features."""
    answers: Answering
    """Who answers, and the part of the effect that follows from it."""

    def __post_init__(self) -> None:
        f, k = len(self.feature_names), len(self.arms)
        shaped("effects", "knots", self.knots, (f + 1, None))
        shaped("effects", "places", self.places, self.knots.shape)
        shaped("effects", "groups", self.groups, (k,))
        shaped("effects", "weight", self.weight, (2 * f + 2,))
        shaped("effects", "own", self.own, (k, 2 * f + 2))
        for name in ("level", "level_variance", "slope", "slope_variance", "centre"):
            shaped("effects", name, getattr(self, name), (k,))
        for name in (
            "knots",
            "places",
            "level",
            "level_variance",
            "slope",
            "slope_variance",
            "centre",
            "weight",
            "own",
        ):
            finite("effects", name, getattr(self, name))
        asked = len(self.trees.feature_names), len(self.expected.feature_names)
        if asked != (f + 1, f) or not (np.diff(self.knots, axis=1) > 0).all():
            raise LearnedError("effects: knots do not rise, or the trees ask for other features; train the model again")
        if min(self.level_variance.min(initial=0.0), self.slope_variance.min(initial=0.0)) < 0:
            raise LearnedError("effects: a variance is below 0; train the model again")

    @cached_property
    def known(self) -> int:
        """How many arms were learned from, doing nothing included; they come first."""
        return int((self.arms != NEW).sum())

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Candidate id → its row, without those of NEW ones."""
        return {str(arm): row for row, arm in enumerate(self.arms[: self.known].tolist())}

    @cached_property
    def row_of_group(self) -> dict[str, int]:
        """Group → the row of a new candidate of it; NEW → that of a candidate of no known group."""
        return {str(group): row for row, group in enumerate(self.groups.tolist()) if row >= self.known}

    def row(self, candidate: str, group: str) -> int:
        """Where to look for a candidate: its own row, else its group's, else that of any."""
        found = self.row_of.get(candidate)
        return self.row_of_group.get(group, self.row_of_group[NEW]) if found is None else found

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Effects and their standard errors, (n, known) each; the first column, doing nothing, is 0.

        Args:
            rows: (n, f), NaN where a feature is missing.

        The error is that of the mean effect among members whom the model takes for alike, not of one member's own.
        """
        told = self.everything(rows)
        return told.effect[:, : self.known], told.error[:, : self.known]

    def everything(self, rows: Floats) -> Told:
        """For all rows of the form, NEW ones included."""
        rows = np.ascontiguousarray(rows, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names):
            raise LearnedError(f"effects: rows of shape {rows.shape}, {len(self.feature_names)} features were learned")
        more = np.column_stack([rows, self.expected.raw(rows)])
        phi = basis(more, self.knots, self.places)
        turn = (phi @ self.weight + self._grown(more))[:, None] - self.centre
        effect = self.level + self.slope * turn
        if self._any_own:
            effect = effect + phi @ self.own.T
        error = np.sqrt(self.level_variance + self.slope_variance * turn**2)
        if not self.answers.known:
            return Told(effect, error, np.full_like(effect, np.nan))
        log_odds = self.answers.log_odds(rows)
        if self.answers.share:
            effect = effect + self.answers.apart(log_odds, phi[:, : more.shape[1]])
        return Told(effect, error, self.answers.response(log_odds, effect))

    @cached_property
    def _any_own(self) -> bool:
        return bool(self.own.any())

    def _grown(self, rows: Floats) -> Floats:
        return self.trees.raw(rows) if len(self.trees.split_starts) > 1 else np.zeros(len(rows))


def basis(rows: Floats, knots: Floats, places: Floats) -> Floats:
    """φ, (n, 2f): each feature's place among members, and its square less a third; 0 where it is missing.

    Args:
        rows: (n, f).
        knots: (f, q), rising.
        places: (f, q).
    """
    parts = [_placed(rows[start : start + _ROWS], knots, places) for start in range(0, len(rows), _ROWS)]
    place = np.concatenate(parts) if parts else np.zeros(rows.shape)
    missing = np.isnan(place)
    square = np.where(missing, 0.0, place**2 - 1 / 3)
    return np.concatenate((np.where(missing, 0.0, place), square), axis=1)


def _placed(rows: Floats, knots: Floats, places: Floats) -> Floats:
    f, q = knots.shape
    below = (knots[None] <= rows[:, :, None]).sum(axis=2) - 1
    left = np.clip(below, 0, q - 2) + np.arange(f) * q
    low, high = knots.ravel()[left], knots.ravel()[left + 1]
    step = np.clip((rows - low) / (high - low), 0.0, 1.0)
    found: Floats = places.ravel()[left] * (1 - step) + places.ravel()[left + 1] * step
    return found
