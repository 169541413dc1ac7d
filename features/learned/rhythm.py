"""What a member's own rhythm says of the next purchase: the BG/NBD model as serving reads it, and terms made from it.

Fader, Hardie & Lee 2005, Marketing Science 24(2), 275–284. `training.bgnbd` fits the four parameters; here they are
applied to features of a member that serving has at hand anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError

Vector = NDArray[np.float64]
BASKETS, RECENCY, AGE = NEEDED = ("lifetime_baskets", "recency_days", "first_purchase_days")
"""The features a rhythm is read from."""
TERMS = ("alive", "rate", "lateness", "active", "recency_squared", "single", "silence")
"""What `terms` gives, in this order; only the last depends on the horizon."""
_PRIOR_DAYS, _PRIOR_BASKETS = 30.0, 0.5
"""Added to a member's days and baskets, so that a rate does not rest on one purchase alone."""
_WIDEST = 8.0
"""No logit of a chance leaves ±8."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Members buy at a rate of their own (gamma: `r`, `alpha` days) and leave after a purchase (beta: `a`, `b`)."""

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        if not all(0.0 < value < np.inf for value in (self.r, self.alpha, self.a, self.b)):
            raise LearnedError("churn: the parameters of the rhythm are not all above 0; train the model again")

    def silent(self, known: Vector, days: float) -> Vector:
        """Chance that nothing is bought within the next `days`, (n,): 1 / (1 + e^−`silence`), however small.

        Args:
            known: (n, 3): the features in `NEEDED`; NaN counts as 0.
            days: the horizon.
        """
        known = np.fmax(known, 0.0)
        left, quiet = self._parts(known, days)
        here: Vector = 1.0 / (1.0 + np.exp(left))
        return 1.0 + here * np.expm1(quiet)

    def _parts(self, known: Vector, days: Vector | float) -> tuple[Vector, Vector]:
        """Logit of having left for good, (n,), and the logarithm of the chance that who is still there buys nothing.

        With x baskets after the first: a/(b+x−1)·((α+T)/(α+t))^{r+x} to one, and ((α+T)/(α+T+days))^{r+x}.
        """
        x, now = np.maximum(known[:, 0] - 1.0, 0.0), self.alpha + np.maximum(known[:, 2], known[:, 1])
        power = self.r + x
        odds = self.a / np.maximum(self.b + x - 1.0, 1e-9)
        left = np.log(odds) + power * np.log(now / np.maximum(now - known[:, 1], self.alpha))
        return np.where(x > 0.0, np.minimum(left, 500.0), -500.0), power * np.log(now / (now + days))

    def terms(self, known: Vector, days: Vector | float) -> Vector:
        """The terms named in `TERMS`, (n, 7).

        `alive` and `silence` are logits of BG/NBD's chances of being still there and of buying nothing within `days`;
        `rate` is the logarithm of baskets a day, `lateness` that of the baskets missed since the last one (plus 1),
        `active` that of the days from the first basket to the last (plus 1), `recency_squared` the square of that of
        the days since the last (plus 1), and `single` says that there was only one.

        Args:
            known: (n, 3): the features in `NEEDED`; NaN counts as 0.
            days: the horizon; one for all or (n,).
        """
        known = np.fmax(known, 0.0)
        baskets, recency, age = known.T
        left, quiet = self._parts(known, days)
        gone, some = np.exp(left), np.maximum(-np.expm1(quiet), 1e-12)
        rate = (np.maximum(baskets - 1.0, 0.0) + _PRIOR_BASKETS) / (age + _PRIOR_DAYS)
        since = np.log1p(recency)
        out = np.empty((len(known), len(TERMS)))
        out[:, 0] = np.minimum(np.maximum(-left, -_WIDEST), _WIDEST)
        out[:, 1] = np.log(rate)
        out[:, 2] = np.log1p(recency * rate)
        out[:, 3] = np.log1p(np.maximum(age - recency, 0.0))
        out[:, 4] = since * since
        out[:, 5] = baskets <= 1.0
        out[:, 6] = np.minimum(np.maximum(np.log((gone + np.exp(quiet)) / some), -_WIDEST), _WIDEST)
        return out

    def terms_of_one(self, known: Sequence[float], days: float) -> list[float]:
        """The same for one member, (3,) → (7,), several times as fast as `terms` for a single row."""
        baskets, recency, age = (each if each > 0.0 else 0.0 for each in known)
        repeats, now = max(baskets - 1.0, 0.0), self.alpha + max(age, recency)
        power = self.r + repeats
        left = -500.0
        if repeats > 0.0:
            odds = self.a / max(self.b + repeats - 1.0, 1e-9)
            left = min(math.log(odds) + power * math.log(now / max(now - recency, self.alpha)), 500.0)
        quiet = power * math.log(now / (now + days))
        silence = math.log((math.exp(left) + math.exp(quiet)) / max(-math.expm1(quiet), 1e-12))
        rate = (repeats + _PRIOR_BASKETS) / (age + _PRIOR_DAYS)
        since = math.log1p(recency)
        return [
            min(max(-left, -_WIDEST), _WIDEST),
            math.log(rate),
            math.log1p(recency * rate),
            math.log1p(max(age - recency, 0.0)),
            since * since,
            float(baskets <= 1.0),
            min(max(silence, -_WIDEST), _WIDEST),
        ]
