"""A lifetime-value model as serving reads it: a model of buying, trees that correct it, and what to expect around it.

The story of `training.bgnbd` and `training.gamma_gamma` gives each member a baseline from frequency, recency, age and
spend; trees over all features move money between members; a table of what value turned out to be gives the interval.
Special functions stay in training: what whoever is still there buys is a table over frequency and age.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError, finite, shaped
from features.learned.storage import load, save
from features.learned.trees import Trees

Rows = NDArray[np.float64]
ARRAYS = "lifetime.npz"
MONTHS = (12, 36)
"""The horizons that a value is stated for."""
HABITS = ("lifetime_baskets", "first_purchase_days", "recency_days", "lifetime_spend")
"""What the baseline is made from; features of any programme."""
DERIVED = ("baseline", "still_there", "purchases_to_come", "spend_of_a_purchase")
"""What the trees see of it beside the features."""
_LEAST = 1e-9
"""Money or purchases below this are this: a logarithm is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """Net margin to come, discounted; in currency, NaN for whoever never bought."""

    value: Rows
    """(n, 2): over 12 and 36 months."""
    low: Rows
    """(n, 2)"""
    high: Rows
    """(n, 2)"""


@dataclass(frozen=True, slots=True, eq=False)
class Lifetime:
    """Net margin of a member over the horizon that was learned, and its stretch to 12 and 36 months.

    log value = level + power · log baseline + trees. The baseline is chance of being still there × purchases to come of
    whoever is × spend of a purchase. A value over 12 or 36 months is that over the learned horizon times what the table
    expects more in the longer time.
    """

    trees: Trees
    buying: Rows
    """(4,): r, α (days), a, b of the BG/NBD model."""
    spending: Rows
    """(3,): p, q, v (currency) of the gamma-gamma model."""
    frequency: Rows
    """(n_frequencies,): repeat purchases, ascending from 0."""
    age: Rows
    """(n_ages,): days since the first purchase, ascending from 0."""
    purchases: Rows
    """(3, n_frequencies, n_ages): logarithm of discounted purchases to come of whoever is still there, over the learned
    horizon, 12 and 36 months."""
    points: Rows
    """(n_points,): logarithms of values over the learned horizon, ascending."""
    low: Rows
    """(n_points,): lower end of the interval there, as a multiple of the value."""
    high: Rows
    """(n_points,): upper end."""
    level: float
    power: float
    days: float
    """The horizon that was learned."""
    discount: float
    """By which money of a year later is less worth, as a share."""
    confidence: float
    """Share of members whose value lies in the interval."""

    def __post_init__(self) -> None:
        shaped("lifetime", "buying", self.buying, (4,))
        shaped("lifetime", "spending", self.spending, (3,))
        shaped("lifetime", "purchases", self.purchases, (3, len(self.frequency), len(self.age)))
        for name in ("low", "high"):
            shaped("lifetime", name, getattr(self, name), (len(self.points),))
        for name in ("buying", "spending", "frequency", "age", "purchases", "points", "low", "high"):
            finite("lifetime", name, getattr(self, name))
        for name, least in (("frequency", 2), ("age", 2), ("points", 1)):
            if len(getattr(self, name)) < least or (np.diff(getattr(self, name)) <= 0).any():
                raise LearnedError(f"lifetime: {name} does not rise; train the model again")
        if (self.buying <= 0).any() or (self.spending <= 0).any() or (self.high < self.low).any():
            raise LearnedError("lifetime: a parameter is not above 0 or an interval is upside down; train again")
        missing = [name for name in HABITS if name not in self.feature_names]
        if missing or tuple(self.trees.feature_names[len(self.feature_names) :].tolist()) != DERIVED:
            raise LearnedError(f"lifetime: trees lack {', '.join(missing) or 'the baseline'}; train the model again")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features a row must hold, in this order."""
        return tuple(self.trees.feature_names[: -len(DERIVED)].tolist())

    def extrapolated(self, months: int) -> bool:
        """Whether a horizon is longer than the one that was learned."""
        return months * 365 / 12 > self.days

    def value(self, rows: Rows) -> Rows:
        """Net margin over the learned horizon, (n,), for rows (n, n_features); NaN for whoever never bought."""
        derived, _ = self._derived(rows)
        return self._value(rows, derived)

    def worth(self, rows: Rows) -> Worth:
        """Value over 12 and 36 months with its interval, for rows (n, n_features)."""
        derived, to_come = self._derived(rows)
        value = self._value(rows, derived)
        longer = np.exp(to_come[1:] - to_come[0]).T
        logs = np.log(np.maximum(value, _LEAST))
        low, high = (np.interp(logs, self.points, ends) * value for ends in (self.low, self.high))
        return Worth(value[:, None] * longer, low[:, None] * longer, high[:, None] * longer)

    def _value(self, rows: Rows, derived: Rows) -> Rows:
        raw = self.trees.raw(np.concatenate([rows, derived], axis=1))
        value: Rows = np.exp(self.level + self.power * derived[:, 0] + raw)
        return value

    def derived(self, rows: Rows) -> Rows:
        """What the baseline says of each member, (n, 4), logarithms but for the chance; see `DERIVED`."""
        return self._derived(rows)[0]

    def _derived(self, rows: Rows) -> tuple[Rows, Rows]:
        baskets, age, recency, spend = (rows[:, self.feature_names.index(name)] for name in HABITS)
        bought = baskets > 0
        count = np.where(bought, baskets, 1.0)
        repeats = count - 1.0
        age = np.where(bought & (age > 0), age, 0.0)
        to_come = self._to_come(repeats, age)
        there = self._still_there(repeats, age, np.where(bought, recency, 0.0))
        p, q, v = self.spending
        a_time = p * (v + np.where(bought, np.maximum(spend, 0.0), 0.0)) / (p * count + q - 1)
        logs = np.log(np.maximum(np.column_stack([there, a_time]), _LEAST))
        baseline = np.where(bought, logs.sum(axis=1) + to_come[0], np.nan)
        return np.column_stack([baseline, there, to_come[0], logs[:, 1]]), to_come

    def _still_there(self, repeats: Rows, age: Rows, recency: Rows) -> Rows:
        """`training.bgnbd.alive`, in numpy alone."""
        r, alpha, a, b = self.buying
        last = np.where(repeats > 0, np.maximum(age - recency, 0.0), 0.0)
        gap = np.log1p((age - last) / (alpha + last))
        odds = np.log(a / np.where(repeats > 0, b + repeats - 1, 1.0)) + (r + repeats) * gap
        chance: Rows = np.where(repeats > 0, 1.0 / (1.0 + np.exp(np.minimum(odds, 700.0))), 1.0)
        return chance

    def _to_come(self, repeats: Rows, age: Rows) -> Rows:
        """The table between its points, (3, n); straight lines over log(1 + frequency) and log(1 + age)."""
        x, x_part = _between(self.frequency, repeats)
        t, t_part = _between(self.age, age)
        upper = (1 - t_part) * self.purchases[:, x, t] + t_part * self.purchases[:, x, t + 1]
        lower = (1 - t_part) * self.purchases[:, x + 1, t] + t_part * self.purchases[:, x + 1, t + 1]
        found: Rows = (1 - x_part) * upper + x_part * lower
        return found


def _between(grid: Rows, value: Rows) -> tuple[NDArray[np.intp], Rows]:
    """Position of the point at or below, and how far on the way to the next; beyond the last it is the last."""
    place = np.clip(np.searchsorted(grid, value, "right") - 1, 0, len(grid) - 2)
    low, high = np.log1p(grid[place]), np.log1p(grid[place + 1])
    part: Rows = np.clip((np.log1p(value) - low) / (high - low), 0.0, 1.0)
    return place, part


def save_lifetime(model: Lifetime, folder: Path) -> None:
    """Write the trees as any form is written, and `lifetime.npz` beside them."""
    save(model.trees, folder)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: np.asarray(getattr(model, name)) for name in _parts()})  # type: ignore[arg-type, unused-ignore]
    (folder / ARRAYS).write_bytes(buffer.getvalue())


def load_lifetime(folder: Path) -> Lifetime:
    """Read it back; raises `LearnedError` that names the file at fault."""
    trees = load(folder)
    if not isinstance(trees, Trees):
        raise LearnedError(f"{folder}: holds {type(trees).__name__}, not trees; export the lifetime model again")
    path = folder / ARRAYS
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(np.float64) for name in _parts()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LearnedError(f"{path}: missing or damaged ({error}); export the lifetime model again") from error
    found: dict[str, Any] = {name: array if array.ndim else float(array) for name, array in arrays.items()}
    return Lifetime(trees, **found)


def _parts() -> list[str]:
    return [field.name for field in fields(Lifetime) if field.name != "trees"]
