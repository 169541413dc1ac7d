"""A churn model as serving reads it: trees, and the curve that turns their sum into a probability."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.storage import load, save
from features.learned.trees import Trees

CALIBRATION = "calibration.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Churn:
    """Probability that a member buys nothing within the horizon.

    Between the points of the curve the probability is read off a straight line, beyond them it stays what it was.
    """

    trees: Trees
    raw: NDArray[np.float64]
    """(n_points,): sums of the trees, ascending."""
    chance: NDArray[np.float64]
    """(n_points,): the probability at each of them, strictly inside 0..1 and never falling."""

    def __post_init__(self) -> None:
        shaped("churn", "chance", self.chance, (len(self.raw),))
        finite("churn", "raw", self.raw)
        finite("churn", "chance", self.chance)
        if not len(self.raw) or (np.diff(self.raw) <= 0).any() or (np.diff(self.chance) < 0).any():
            raise LearnedError("churn: the calibration curve does not rise; train the model again")
        if self.chance[0] <= 0 or self.chance[-1] >= 1:
            raise LearnedError("churn: a calibrated probability of 0 or 1 is certainty nobody has; train it again")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features a row must hold, in this order."""
        return tuple(self.trees.feature_names.tolist())

    def probability(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of churn, (n,), for rows (n, n_features); NaN where a feature is missing."""
        return np.interp(self.trees.raw(rows), self.raw, self.chance)

    def reasons(self, row: NDArray[np.float64], top: int = 3) -> tuple[tuple[str, float], ...]:
        """The features that moved this member's score most, (n_features,) → (name, change of the raw sum).

        A positive change speaks for churn (path contributions, Saabas 2014).
        """
        moved = self.trees.contributions(row[None, :])[0, :-1]
        order = np.argsort(-np.abs(moved), kind="stable")[:top]
        return tuple((self.feature_names[i], float(moved[i])) for i in order if moved[i])


def save_churn(churn: Churn, folder: Path) -> None:
    """Write the trees as any form is written, and `calibration.npz` beside them."""
    save(churn.trees, folder)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, raw=churn.raw, chance=churn.chance)
    (folder / CALIBRATION).write_bytes(buffer.getvalue())


def load_churn(folder: Path) -> Churn:
    """Read it back; raises `LearnedError` that names the file at fault."""
    trees = load(folder)
    if not isinstance(trees, Trees):
        raise LearnedError(f"{folder}: holds {type(trees).__name__}, not trees; export the churn model again")
    path = folder / CALIBRATION
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return Churn(trees, archive["raw"].astype(np.float64), archive["chance"].astype(np.float64))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, LearnedError):
            raise
        raise LearnedError(f"{path}: missing or damaged ({error}); export the churn model again") from error
