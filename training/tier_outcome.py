"""Fits the forecast of tiers by maximum likelihood: how many baskets come within so many days, what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln

from features import behavior, cutoffs, history
from features.entities import Programme
from features.learned.tier_outcome import NEEDED, TERMS, TierOutcome, terms
from features.member_facts import of
from training.frames import HistoryTooShortError

Floats = NDArray[np.float64]
HORIZONS = (30.0, 90.0, 180.0)
"""Days ahead over which baskets are counted to learn from."""
MOST_ROWS = 12_000
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """Members at moments of the past, and how much they bought afterwards."""

    rows: Floats
    """(n, n_needed)."""
    days: Floats
    """(n,): over which baskets were counted."""
    baskets: Floats
    """(n,)."""


def fit(tables: Path, programme: Programme, at: datetime, seed: int = 0) -> TierOutcome:
    """Fit on what was known and what had followed by `at`.

    Args:
        tables: Folder of the typed tables.
        programme: Its rules.
        at: The end of what is known.
        seed: Of the members drawn where there are many.

    Raises:
        HistoryTooShortError: The history is shorter than twice the shortest horizon, or nobody bought.
    """
    past = purchased(tables, at)
    found = followed(tables, programme, past, at, seed)
    rate, silent, dispersion = _counts(found)
    centre, within, between = _values(past)
    return TierOutcome(rate, silent, dispersion, centre, within, between)


def purchased(tables: Path, at: datetime) -> pd.DataFrame:
    """Baskets in which something was bought, known by `at`: `member_id, basket_id, occurred_at, value`."""
    columns = ["member_id", "basket_id", "quantity", "amount", "occurred_at", "known_at"]
    lines = history.read(tables, "purchases", columns)
    lines = lines[(lines["quantity"] > 0) & (lines["occurred_at"] <= at) & (lines["known_at"] <= at)]
    kept = lines.groupby(["member_id", "basket_id"], as_index=False, observed=True)
    baskets: pd.DataFrame = kept.agg(occurred_at=("occurred_at", "min"), value=("amount", "sum"))
    return baskets


def followed(tables: Path, programme: Programme, past: pd.DataFrame, at: datetime, seed: int) -> Followed:
    """Rows at a moment before `at` for each horizon that the history has room for."""
    if past.empty:
        raise HistoryTooShortError("nothing was bought, so no tier can be forecast; take in purchases first")
    first = past["occurred_at"].min()
    parts = []
    for number, days in enumerate(HORIZONS):
        cut = at - timedelta(days=days)
        if (cut - first).total_seconds() / 86_400 < max(days / 2, 30.0):
            continue
        parts.append(_at(tables, programme, past, cut, days, seed + number))
    if not parts:
        raise HistoryTooShortError(
            f"the history of {(at - first).days} days is too short to forecast tiers from; it takes 60 days"
        )
    rows, over, baskets = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Followed(rows, over, baskets)


def rows_of(tables: Path, programme: Programme, members: Sequence[str], at: datetime) -> Floats:
    """(n, n_needed): what the forecast rests on, as it was known at a moment."""
    chosen = [one for one in behavior.definitions(programme) if one.name in NEEDED]
    pairs = pd.DataFrame({"member_id": list(members), "at": pd.Timestamp(at)})
    found: Floats = cutoffs.compute(tables, pairs, chosen, of(programme))[list(NEEDED)].to_numpy(np.float64)
    return found


def _at(
    tables: Path, programme: Programme, past: pd.DataFrame, cut: datetime, days: float, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Members who had bought by then, at most `MOST_ROWS`, and their baskets of the next `days`."""
    members = np.sort(past.loc[past["occurred_at"] <= cut, "member_id"].unique().astype(str))
    if len(members) > MOST_ROWS:
        members = np.sort(np.random.default_rng(seed).choice(members, MOST_ROWS, replace=False))
    after = past[(past["occurred_at"] > cut) & (past["occurred_at"] <= cut + timedelta(days=days))]
    bought: Any = after.groupby("member_id", observed=True).size()
    baskets: Floats = bought.reindex(members).fillna(0).to_numpy(np.float64)
    return rows_of(tables, programme, members.tolist(), cut), np.full(len(members), days), baskets


