"""How good learned effects are, on units that were not learned from.

**Qini**, one definition: units are ranked by the predicted effect, highest first. `G(φ)` is the mean outcome gained per
unit if the first share φ of them is treated and the others are not, by inverse probability weighting with the logged
chances, the outcome taken off its mean (which changes nothing on average and narrows the error). Inside a block of
equal predictions the curve is straight: there the order is a coin's. Qini is the area between G and the straight line
from 0 to G(1): outcome per unit, 0 for an order that says nothing. It is not divided by a perfect curve, which nobody
knows; figures of libraries that do so are on another scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.effects.inputs import Floats, Whole
from training.metrics import Interval

_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """`gain` at every `share`: arrays (m + 1,), from 0 to 1."""

    share: Floats
    gain: Floats

    @property
    def qini(self) -> float:
        """Area above the straight line, in outcome per unit."""
        return float(np.trapezoid(self.gain - self.share * self.gain[-1], self.share))

    def at(self, share: float) -> float:
        """Outcome gained per unit where this share is treated."""
        return float(np.interp(share, self.share, self.gain))


def gain(predicted: Floats, treated: NDArray[np.bool_], outcome: Floats, chance: Floats) -> Gain:
    """The curve of one arm against doing nothing.

    Args:
        predicted: (n,), by which units are ranked.
        treated: (n,), whether a unit got the arm; all others got nothing.
        outcome: (n,).
        chance: (n,), of getting the arm, among the two.
    """
    aside = outcome - outcome.mean()
    each = np.where(treated, aside / chance, -aside / (1.0 - chance))
    order = np.argsort(-predicted, kind="stable")
    ranked = predicted[order]
    ends = np.append(np.flatnonzero(np.diff(ranked) != 0), len(ranked) - 1)
    n = len(ranked)
    total = np.cumsum(each[order])[ends] / n
    return Gain(np.concatenate(([0.0], (ends + 1) / n)), np.concatenate(([0.0], total)))


def by_quantile(predicted: Floats, said: Floats, member: Whole, groups: int = 5) -> pd.DataFrame:
    """Predicted against observed effect in groups of equal size, by prediction.

    Args:
        predicted: (n,), effects.
        said: (n,), ψ of the same units, from a model that did not learn from them.
        member: (n,).
        groups: how many.

    Returns:
        A row for each group: n, predicted, observed, low, high.
    """
    rows = []
    for part in np.array_split(np.argsort(predicted, kind="stable"), groups):
        if len(part):
            found = mean(said[part], member[part])
            rows.append((len(part), float(predicted[part].mean()), found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["n", "predicted", "observed", "low", "high"])


def policy_value(said: Floats, choice: Whole, member: Whole, cost: Floats | None = None) -> Interval:
    """What choosing so brings per unit over doing nothing, doubly robust (Dudík, Langford & Li 2011).

    Args:
        said: (n, k − 1), ψ of each arm in money or in units of the outcome.
        choice: (n,), the arm chosen; 0 is doing nothing.
        member: (n,).
        cost: (n, k − 1), what each arm costs, in the same unit; None: nothing.
    """
    net = said if cost is None else said - cost
    full = np.concatenate((np.zeros((len(net), 1)), net), axis=1)
    return mean(full[np.arange(len(choice)), choice], member)


def mean(values: Floats, member: Whole) -> Interval:
    """A mean with its interval by members."""
    value = float(values.mean())
    pulls = np.bincount(member, values - value)
    error = float(np.sqrt((pulls**2).sum())) / len(values)
    return Interval(value, value - _NORMAL_95 * error, value + _NORMAL_95 * error)


def over_splits(values: Floats, tested_share: float) -> Interval:
    """The mean over random splits of one data set, with an interval that knows that splits overlap.

    The corrected resampled t-interval (Nadeau & Bengio 2003): the variance over J splits counts `1/J + n₂/n₁` times.

    Args:
        values: (J,).
        tested_share: share of the rows that each split tests on.
    """
    from scipy.stats import t as student  # heavy: only where read

    count, value = len(values), float(values.mean())
    spread = float(values.var(ddof=1)) * (1.0 / count + tested_share / (1.0 - tested_share))
    half = float(student.ppf(0.975, count - 1)) * spread**0.5
    return Interval(value, value - half, value + half)
