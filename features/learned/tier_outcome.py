"""How likely a member reaches, keeps or loses a tier: how many baskets come, what they are worth, what is needed.

Baskets within a stretch of days are negative binomial (a Poisson rate of the member's own, drawn from a gamma) with a
share of members who buy nothing at all (zero inflation, Lambert 1992); both follow the member's rhythm. Values of
baskets are lognormal around the member's own mean, shrunk to that of all; a sum of them is taken as lognormal with the
same first two moments (Fenton & Wilkinson 1960).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import erf, lgamma, sqrt

import numpy as np
import orjson
from numpy.typing import NDArray

from features.learned.faults import LearnedError

Floats = NDArray[np.float64]
NEEDED = (
    *("recency_days", "baskets_30d", "baskets_90d", "baskets_365d", "median_gap_days", "first_purchase_days"),
    *("avg_basket_value", "lifetime_baskets"),
)
"""The features of a member that a forecast rests on, in the order of its rows."""
TERMS = 7
MOST_BASKETS = 120


@dataclass(frozen=True, slots=True)
class TierOutcome:
    """The parameters, fitted once for all members."""

    rate: tuple[float, ...]
    """(TERMS,): weights of the logarithm of baskets a day."""
    silent: tuple[float, ...]
    """(TERMS,): weights of the logit of buying nothing at all."""
    dispersion: float
    """Variance of the members' rates around what the terms say, relative to its square; above 0."""
    log_value: float
    """Mean of the logarithm of a basket's value over members."""
    within: float
    """Variance of that logarithm between the baskets of one member."""
    between: float
    """Variance of the members' means."""

    def __post_init__(self) -> None:
        numbers = (*self.rate, *self.silent, self.dispersion, self.log_value, self.within, self.between)
        if len(self.rate) != TERMS or len(self.silent) != TERMS or not np.isfinite(numbers).all():
            raise LearnedError("tier outcome: weights are missing or infinite; run tessera tiers --fit again")
        if min(self.dispersion, self.within, self.between) <= 0:
            raise LearnedError("tier outcome: a variance is not above 0; run tessera tiers --fit again")


def from_json(text: bytes) -> TierOutcome:
    """The forecast that `to_json` wrote; LearnedError where it is none."""
    try:
        raw = orjson.loads(text)
        return TierOutcome(**{**raw, "rate": tuple(raw["rate"]), "silent": tuple(raw["silent"])})
    except (ValueError, TypeError, KeyError) as fault:
        raise LearnedError(f"tier outcome: unreadable ({fault}); run tessera tiers --fit again") from fault


def to_json(model: TierOutcome) -> bytes:
    """The parameters as text."""
    return orjson.dumps(asdict(model), option=orjson.OPT_INDENT_2)


def row(features: Mapping[str, float]) -> Floats:
    """(1, n_needed) of one member's features."""
    return np.array([[features.get(name, np.nan) for name in NEEDED]])


def terms(rows: Floats, days: Floats) -> Floats:
    """(n, TERMS): what rates and silence follow, from rows in the order of `NEEDED` and days ahead (n,)."""
    known = np.nan_to_num(rows, nan=0.0)
    recency, month, quarter, year, gap, age = (known[:, i] for i in range(6))
    recency = np.where(np.isnan(rows[:, 0]), 1095.0, recency)
    of_year = np.log((year + 0.5) / (np.clip(age, 0, 365) + 30.0))
    of_quarter = np.log((quarter + 0.5) / (np.clip(age, 0, 90) + 15.0))
    of_month = np.log((month + 0.5) / (np.clip(age, 0, 30) + 10.0))
    usual = np.where(gap > 0, gap, np.exp(-of_year))
    return np.column_stack(
        (
            *(np.ones(len(rows)), of_year, of_quarter, of_month),
            *(np.log1p(recency), np.log1p(recency / np.maximum(usual, 0.5)), np.log(days / 90.0)),
        )
    )


def basket_chances(model: TierOutcome, rows: Floats, days: Floats) -> Floats:
    """(n, MOST_BASKETS + 1): the chance of each number of baskets within `days`."""
    about = terms(rows, days)
    mean = np.clip(np.exp(np.clip(about @ np.array(model.rate), -20, 6)) * days, 1e-9, MOST_BASKETS / 2)
    nothing = 1.0 / (1.0 + np.exp(-np.clip(about @ np.array(model.silent), -30, 30)))
    shape = 1.0 / model.dispersion
    n = np.arange(MOST_BASKETS + 1.0)
    logs = np.array([lgamma(one + shape) - lgamma(shape) - lgamma(one + 1.0) for one in n.tolist()])
    mass = np.exp(logs + shape * np.log(shape / (shape + mean))[:, None] + n * np.log(mean / (shape + mean))[:, None])
    mass /= mass.sum(axis=1, keepdims=True)
    mass *= 1.0 - nothing[:, None]
    mass[:, 0] += nothing
    found: Floats = mass
    return found


def reach_chances(
    model: TierOutcome, rows: Floats, days: Floats, needs: Floats, extra: Floats | float = 0.0, *, money: bool = True
) -> Floats:
    """The chance that what is bought within `days` comes to what is needed.

    Args:
        model: The parameters.
        rows: (n, n_needed), in the order of `NEEDED`; NaN where a feature is missing.
        days: (n,), above 0.
        needs: (n,), money or baskets; infinite gives 0.
        extra: (n,) baskets that an action causes on top, 0..1 (its effect); less than 0 takes away.
        money: Whether needs are money; else they are baskets.
    """
    chances = basket_chances(model, rows, days)
    shift = np.broadcast_to(np.clip(np.asarray(extra, dtype=np.float64), -1.0, 1.0), len(rows))[:, None]
    more = np.column_stack((np.zeros(len(rows)), chances[:, :-1]))
    fewer = np.column_stack((chances[:, 1:], np.zeros(len(rows))))
    fewer[:, 0] += chances[:, 0]
    chances = np.where(shift >= 0, (1 - shift) * chances + shift * more, (1 + shift) * chances - shift * fewer)
    reached = _sums_reach(model, rows, needs) if money else np.arange(MOST_BASKETS + 1.0) >= needs[:, None]
    found: Floats = np.where(needs <= 0, 1.0, (chances * reached).sum(axis=1))
    return found


def _sums_reach(model: TierOutcome, rows: Floats, needs: Floats) -> Floats:
    """(n, MOST_BASKETS + 1): the chance that so many baskets together come to what is needed."""
    value, count = rows[:, 6], np.nan_to_num(rows[:, 7])
    weight = np.where(value > 0, count / (count + model.within / model.between), 0.0)
    own = np.log(np.where(value > 0, value, 1.0)) - model.within / 2
    centre = weight * own + (1 - weight) * model.log_value
    unsure = model.between * (1 - weight)
    n = np.arange(1.0, MOST_BASKETS + 1)
    spread = np.log1p(np.expm1(model.within) / n)
    middle = centre[:, None] + model.within / 2 + np.log(n) - spread / 2
    wanted = np.log(np.where(needs > 0, needs, 1e-9))[:, None]
    chance = _below((middle - wanted) / np.sqrt(spread + unsure[:, None]))
    return np.column_stack((np.zeros(len(rows)), np.where(np.isfinite(needs)[:, None], chance, 0.0)))


_ERF = np.frompyfunc(erf, 1, 1)


def _below(score: Floats) -> Floats:
    """The standard normal distribution function; far out it is 0 or 1 anyway."""
    spread: Floats = np.asarray(_ERF(np.clip(score, -9, 9) / sqrt(2.0)), dtype=np.float64)
    return 0.5 + 0.5 * spread
