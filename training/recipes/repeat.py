"""Personal repeat purchase: what this member bought before and is due to buy again, then what is popular."""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Counts
from features.learned.counts import TERMS, repeat_terms
from training.interactions import Interactions
from training.recipes.popularity import DAY
from training.recipes.recipe import Fitted

_PRIOR = np.array([-1.0, 1.0, -0.3, 0.0, -0.1, 0.5, 0.2])
"""Weights assumed before any data, in the order of TERMS: bought often, lately, by habit and by others."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RepeatConfig:
    """Configuration of `repeat`."""

    horizon_days: float = Field(default=30.0, gt=0)
    """Scores are chances of a purchase within this time."""
    prior_strength: float = Field(default=10.0, gt=0)
    """How firmly the assumed weights are held; about as much as this many purchases."""
    prior_buyers: float = Field(default=5.0, gt=0)
    """How many buyers' worth of the average product is mixed into each product's rhythm and rate."""
    most_rows: int = Field(default=300_000, ge=1)
    """At most so many pairs of member and product teach the weights; of more, every n-th."""


@plain_dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """Pairs of member and product at a moment, sorted, with what the products look like."""

    pair: NDArray[np.int64]
    count: NDArray[np.float32]
    last_at: NDArray[np.float64]
    popularity: NDArray[np.float32]
    rhythm_days: NDArray[np.float32]
    repeat_rate: NDArray[np.float32]


def _past(interactions: Interactions, moment: float, config: RepeatConfig) -> _Past:
    n_products = len(interactions.product_ids)
    before = interactions.bought_at <= moment
    at = interactions.bought_at[before]
    member, product = (interactions.buys[before, side].astype(np.int64) for side in (0, 1))
    pairs = member * n_products + product
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    ends = np.append(starts[1:], len(pairs))[: len(starts)]
    again = np.flatnonzero(np.diff(pairs) == 0)
    gaps = np.maximum((at[again + 1] - at[again]) / DAY, 0.25)
    return _Past(
        pair=pairs[starts],
        count=(ends - starts).astype(np.float32),
        last_at=at[ends - 1],
        popularity=_first_purchases(product[starts], at[starts], moment, member, n_products, config),
        rhythm_days=_rhythm(product[again], gaps, n_products, config),
        repeat_rate=_repeat_rate(product[starts], ends - starts, n_products, config),
    )


def _first_purchases(
    product: NDArray[np.int64],
    first_at: NDArray[np.float64],
    moment: float,
    member: NDArray[np.int64],
    n_products: int,
    config: RepeatConfig,
) -> NDArray[np.float32]:
    """Share of the members who had not yet bought a product that did so within the last horizon."""
    lately = first_at > moment - config.horizon_days * DAY
    new = np.bincount(product[lately], minlength=n_products)
    old = np.bincount(product[~lately], minlength=n_products)
    members = len(np.unique(member))
    return ((new + 0.01) / (np.maximum(members - old, new) + 1.0)).astype(np.float32)


def _rhythm(
    product: NDArray[np.int64], gaps: NDArray[np.float64], n_products: int, config: RepeatConfig
) -> NDArray[np.float32]:
    """Geometric mean of the days between two purchases by one member, drawn towards that of all products."""
    logs = np.log(gaps)
    overall = float(logs.mean()) if logs.size else float(np.log(config.horizon_days))
    total = np.bincount(product, weights=logs, minlength=n_products) + config.prior_buyers * overall
    count = np.bincount(product, minlength=n_products) + config.prior_buyers
    return np.exp(total / count).astype(np.float32)


def _repeat_rate(
    product: NDArray[np.int64], counts: NDArray[np.int64], n_products: int, config: RepeatConfig
) -> NDArray[np.float32]:
    """Share of a product's buyers that bought it again, drawn towards that of all products."""
    overall = (float((counts > 1).sum()) + 0.5) / (len(counts) + 1.0)
    repeats = np.bincount(product[counts > 1], minlength=n_products) + config.prior_buyers * overall
    return (repeats / (np.bincount(product, minlength=n_products) + config.prior_buyers)).astype(np.float32)


def _learned_weights(interactions: Interactions, config: RepeatConfig) -> NDArray[np.float64]:
    """Weights of the logistic, learned one horizon before `at`, where it is known what was bought again."""
    moment = interactions.seconds - config.horizon_days * DAY
    past = _past(interactions, moment, config)
    later = interactions.buys[interactions.bought_at > moment].astype(np.int64)
    again = np.isin(past.pair, later[:, 0] * len(interactions.product_ids) + later[:, 1])
    step = -(-len(past.pair) // config.most_rows) or 1
    product = (past.pair % len(interactions.product_ids))[::step]
    terms = repeat_terms(
        past.count[::step],
        (moment - past.last_at[::step]) / DAY,
        past.rhythm_days[product],
        past.repeat_rate[product],
        past.popularity[product],
    )
    return logistic(terms, again[::step].astype(np.float64), _PRIOR, config.prior_strength)


def logistic(
    terms: NDArray[np.float64], label: NDArray[np.float64], prior: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    """Logistic weights that are most probable under a normal prior around `prior` with precision `strength`.

    Args:
        terms: (n, m).
        label: (n,), 0 or 1.
        prior: (m,); without rows it is the answer.
        strength: Above 0.
    """
    weights = prior.copy()
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(terms @ weights, -30, 30)))
        slope = terms.T @ (label - chance) - strength * (weights - prior)
        curve = (terms.T * (chance * (1 - chance))) @ terms + strength * np.eye(len(prior))
        step = np.linalg.solve(curve, slope)
        weights = weights + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def fit(interactions: Interactions, config: RepeatConfig) -> Fitted:
    """Chances that a product is bought again, by count, time since, product rhythm and habit."""
    past = _past(interactions, interactions.seconds, config)
    weights = _learned_weights(interactions, config)
    assert len(weights) == len(TERMS)
    form = Counts(interactions.product_ids, past.popularity, past.rhythm_days, past.repeat_rate, weights)
    return Fitted(form)
