"""What is expected of the points outstanding: how many will be redeemed, what they will cost, what will be left."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from features.ledger.liability import Floats, RedemptionModel, redemption_chance

if TYPE_CHECKING:
    import pandas as pd  # the service reads models and never frames


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(value: float, draws: Floats) -> Interval:
        """From the estimate and draws of it; without draws the interval is not known (NaN)."""
        low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
        return Interval(float(value), float(low), float(high))

    def scaled(self, factor: float) -> Interval:
        """The same in other units."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Points, and money where it says so. The interval is that of the hazards, not of luck yet to come."""

    outstanding: float
    redeemed: Interval
    """Points of the open lots that will be redeemed before they expire."""
    cost: Interval
    """Money: the liability."""

    @property
    def breakage(self) -> Interval:
        """The share of the open points that will never be redeemed; NaN where none are open."""
        if not self.outstanding:
            return Interval(np.nan, np.nan, np.nan)
        share = self.redeemed.scaled(1 / self.outstanding)
        return Interval(1 - share.value, 1 - share.high, 1 - share.low)


def expected(held: pd.DataFrame, model: RedemptionModel) -> Floats:
    """Points of each open lot (rows of `features.ledger.lots.open_lots`) that will be redeemed."""
    chance = redemption_chance(model, held["age_days"], held["days_left"], held["balance"])
    found: Floats = chance * held["points"].to_numpy(dtype=np.float64)
    return found


def outlook(
    held: pd.DataFrame, model: RedemptionModel, draws: Sequence[RedemptionModel], cost_per_point: float
) -> Outlook:
    """What the open lots will come to.

    Args:
        held: From `features.ledger.lots.open_lots`, or some of its rows.
        model: From `features.ledger.liability.fitted`.
        draws: From `features.ledger.liability.resampled`.
        cost_per_point: Money that a redeemed point costs.
    """
    again = np.array([expected(held, one).sum() for one in draws])
    redeemed = Interval.of(float(expected(held, model).sum()), again)
    return Outlook(float(held["points"].sum()), redeemed, redeemed.scaled(cost_per_point))


def to_json(model: RedemptionModel, **about: Any) -> bytes:
    """The model as JSON, with what else a reader should know of it (`as_of`, …)."""
    found = {
        "step_days": model.step_days,
        "edges": model.edges.tolist(),
        "survival": model.survival.tolist(),
        "observed_days": model.observed_days,
    }
    return orjson.dumps({**about, "model": found}, option=orjson.OPT_INDENT_2)


def from_json(text: bytes) -> tuple[RedemptionModel, dict[str, Any]]:
    """The model that `to_json` wrote, and what was said about it.

    Raises:
        ValueError: This is no such model.
    """
    about = orjson.loads(text)
    found: dict[str, Any] = about.pop("model", {}) if isinstance(about, dict) else {}
    try:
        survival = np.array(found["survival"], dtype=np.float64)
        model = RedemptionModel(
            float(found["step_days"]), np.array(found["edges"], np.float64), survival, float(found["observed_days"])
        )
    except (KeyError, TypeError) as error:
        raise ValueError("this is no model of redemption; write it again with `tessera points`") from error
    groups = len(model.edges) + 1
    if survival.ndim != 3 or survival.shape[0] != groups or survival.shape[2] != survival.shape[1] + 1:
        raise ValueError(f"survival of shape {survival.shape} does not fit {groups} groups; write it again")
    return model, about


@dataclass(frozen=True, slots=True)
class FreshShares:
    """The chance that points issued now are redeemed, by what the member holds: all that a decision needs."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    """One for each group of balances, one more than there are edges."""

    def of(self, balance: float) -> float:
        """For a member who holds `balance` points; NaN is one without points."""
        return self.shares[bisect_right(self.edges, balance) if balance == balance else 0]


def fresh_shares(model: RedemptionModel, life_days: float) -> FreshShares:
    """The chances of a lot that is issued now and lives `life_days`."""
    lowest = [0.0, *model.edges.tolist()]
    chances = redemption_chance(model, 0.0, life_days, np.array(lowest))
    return FreshShares(tuple(model.edges.tolist()), tuple(chances.tolist()))
