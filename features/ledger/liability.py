"""What outstanding points will cost: the chance that a point is redeemed before it expires, by the age of its lot.

A hazard by age (Kaplan and Meier 1958, in steps; what actuaries call a chain ladder): of the points that lots still
held when they became so old, which share was redeemed within the next step. Lots that are still open count for the
steps they have completed; what a return takes back leaves without counting. The hazards are taken anew from each age
on ("landmarks", van Houwelingen 2007) and by how much the member held then, for members with many points redeem
otherwise than those with few. Intervals come from drawing groups of members anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RedemptionModel:
    """Hazards of redemption by landmark age, balance group and later age."""

    step_days: float
    edges: Floats
    """(n_groups − 1,): balances from which the next group begins."""
    survival: Floats
    """(n_groups, n_ages, n_ages + 1): cumulative hazard −Σ log(1 − h) up to the beginning of each step, from each
    landmark on; zero up to the landmark itself."""
    observed_days: float
    """The greatest age that any lot completed; beyond it the last hazard is carried forward."""

    @property
    def ages(self) -> int:
        """How many steps of age there are."""
        return int(self.survival.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Points at risk and redeemed, summed; from one pass over the lots."""

    step_days: float
    edges: Floats
    at_risk: Floats
    """(n_buckets, n_groups, n_ages, n_ages): of bucket of members, group and landmark age, at each later age."""
    redeemed: Floats


def redemption_chance(model: RedemptionModel, age_days: Any, days_left: Any, balance: Any) -> Floats:
    """The chance that a point of a lot is redeemed before the lot expires.

    Args:
        model: From `fitted`.
        age_days: (n,) how old the lot is; 0 for one that is issued now.
        days_left: (n,) until it expires; infinite for never, which is taken as the oldest age of the model.
        balance: (n,) what the member holds in all; NaN counts as nothing.

    Returns:
        (n,) within 0..1.
    """
    age, left, held = np.broadcast_arrays(
        *(np.asarray(one, dtype=np.float64) for one in (age_days, days_left, balance))
    )
    group = np.searchsorted(model.edges, np.nan_to_num(held), side="right")
    last = float(model.ages)
    start = np.clip(age / model.step_days, 0.0, last)
    end = np.clip(start + np.maximum(left, 0.0) / model.step_days, start, last)
    mark = np.minimum(start.astype(np.int64), model.ages - 1)
    # Within the running step the hazard of its own landmark; of later steps, that of the two landmarks around the age.
    turn = np.clip(mark + 1.0, start, end)
    following = np.minimum(mark + 1, model.ages - 1)
    now = _at(model, group, mark, turn) - _at(model, group, mark, start)
    this, next_ = (_at(model, group, one, end) - _at(model, group, one, turn) for one in (mark, following))
    part = np.clip(start - mark, 0.0, 1.0)
    chance: Floats = -np.expm1(-(now + (1 - part) * this + part * next_))
    return np.clip(chance, 0.0, 1.0)


def _at(model: RedemptionModel, group: Whole, mark: Whole, where: Floats) -> Floats:
    """The cumulative hazard, linear within a step."""
    low = np.minimum(where.astype(np.int64), model.ages - 1)
    below, above = model.survival[group, mark, low], model.survival[group, mark, low + 1]
    found: Floats = below + (above - below) * (where - low)
    return found


def fitted(counts: Counts, weights: Floats | None = None) -> RedemptionModel:
    """Hazards from counts; where a cell has too little, those of all balances, of all landmarks, of the age before.

    Args:
        counts: From `features.ledger.lots.counted`.
        weights: (n_buckets,) how often each bucket of members counts; once each by default.
    """
    weights = np.ones(len(counts.at_risk)) if weights is None else weights
    risk, gone = (np.tensordot(weights, table, axes=1) for table in (counts.at_risk, counts.redeemed))
    by_age_risk, by_age_gone = risk.sum((0, 1)), gone.sum((0, 1))
    by_age = _hazard(by_age_gone, by_age_risk, np.zeros_like(by_age_risk))
    seen = np.flatnonzero(by_age_risk > 0)
    observed = int(seen[-1]) + 1 if len(seen) else 0
    if observed:
        by_age[observed:] = by_age[observed - 1]
    # A cell is drawn to its coarser one by as many points as a small share of a whole age's worth.
    prior = SHRINK * by_age_risk.max(initial=1.0) / max(risk.shape[0] * risk.shape[1], 1)
    by_group = _shrunk(gone.sum(1), risk.sum(1), by_age[None, :], prior)
    hazard = _shrunk(gone, risk, by_group[:, None, :], prior)
    ages = risk.shape[1]
    later = np.arange(ages)[None, :] >= np.arange(ages)[:, None]
    steps = np.where(later[None], -np.log1p(-np.minimum(hazard, CERTAIN)), 0.0)
    survival = np.concatenate([np.zeros((*steps.shape[:2], 1)), np.cumsum(steps, axis=2)], axis=2)
    return RedemptionModel(counts.step_days, counts.edges, survival, observed * counts.step_days)


SHRINK = 0.02
CERTAIN = 0.999999


def _hazard(gone: Floats, risk: Floats, otherwise: Floats) -> Floats:
    found: Floats = np.divide(gone, risk, out=otherwise.copy(), where=risk > 0)
    return np.clip(found, 0.0, 1.0)


def _shrunk(gone: Floats, risk: Floats, coarser: Floats, prior: float) -> Floats:
    found: Floats = np.clip((gone + prior * coarser) / (risk + prior), 0.0, 1.0)
    return found


def picks(n_buckets: int, draws: int, seed: int) -> Floats:
    """(draws, n_buckets): how often each group of members counts in each draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_buckets, np.full(n_buckets, 1 / n_buckets), size=draws).astype(np.float64)


def resampled(counts: Counts, draws: int, seed: int) -> list[RedemptionModel]:
    """The model fitted to groups of members drawn anew, `draws` times."""
    return [fitted(counts, pick) for pick in picks(len(counts.at_risk), draws, seed)]