def _counts(found: Followed) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """Weights of rate and silence, and the dispersion: maximum likelihood with the gradient written out."""
    about = terms(found.rows, found.days)
    centre, spread = about.mean(axis=0), about.std(axis=0)
    centre[0], spread = 0.0, np.where(spread > 1e-9, spread, 1.0)
    scaled = (about - centre) / spread
    start = np.zeros(2 * TERMS + 1)
    start[0] = np.log(max(found.baskets.sum() / found.days.sum(), 1e-9))
    start[TERMS] = -2.0
    best = minimize(_loss, start, args=(scaled, found), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    rate, silent = (_unscaled(best.x[i * TERMS : (i + 1) * TERMS], centre, spread) for i in range(2))
    return rate, silent, float(np.exp(np.clip(best.x[-1], -6, 4)))


def _unscaled(weights: Floats, centre: Floats, spread: Floats) -> tuple[float, ...]:
    plain = weights / spread
    plain[0] -= float((plain[1:] * centre[1:]).sum())
    return tuple(plain.tolist())


def _loss(parameters: Floats, about: Floats, found: Followed) -> tuple[float, Floats]:
    """Mean negative log-likelihood of a zero-inflated negative binomial with a small ridge, and its gradient."""
    rate, silent, last = parameters[:TERMS], parameters[TERMS:-1], parameters[-1]
    x, shape = found.baskets, float(np.exp(-np.clip(last, -6, 4)))
    mean = np.exp(np.clip(about @ rate + np.log(found.days), -20, 8))
    gone = expit(about @ silent)
    log_none = shape * np.log(shape / (shape + mean))
    log_some = gammaln(x + shape) - gammaln(shape) - gammaln(x + 1) + log_none + x * np.log(mean / (shape + mean))
    none = gone + (1 - gone) * np.exp(log_none)
    zero = x == 0
    likelihood = np.where(zero, np.log(none), np.log1p(-gone) + log_some)
    # Of those who bought nothing, the share that is put down to the negative binomial.
    share = np.where(zero, (1 - gone) * np.exp(log_none) / none, 1.0)
    by_mean = share * (x - mean) * shape / (shape + mean)
    by_gone = np.where(zero, gone * (1 - gone) * (1 - np.exp(log_none)) / none, -gone)
    by_shape = share * (
        digamma(x + shape) - digamma(shape) + np.log(shape / (shape + mean)) + (mean - x) / (shape + mean)
    )
    n = len(x)
    gradient = np.concatenate(
        (about.T @ by_mean / n, about.T @ by_gone / n, [-shape * by_shape.mean() if -6 < last < 4 else 0.0])
    )
    penalty = _RIDGE * float((rate[1:] ** 2).sum() + (silent[1:] ** 2).sum())
    ridge = 2 * _RIDGE * np.concatenate(([0.0], rate[1:], [0.0], silent[1:], [0.0]))
    return -float(likelihood.mean()) + penalty, -gradient + ridge


def _values(past: pd.DataFrame) -> tuple[float, float, float]:
    """Mean, variance within and variance between members of the logarithm of a basket (analysis of variance)."""
    sold = past[past["value"] > 0]
    logs: Any = np.log(sold["value"]).groupby(sold["member_id"].to_numpy())
    count, mean = logs.size().to_numpy(np.float64), logs.mean().to_numpy(np.float64)
    inside = logs.var(ddof=0).to_numpy(np.float64)
    within = max(float((inside * count).sum() / max(count.sum() - len(count), 1.0)), 0.01)
    centre = float(mean.mean())
    between = max(float(mean.var()) - within * float((1.0 / count).mean()), 0.01)
    return centre, within, between
