"""How often members will buy: the BG/NBD model of Fader, Hardie and Lee, fitted by maximum likelihood.

A member buys at a rate λ of their own while still a customer, and after each repeat purchase leaves for good with a
probability p of their own. Over members λ is gamma distributed (shape r, rate α) and p is beta distributed (a, b):
Fader, Hardie & Lee 2005, "Counting your customers" the easy way, Marketing Science 24(2), 275–284. All that must be
known of a member is how many repeat purchases there were (x), how long after the first one the last one was (t_x), and
how long ago the first one was (T); time in any unit, the same for all.

Members with the same x, t_x and T are counted together, and what depends on x, t_x or T alone is computed once for each
value, so that a step over 1 million members costs a few sums. Time and memory grow with the number of distinct rows.
`training.purchase_days` makes x, t_x and T from purchases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

Vector = NDArray[np.float64]
_WIDEST = 15.0
"""No parameter leaves e^±15 (in units of the mean age): where a history says nothing of one, it ends there."""
_NEAR_ONE = 1e-4
"""This near to a = 1 the closed form divides zero by zero."""
_TOO_ALIKE = 200.0
"""With a + b above this the terms of its series are too large to cancel."""
_POINTS = 128


@dataclass(frozen=True, slots=True)
class Buying:
    """A fitted BG/NBD model; `alpha` is in the unit of time that the histories were given in."""

    r: float
    alpha: float
    a: float
    b: float

    def __post_init__(self) -> None:
        odd = [name for name in self.__slots__ if not 0.0 < getattr(self, name) < float("inf")]
        if odd:
            raise ValueError(f"BG/NBD: {odd[0]} is {getattr(self, odd[0])}; all four are above 0 and finite")


@dataclass(frozen=True, slots=True, eq=False)
class Habits:
    """What the model knows of members: three arrays of one length, time in one unit."""

    frequency: Vector
    """Repeat purchases: those after the first."""
    recency: Vector
    """From the first purchase to the last; 0 without a repeat purchase."""
    age: Vector
    """From the first purchase to now."""

    @staticmethod
    def of(frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> Habits:
        """The arrays, checked.

        Raises:
            ValueError: a purchase lies before the first or after now, or a last one without a repeat purchase.
        """
        x, last, age = (np.asarray(each, np.float64) for each in (frequency, recency, age))
        if not x.shape == last.shape == age.shape or x.ndim != 1:
            raise ValueError(f"BG/NBD: arrays of shapes {x.shape}, {last.shape}, {age.shape}; give three of one length")
        wrong = ~((x >= 0) & (last >= 0) & (last <= age) & ((last == 0) | (x > 0)) & np.isfinite(x + last + age))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"BG/NBD: row {i} has frequency {x[i]:g}, recency {last[i]:g}, age {age[i]:g}; it takes "
                "0 ≤ recency ≤ age, and recency 0 where frequency is 0"
            )
        return Habits(x, last, age)


@dataclass(frozen=True, slots=True, eq=False)
class _Values:
    """Distinct values of one array, and where each row finds its own."""

    value: Vector
    place: NDArray[np.intp]

    @staticmethod
    def of(array: Vector) -> _Values:
        return _Values(*np.unique(array, return_inverse=True))


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Distinct rows with the number of members that share each."""

    frequency: _Values
    recency: _Values
    age: _Values
    members: Vector
    repeated: NDArray[np.bool_]

    @staticmethod
    def of(habits: Habits) -> Counted:
        """Count members by row."""
        columns = [_Values.of(each) for each in (habits.frequency, habits.recency, habits.age)]
        sizes = [len(each.value) for each in columns]
        key = np.ravel_multi_index(tuple(each.place for each in columns), sizes)
        distinct, members = np.unique(key, return_counts=True)
        places = np.unravel_index(distinct, sizes)
        x, last, age = (_Values(each.value, place) for each, place in zip(columns, places, strict=True))
        return Counted(x, last, age, members.astype(np.float64), x.value[x.place] > 0)


