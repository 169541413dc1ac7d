"""How much members spend at a time: the gamma-gamma model of Fader and Hardie, fitted by maximum likelihood.

What a member spends at a purchase is gamma distributed with shape p and a scale of the member's own, which is gamma
distributed over members with shape q and rate v; spend and rate of buying are independent. The mean of x purchases, z,
is then all there is to know. Fader & Hardie 2013, The gamma-gamma model of monetary value, brucehardie.com/notes/025;
first in Fader, Hardie & Lee 2005, RFM and CLV, Journal of Marketing Research 42(4), 415–430.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_WIDEST = 15.0
"""No parameter leaves e^±15 (with money in mean purchases): where a history says nothing of one, it ends there."""


@dataclass(frozen=True, slots=True)
class Spending:
    """A fitted gamma-gamma model; `v` is in the currency of the histories."""

    p: float
    q: float
    v: float

    def __post_init__(self) -> None:
        if not (0 < self.p < float("inf") and 1 < self.q < float("inf") and 0 < self.v < float("inf")):
            raise ValueError(f"gamma-gamma: p {self.p}, q {self.q}, v {self.v}; it takes p > 0, q > 1, v > 0")

    @property
    def mean(self) -> float:
        """What a member of whom nothing is known spends at a purchase."""
        return self.v * self.p / (self.q - 1)


def fit(frequency: Vector, spend: Vector, prior_sd: float = 30.0, starts: int = 3) -> Spending:
    """The parameters under which these means are most likely.

    q is kept above 1: below it no mean exists that a forecast could state. Money is measured in mean purchases while
    fitting; logarithms of p, q − 1 and v are held by a prior N(0, prior_sd²), which only decides where the history does
    not. The order of members changes nothing, not even a bit.

    Args:
        frequency: (n,), purchases behind each mean; members with none, or with no spend above 0, are left out.
        spend: (n,), mean money of a purchase; NaN where there is none.
        prior_sd: `inf` takes the prior away.
        starts: how many of the three starting points are tried.

    Raises:
        ValueError: nobody is left.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    known = (frequency > 0) & (spend > 0) & np.isfinite(spend)
    if not known.any():
        raise ValueError("gamma-gamma: nobody has a repeat purchase with money in it; cut the history at a later time")
    order = np.lexsort((spend[known], frequency[known]))
    x, z = frequency[known][order], spend[known][order]
    unit = float(z.mean())
    z = z / unit

    def loss(logs: Vector) -> tuple[float, Vector]:
        p, above, v = np.exp(logs)
        value, gradient = log_likelihood(x, z, p, 1 + above, v)
        held = logs / prior_sd**2
        return -(value - float(held @ logs) / 2) / len(x), -(gradient * np.exp(logs) - held) / len(x)

    settings = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    points = [np.log([p, above, above / p]) for p, above in ((5.0, 3.0), (1.0, 1.0), (20.0, 10.0))]
    with threadpool_limits(limits=1):  # three numbers: threads would only wait for each other
        ends = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-_WIDEST, _WIDEST)] * 3, options=settings)
                for start in points[:starts]]  # fmt: skip
    p, above, v = np.exp(min(ends, key=lambda end: float(end.fun)).x).tolist()
    return Spending(p, 1 + above, v * unit)


def log_likelihood(x: Vector, z: Vector, p: float, q: float, v: float) -> tuple[float, Vector]:
    """Log-likelihood of members with x purchases of mean z, and its gradient by (p, q, v); eq. 1a of the note.

    ln L = −ln B(px, q) + q ln v + (px − 1) ln z + px ln x − (px + q) ln(xz + v).
    """
    from scipy.special import betaln, digamma

    times, place, members = np.unique(x, return_inverse=True, return_counts=True)
    total = np.log(x * z + v)
    by_times = np.bincount(place, total, len(times))
    logs = float(np.log(z).sum())
    of_x = -betaln(p * times, q) + q * np.log(v) + p * times * np.log(times)
    value = members @ of_x + p * (x @ np.log(z)) - logs - (p * times + q) @ by_times
    joint = digamma(p * times + q)
    gradient = np.array([
        members @ (times * (joint - digamma(p * times) + np.log(times))) + x @ np.log(z) - times @ by_times,
        members @ (joint - digamma(q) + np.log(v)) - by_times.sum(),
        len(x) * q / v - ((p * x + q) / (x * z + v)).sum(),
    ])  # fmt: skip
    return float(value), gradient


def expected(model: Spending, frequency: Vector, spend: Vector) -> Vector:
    """What each member spends at a purchase to come, (n,): the own mean and everybody's, weighted by what is known.

    p(v + xz)/(px + q − 1), eq. 5 of the note; the mean of all for whoever has no purchase with money in it.
    """
    known = (frequency > 0) & (spend > 0)
    x = np.where(known, frequency, 0.0)
    money: Vector = model.p * (model.v + x * np.where(known, spend, 0.0)) / (model.p * x + model.q - 1)
    return money
