"""How long until a member buys again, as serving reads it: a chance of silence for any horizon, and so churn.

Two models of the logit of "nothing within so many days" are averaged: a linear one over logarithms of features and
terms of the member's own rhythm, whose weights move with the logarithm of the horizon; and boosted trees over all
features with the horizon as one more, in which silence can only grow rarer with it. One curve, fitted on members
neither had learned from, turns the average into a probability.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.rhythm import NEEDED, TERMS
from features.learned.silence_logistic import Logistic
from features.learned.storage import load, save
from features.learned.trees import Trees

CURVES = "silence.npz"
RHYTHM = "rhythm"
"""Under this name stands what several features say together of a member's own rhythm."""
ADDED = (TERMS[0], TERMS[-1], "horizon_days")
"""What trees are given after the features: terms of the rhythm, and the horizon."""
_SOURCE = {"active": "first_purchase_days", "recency_squared": "recency_days", "single": "lifetime_baskets"}
Rows = NDArray[np.float64]


_NOTHING = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Churn:
    """The chance that a member buys nothing within any number of days; within `horizon` days it is called churn."""

    trees: Trees
    raw: Rows
    """(n_points,): averaged log-odds, stretched and lifted, ascending."""
    chance: Rows
    """(n_points,): the probability at each of them, strictly inside 0..1 and never falling; a straight line between
    them, constant beyond."""
    logistic: Logistic
    stretch: Rows
    """(n_days,): what the average is taken times before the curve, above 0."""
    lift: Rows
    """(n_days,): what is added then."""
    share: float
    """Of the trees in the average, 0..1; the rest is the linear model's."""
    days: Rows
    """(n_days,): horizons at which the curve of a member is computed, ascending; `horizon` is one of them."""
    horizon: float
    """Days."""

    def __post_init__(self) -> None:
        shaped("churn", "chance", self.chance, (len(self.raw),))
        for name in ("stretch", "lift"):
            shaped("churn", name, getattr(self, name), (len(self.days),))
        for name in ("raw", "chance", "days", "stretch", "lift"):
            finite("churn", name, getattr(self, name))
        if not len(self.raw) or (np.diff(self.raw) <= 0).any() or (np.diff(self.chance) < 0).any():
            raise LearnedError("churn: the calibration curve does not rise; train the model again")
        if self.chance[0] <= 0 or self.chance[-1] >= 1:
            raise LearnedError("churn: a calibrated probability of 0 or 1 is certainty nobody has; train it again")
        if (np.diff(self.days) <= 0).any() or not (self.days == self.horizon).any() or self.days[0] <= 0:
            raise LearnedError("churn: the days of the curve do not rise from above 0 past the horizon; train it again")
        if (self.stretch <= 0).any():
            raise LearnedError("churn: log-odds would change places before the curve; train the model again")
        if not 0.0 <= self.share <= 1.0 or tuple(self.trees.feature_names[-len(ADDED) :].tolist()) != ADDED:
            raise LearnedError("churn: the trees and the linear model do not belong together; train it again")
        self._places  # noqa: B018 - finds every feature once, at load

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features a row must hold, in this order."""
        return tuple(self.trees.feature_names[: -len(ADDED)].tolist())

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Where in a row the features of the logarithms and those of the rhythm stand; the latter all or none."""
        names, logs = self.feature_names, self.logistic.logs.tolist()
        missing = [name for name in logs if name not in names]
        if missing:
            raise LearnedError(f"churn: the trees do not know feature {missing[0]}; train the model again")
        needed = [names.index(name) for name in NEEDED if name in names]
        return np.array([names.index(name) for name in logs], np.intp), np.array(needed, np.intp)

    def _known(self, rows: Rows) -> Rows:
        """What the rhythm is read from, (n, 3); nothing is known of it without all three features."""
        needed = self._places[1]
        return rows[:, needed] if len(needed) == len(NEEDED) else np.zeros((len(rows), len(NEEDED)))

    def _terms(self, rows: Rows, days: float) -> Rows:
        own = self.logistic.rhythms.terms(self._known(rows), days)
        return np.concatenate((np.log1p(np.fmax(rows[:, self._places[0]], 0.0)), own), axis=1)

    @staticmethod
    def _for_trees(rows: Rows, terms: Rows, days: float) -> Rows:
        first = terms.shape[1] - len(TERMS)
        added = (terms[:, first : first + 1], terms[:, -1:], np.full((len(rows), 1), days))
        return np.concatenate((rows, *added), axis=1)

    def log_odds(self, rows: Rows, days: float) -> Rows:
        """The average of both models, (n,), as it comes."""
        terms = self._terms(rows, days)
        plain = self.logistic.raw(terms, float(np.log(days / self.horizon)))
        return self.share * self.trees.raw(self._for_trees(rows, terms, days)) + (1.0 - self.share) * plain

    @cached_property
    def _middle(self) -> int:
        return int(np.searchsorted(self.days, self.horizon))

    def _said(self, rows: Rows, place: int) -> Rows:
        """The chance at `days[place]`, (n,)."""
        log_odds = self.log_odds(rows, float(self.days[place]))
        found: Rows = np.interp(self.stretch[place] * log_odds + self.lift[place], self.raw, self.chance)
        return found

    def probability(self, rows: Rows) -> Rows:
        """Chance of churn, nothing bought within the horizon, (n,).

        Args:
            rows: (n, n_features); NaN where a feature is missing.
        """
        return self._said(rows, self._middle)

    def probability_of_one(self, row: Rows) -> float:
        """The same for one member, (n_features,), in half the time."""
        logs, needed, constant, slope, offset = self._one
        values = row.tolist()
        own = self.logistic.rhythms.terms_of_one([values[i] for i in needed] or _NOTHING, self.horizon)
        terms = [math.log1p(values[i]) if values[i] > 0.0 else 0.0 for i in logs]
        plain = float(np.array(terms + own) @ self.logistic.weight) + constant
        grown = float(self.trees.raw(np.array([[*values, own[0], own[-1], self.horizon]]))[0])
        log_odds = self.share * grown + (1.0 - self.share) * plain
        return float(np.interp(slope * log_odds + offset, self.raw, self.chance))

    @cached_property
    def _one(self) -> tuple[list[int], list[int], float, float, float]:
        """What `probability_of_one` needs, as plain numbers."""
        logs, needed = (each.tolist() for each in self._places)
        slope, offset = float(self.stretch[self._middle]), float(self.lift[self._middle])
        whole = needed if len(needed) == len(NEEDED) else []
        return logs, whole, float(self.logistic.constant[0]), slope, offset

    def silence(self, rows: Rows, days: NDArray[np.float64]) -> Rows:
        """Chance that nothing is bought within each of `days`, (n, n_wanted); never rising with the days.

        At the points of `self.days` it is what the models say, held to what they say of the horizon where they would
        rise; between two of them the hazard is constant (log-linear). Beyond the last, about which nothing was learned,
        it falls as that of the member's rhythm does.
        """
        wanted = np.asarray(days, np.float64)
        if wanted.ndim != 1 or not (wanted >= 0).all():
            raise LearnedError("churn: a horizon is a number of days, not below 0")
        known, last = self._known(rows), float(self.days[-1])
        points = np.concatenate(([0.0], self.days))
        hazard = np.concatenate((np.zeros((len(rows), 1)), -np.log(self._curve(rows))), axis=1)
        out = np.empty((len(rows), len(wanted)))
        for column, each in enumerate(np.minimum(wanted, last)):
            right = max(int(np.searchsorted(points, each)), 1)
            part = (each - points[right - 1]) / (points[right] - points[right - 1])
            out[:, column] = hazard[:, right - 1] + part * (hazard[:, right] - hazard[:, right - 1])
        for column in np.flatnonzero(wanted > last).tolist():
            further = self.logistic.rhythms.silent(known, float(wanted[column]))
            out[:, column] -= np.log(further / self.logistic.rhythms.silent(known, last))
        return np.exp(-out)

    def _curve(self, rows: Rows) -> Rows:
        """Silence at `self.days`, (n, n_days), made to fall on both sides of the horizon."""
        said = np.stack([self._said(rows, place) for place in range(len(self.days))], axis=1)
        middle = self._middle
        said[:, middle::-1] = np.maximum.accumulate(said[:, middle::-1], axis=1)
        said[:, middle:] = np.minimum.accumulate(said[:, middle:], axis=1)
        return said

    def next_purchase(self, rows: Rows, shares: NDArray[np.float64], within: float) -> Rows:
        """Days until a purchase has come with each chance of `shares`, (n, n_shares); ∞ if not `within` so many days.

        Beyond the last of `self.days` it rests on the member's rhythm alone.
        """
        ahead = self.days[-1] * np.geomspace(1.0, max(within / self.days[-1], 1.0), 9)[1:]
        points = np.unique(np.concatenate((self.days, ahead[ahead > self.days[-1]])))
        hazard = -np.log(self.silence(rows, points))
        points = np.concatenate(([0.0], points))
        hazard = np.concatenate((np.zeros((len(rows), 1)), hazard), axis=1)
        out = np.full((len(rows), len(shares)), np.inf)
        for row, falls in enumerate(hazard):
            found = np.interp(-np.log1p(-np.asarray(shares, np.float64)), falls, points, right=np.inf)
            out[row] = np.where(found <= within, found, np.inf)
        return out

    def contributions(self, rows: Rows) -> tuple[tuple[str, ...], Rows]:
        """What each feature adds to the log-odds at the horizon, beside those of nobody in particular.

        Paths through the trees (Saabas 2014) and weight × (term − mean) of the linear model, each by its share.

        Returns:
            The names: features, then `RHYTHM`; and (n, n_names + 1), whose rows sum to `log_odds`. The last column is
            the same for everybody.
        """
        names, terms = self.feature_names, self._terms(rows, self.horizon)
        width = len(names) + 1
        moved = self.share * self.trees.contributions(self._for_trees(rows, terms, self.horizon))
        out = np.zeros((len(rows), width + 1))
        out[:, : width - 1] = moved[:, : width - 1]
        out[:, width - 1] = moved[:, width - 1 : -1].sum(axis=1)
        out[:, width] = moved[:, -1]
        pull = (1.0 - self.share) * self.logistic.weight
        for place, term in enumerate((*self.logistic.logs.tolist(), *TERMS)):
            source = _SOURCE.get(term, term)
            column = width - 1 if source not in names else names.index(source)
            out[:, column] += pull[place] * (terms[:, place] - self.logistic.mean[place])
        out[:, width] += (1.0 - self.share) * self.logistic.constant[0] + pull @ self.logistic.mean
        return (*names, RHYTHM), out

    def reasons(self, row: Rows, top: int = 3) -> tuple[tuple[str, float], ...]:
        """What moved this member's churn most, (n_features,) → (name, change of the log-odds); positive: for churn."""
        names, moved = self.contributions(row[None, :])
        order = np.argsort(-np.abs(moved[0, :-1]), kind="stable")[:top]
        return tuple((names[i], float(moved[0, i])) for i in order if moved[0, i])