def fit(habits: Habits, prior_sd: float = 30.0, starts: int = 3) -> Buying:
    """The parameters under which these histories are most likely.

    Time is measured in mean ages while fitting, and the logarithms of the parameters are held by a prior
    N(0, prior_sd²) so weak that it only decides where the history does not (nobody ever came back; nobody ever left).
    L-BFGS from several starting points; the best end counts. The order of the histories changes not a bit of it.

    Args:
        habits: of all members, those without a repeat purchase included.
        prior_sd: `inf` takes the prior away.
        starts: how many of the three starting points are tried.

    Raises:
        ValueError: nobody has any age.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    unit = float(np.sort(habits.age).mean()) if len(habits.age) else 0.0
    if not unit > 0:
        raise ValueError("BG/NBD: no member's first purchase lies before now; cut the history at a later time")
    counted = Counted.of(Habits(habits.frequency, habits.recency / unit, habits.age / unit))
    total = counted.members.sum()

    def loss(logs: Vector) -> tuple[float, Vector]:
        value, gradient = log_likelihood(counted, np.exp(logs))
        held = logs / prior_sd**2
        return -(value - float(held @ logs) / 2) / total, -(gradient * np.exp(logs) - held) / total

    bounds = [(-_WIDEST, _WIDEST)] * 4
    settings = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500, "maxcor": 10}
    with threadpool_limits(limits=1):  # four numbers: threads would only wait for each other
        ends = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=settings)
                for start in _starts(counted)[:starts]]  # fmt: skip
    r, alpha, a, b = np.exp(min(ends, key=lambda end: float(end.fun)).x).tolist()
    return Buying(r, alpha * unit, a, b)


def _starts(counted: Counted) -> list[Vector]:
    """Logarithms of (r, α, a, b) with the mean rate of the history; leaving is rare, frequent, or hardly happens."""
    rate = max(float(counted.frequency.value[counted.frequency.place] @ counted.members / counted.members.sum()), 1e-3)
    return [np.log([r, r / rate, a, b]) for r, a, b in ((0.5, 0.5, 3.0), (0.3, 1.0, 1.5), (1.0, 0.1, 5.0))]


def log_likelihood(counted: Counted, parameters: Vector) -> tuple[float, Vector]:
    """Log-likelihood of all members together and its gradient by (r, α, a, b).

    With A = r + x, the likelihood of one member (eq. 6) is that of being still there plus that of having left at t_x:
    ln L = lnΓ(A) − lnΓ(r) + r ln α + ln B(a, b+x) − ln B(a, b) − A ln(α+T) + ln(1 + e^z), where
    z = ln a − ln(b+x−1) + A·(ln(α+T) − ln(α+t_x)) for x > 0, and e^z = 0 for x = 0. So nothing is ever raised to a
    power that could overflow, and 1/(1+e^−z) is the chance of having left.
    """
    from scipy.special import betaln, digamma, expit, gammaln

    r, alpha, a, b = (float(each) for each in parameters)
    x, n = counted.frequency.value, counted.members
    x_at, log_last, log_age = (
        counted.frequency.place,
        np.log(alpha + counted.recency.value),
        np.log(alpha + counted.age.value),
    )
    log_last, log_age = log_last[counted.recency.place], log_age[counted.age.place]
    power = (r + x)[x_at]
    stayed = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        leaving = np.log(a) - np.log(np.where(x > 0, b + x - 1, 1.0))
    z = np.where(counted.repeated, leaving[x_at] + power * (log_age - log_last), -np.inf)
    left = expit(z)
    value = n @ (stayed[x_at] - power * log_age + np.logaddexp(0.0, z))
    by_x = np.bincount(x_at, n, len(x))
    left_by_x = np.bincount(x_at, n * left, len(x))
    joint = digamma(a + b) - digamma(a + b + x)
    inverse_last, inverse_age = np.exp(-log_last), np.exp(-log_age)
    gradient = np.array([
        by_x @ (digamma(r + x) - digamma(r) + np.log(alpha)) - n @ (log_age - left * (log_age - log_last)),
        n.sum() * r / alpha - n @ (power * (inverse_age - left * (inverse_age - inverse_last))),
        by_x @ joint + left_by_x.sum() / a,
        by_x @ (digamma(b + x) - digamma(b) + joint) - left_by_x @ (1.0 / np.where(x > 0, b + x - 1, 1.0)),
    ])  # fmt: skip
    return float(value), gradient


def alive(model: Buying, habits: Habits) -> Vector:
    """Chance that a member is still a customer, (n,): 1/(1 + e^z), z as in `log_likelihood`.

    It is 1 for whoever has bought once: in this story nobody leaves before a repeat purchase.
    """
    from scipy.special import expit

    x, repeated = habits.frequency, habits.frequency > 0
    gap = np.log1p((habits.age - habits.recency) / (model.alpha + habits.recency))
    z = np.log(model.a) - np.log(np.where(repeated, model.b + x - 1, 1.0)) + (model.r + x) * gap
    chance: Vector = np.where(repeated, expit(-z), 1.0)
    return chance


def silent(model: Buying, habits: Habits, horizon: float) -> Vector:
    """Chance that a member buys nothing within the next `horizon`, (n,).

    Who has left buys nothing. Who is still there has the likelihood λ^x e^{−λT}·(1−p)^x, so that λ and p are
    independent, and λ is gamma distributed with shape r+x and rate α+T. Leaving happens at a purchase, so the time to
    the next one is exponential with rate λ whatever p is: nothing comes within t with chance E[e^{−λt}] =
    ((α+T)/(α+T+t))^{r+x}. Together: 1 − P(alive)·(1 − ((α+T)/(α+T+t))^{r+x}).
    """
    nothing = (model.r + habits.frequency) * -np.log1p(horizon / (model.alpha + habits.age))
    chance: Vector = 1.0 + alive(model, habits) * np.expm1(nothing)
    return chance


def expected(model: Buying, habits: Habits, horizon: float) -> Vector:
    """Purchases to be expected of each member within the next `horizon`, (n,); eq. 10 of the paper.

    With z = t/(α+T+t), Euler's transformation turns the paper's (1−z)^{r+x}·₂F₁(r+x, b+x; a+b+x−1; z) into
    (1−z)^{a−1}·₂F₁(a+b−1−r, a−1; a+b+x−1; z), whose first two parameters do not grow with x. Where that series fails
    all the same (nearly the same p for everybody, a near 1) the integral that it stands for is taken.
    """
    x, age, place = _pairs(habits)
    return while_there(model, x, age, horizon)[place] * alive(model, habits)


def while_there(model: Buying, frequency: Vector, age: Vector, horizon: float) -> Vector:
    """The same for members who are known to be still there, (n,)."""
    found = _series(model, frequency, age, horizon)
    failed = ~(np.isfinite(found) & (found >= 0.0))
    if failed.any():
        found[failed] = _integral(model, frequency[failed], age[failed], horizon)
    return found


def _pairs(habits: Habits) -> tuple[Vector, Vector, NDArray[np.intp]]:
    """Distinct frequencies and ages side by side, and where each member finds theirs."""
    x, age = _Values.of(habits.frequency), _Values.of(habits.age)
    distinct, place = np.unique(x.place * len(age.value) + age.place, return_inverse=True)
    return x.value[distinct // len(age.value)], age.value[distinct % len(age.value)], place


def _series(model: Buying, x: Vector, age: Vector, horizon: float) -> Vector:
    """Purchases of whoever is still there; NaN where the closed form is of no use."""
    from scipy.special import hyp2f1

    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    if abs(a - 1) < _NEAR_ONE or a + b > _TOO_ALIKE:
        return np.full(len(x), np.nan)
    z = horizon / (alpha + age + horizon)
    with np.errstate(all="ignore"):
        shrunk = np.exp((a - 1) * np.log1p(-z)) * hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, z)
        found: Vector = (a + b + x - 1) / (a - 1) * (1 - shrunk)
    return found


def _integral(model: Buying, x: Vector, age: Vector, horizon: float) -> Vector:
    """The same as E[(1 − ((α+T)/(α+T+pt))^{r+x}) / p] over p ~ beta(a, b+x), at Gauss–Legendre points of p's quantiles.

    A member with rate λ who leaves with chance p at each purchase leaves at rate λp, so (1 − e^{−λpt})/p purchases are
    to be expected; averaged over λ ~ gamma(r+x, α+T).
    """
    from scipy.special import betaincinv, roots_legendre

    nodes, weights = roots_legendre(_POINTS)
    values, place = np.unique(x, return_inverse=True)
    leaving = np.maximum(betaincinv(model.a, model.b + values[:, None], (nodes + 1) / 2), 1e-300)
    found = np.zeros(len(x))
    for p, weight in zip(leaving.T, weights / 2, strict=True):
        found -= weight * np.expm1(-(model.r + x) * np.log1p(p[place] * horizon / (model.alpha + age))) / p[place]
    return found
