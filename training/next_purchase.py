"""How good a distribution of the time to the next purchase is, judged by what came within a horizon.

Everybody is followed for the whole horizon, so nothing is censored inside it: what lies beyond asks nothing of a
forecast. Figures are per member, so that they can be averaged, paired and resampled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
_POINTS = 31


def points(horizon: float) -> Values:
    """The days, (31,), from 0 to the horizon at which distributions are compared."""
    return np.linspace(0.0, horizon, _POINTS)


def days_off(silence: Values, waited: Values, days: Values) -> Values:
    """Continuous ranked probability score up to the horizon, in days, (n,): ∫ (S(t) − 1{T > t})² dt.

    It is the Brier score of "nothing yet" added up over all days (Gneiting & Raftery 2007, eq. 20); a forecast that
    names one day is off by as many days.

    Args:
        silence: (n, n_days): the chance that nothing has come by each day, 1 on day 0.
        waited: (n,): days to the next purchase; NaN where none came within the horizon.
        days: (n_days,): ascending, from 0 to the horizon.
    """
    # inside a step S is a straight line, so each side of T is integrated exactly as a parabola
    until = np.clip(np.nan_to_num(waited, nan=np.inf)[:, None], days[:-1], days[1:])
    width = np.diff(days)
    part = (until - days[:-1]) / width
    at = silence[:, :-1] + part * np.diff(silence, axis=1)
    before = _square(1.0 - silence[:, :-1], 1.0 - at) * part * width
    after = _square(at, silence[:, 1:]) * (1.0 - part) * width
    return np.asarray((before + after).sum(axis=1))


def _square(left: Values, right: Values) -> Values:
    """Mean of the square of a straight line between two values."""
    return (left * left + left * right + right * right) / 3.0


def coverage(silence_then: Values, silence_end: Values, came: NDArray[np.bool_], share: float) -> float:
    """Share of next purchases inside the central interval of this share, `share` if the distribution is right.

    What an interval promises beyond the horizon cannot be seen. So purchases inside the part of it that lies within the
    horizon are counted and divided by what the distributions promise of that part.

    Args:
        silence_then: (n,): the chance of nothing until the day on which the purchase came; any value where none came.
        silence_end: (n,): the chance of nothing within the horizon.
        came: (n,): whether a purchase came within it.
        share: of the interval, 0..1.
    """
    low, high = (1.0 - share) / 2, (1.0 + share) / 2
    told = 1.0 - silence_then
    promised = np.maximum(np.minimum(1.0 - silence_end, high) - low, 0.0).mean()
    seen = (came & (told >= low) & (told <= high)).mean()
    return float(share * seen / promised) if promised else float("nan")


def alike(waited: Values, followed: Values, days: Values) -> Values:
    """The chance that nothing has come by each day, (n_days,), the same for everybody: Kaplan & Meier 1958.

    Args:
        waited: (n,): days to the next purchase; NaN where none is known.
        followed: (n,): for how many days what followed is known.
        days: (n_days,)
    """
    known = np.where(np.isnan(waited), followed, waited)
    times, place = np.unique(known, return_inverse=True)
    came = np.bincount(place, ~np.isnan(waited), len(times))
    waiting = len(known) - np.concatenate(([0.0], np.cumsum(np.bincount(place, minlength=len(times)))[:-1]))
    falls = np.concatenate(([1.0], np.cumprod(1.0 - came / waiting)))
    found: Values = falls[np.searchsorted(times, days, side="right")]
    return found