def save_churn(churn: Churn, folder: Path) -> None:
    """Write the trees as any form is written, and the rest beside them in `silence.npz`."""
    save(churn.trees, folder)
    rest = {field.name: np.asarray(getattr(churn, field.name)) for field in fields(churn) if field.name not in _APART}
    logistic = {f"logistic_{field.name}": getattr(churn.logistic, field.name) for field in fields(Logistic)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **rest, **logistic)  # type: ignore[arg-type, unused-ignore]
    (folder / CURVES).write_bytes(buffer.getvalue())


_APART = ("trees", "logistic")


def load_churn(folder: Path) -> Churn:
    """Read it back; raises `LearnedError` that names the file at fault."""
    trees = load(folder)
    if not isinstance(trees, Trees):
        raise LearnedError(f"{folder}: holds {type(trees).__name__}, not trees; export the churn model again")
    path = folder / CURVES
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            logistic = Logistic(
                archive["logistic_logs"],
                *(archive[f"logistic_{name}"].astype(np.float64) for name in _NUMBERS),
            )
            return Churn(
                trees,
                archive["raw"].astype(np.float64),
                archive["chance"].astype(np.float64),
                logistic,
                archive["stretch"].astype(np.float64),
                archive["lift"].astype(np.float64),
                float(archive["share"]),
                archive["days"].astype(np.float64),
                float(archive["horizon"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, LearnedError):
            raise
        raise LearnedError(f"{path}: missing or damaged ({error}); export the churn model again") from error


_NUMBERS = ("constant", "weight", "turn", "mean", "rhythm")
