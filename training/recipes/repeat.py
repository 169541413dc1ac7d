"""Personal repeat purchase: what this member buys again, whether it is due, and what like members would add.

Two logistic regressions are learned inside the history, where it is known what was bought next, from members who
bought anything at all (so they speak of *what* is bought by somebody who comes, not of who comes):

- a product bought before: P(again) = σ(w·terms), with ln count and ln age (recency), the age against the usual time
  between two purchases of the product, linear and squared (its rhythm), the product's repeat rate and popularity, the
  member's visits since, number of visits, age and habit, and what the member's *other* purchases say for the product;
- any other product: P(first) = σ(v·terms), with how wanted it is lately and ever, what the member's purchases say for
  it, and the member's visits, age and habit.

What purchases say is x·B of EASE (Steck, WWW 2019; `training.recipes.ease`), where the diagonal of B is 0. Both models
are fitted by Newton steps under a normal prior, which is the answer where there is nothing to learn from.

Ideas from: frequency and recency of a member's own purchases beside those of neighbours: TIFU-KNN (Hu et al., SIGIR
2020) and UP-CF (Faggioli et al., UMAP 2020); age against the product's own rhythm: Bhagat et al., KDD 2018 ("Buy it
again"), Anderson et al., WWW 2014, and ReCANet (Ariannezhad et al., SIGIR 2022).

Time grows as that of `ease` with at most `square_products` in its square, twice, and with `most_members` × products;
memory with products × max(`square_products`, `neighbours`) and a few hundred members × products.
"""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Counts, Linear
from features.learned.counts import NEW_TERMS, TERMS, first_worth, near, rhythm
from training.inner import Inner, Way, split
from training.interactions import Interactions
from training.recipes import ease
from training.recipes.degrees import weighted
from training.recipes.popularity import DAY
from training.recipes.recipe import Cost, Fitted

_PRIOR = np.array([-1.0, 1.0, -0.3, 0.0, -0.1, 0.5, 0.2, 0.0, 0.1, -0.2, 0.0, 0.0, 0.0])
"""Weights assumed before any data, in the order of TERMS: bought often, lately, by habit and by others."""
_NEW_PRIOR = np.array([0.0, 0.3, 0.1, 1.0, 0.0, 0.0, 0.0])
"""The same in the order of NEW_TERMS."""
_PROMISE = 0.3
"""Weight of popularity where candidates are picked."""
_AT_ONCE = 256


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RepeatConfig:
    """Configuration of `repeat`."""

    horizon_days: float = Field(default=28.0, gt=0)
    """Scores are chances of a purchase within this time."""
    inner: Way = "time"
    """Where the weights are learned: in the last horizon of the history, a fifth by lot (of each member's products, or
    of single purchases), or each member's last basket."""
    prior_strength: float = Field(default=3.0, gt=0)
    """How firmly the assumed weights are held; about as much as this many purchases."""
    prior_buyers: float = Field(default=5.0, gt=0)
    """How many buyers' worth of the average product is mixed into each product's rhythm and rate."""
    square_products: int = Field(default=4_000, ge=0)
    """So many of the most bought products speak for each other in one closed form; the rest through their nearest."""
    neighbours: int = Field(default=100, ge=1, le=1000)
    """How many products speak for a product outside the square."""
    half_life_days: float = Field(default=365.0, gt=0)
    """After this time a purchase speaks half as loudly for other products."""
    most_members: int = Field(default=1_000, ge=1)
    """At most so many members teach the weights of first purchases."""
    most_rows: int = Field(default=300_000, ge=1)
    """At most so many pairs of member and product teach the weights of repeats; of more, every n-th member's."""
    candidates: int = Field(default=100, ge=1)
    """So many of the likeliest products teach first purchases, for each member: where lists are decided."""
    caution: float = Field(default=1.0, ge=0)
    """Taken off the log-odds of first purchases: the best of thousands of chances are the most overestimated ones."""
    seed: int = 0


@plain_dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows that teach a logistic."""

    terms: NDArray[np.float64]
    """(n, m)"""
    label: NDArray[np.float64]
    """(n,): 0 or 1."""


def _described(interactions: Interactions, config: RepeatConfig) -> Counts:
    """The form with everything but its learned weights."""
    n_products, moment = len(interactions.product_ids), interactions.seconds
    at = interactions.bought_at
    product = interactions.buys[:, 1].astype(np.int64)
    pairs = interactions.buys[:, 0].astype(np.int64) * n_products + product
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    counts = np.diff(np.append(starts, len(pairs)))
    again = np.flatnonzero(np.diff(pairs) == 0)
    gaps = np.maximum((at[again + 1] - at[again]) / DAY, 0.25)
    members = int(np.count_nonzero(np.diff(interactions.counts.indptr)))
    buyers = np.bincount(product[starts], minlength=n_products)
    late = at[starts] > moment - config.horizon_days * DAY
    return Counts(
        product_ids=interactions.product_ids,
        popularity=_first_purchases(product[starts], late, members, n_products),
        ever=((buyers + 0.1) / (members + 1.0)).astype(np.float32),
        rhythm_days=_rhythm(product[again], gaps, n_products, config),
        repeat_rate=_repeat_rate(product[starts], counts, n_products, config),
        weights=_PRIOR,
        new_weights=_NEW_PRIOR,
        first_worth=np.zeros(n_products, np.float32),
        neighbours=_neighbours(interactions, config),
    )


def _of_ease(config: RepeatConfig) -> ease.EaseConfig:
    return ease.EaseConfig(
        most_products=config.square_products, neighbours=config.neighbours, half_life_days=config.half_life_days
    )


def _neighbours(interactions: Interactions, config: RepeatConfig) -> Linear:
    settings = _of_ease(config)
    form = ease.empty(interactions, settings.half_life_days, settings.popularity_days)
    bought = weighted(interactions, settings.half_life_days)
    return ease.with_weights(form, bought, settings) if bought.nnz else form


def _first_purchases(
    product: NDArray[np.int64], late: NDArray[np.bool_], members: int, n_products: int
) -> NDArray[np.float32]:
    """Share of the members who had not yet bought a product that did so within the last horizon."""
    new = np.bincount(product[late], minlength=n_products)
    old = np.bincount(product[~late], minlength=n_products)
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


def _lessons(form: Counts, inner: Inner, config: RepeatConfig) -> tuple[_Rows, _Rows]:
    """What teaches repeats and what teaches first purchases, from members who came back."""
    came = np.flatnonzero((inner.bought.getnnz(axis=1) > 0) & (inner.before.counts.getnnz(axis=1) > 0))
    pairs = int(inner.before.counts[came].nnz)
    came = came[:: -(-pairs // config.most_rows) or 1]
    fresh = -(-len(came) // config.most_members) or 1
    again, first = [], []
    for begin in range(0, len(came), _AT_ONCE):
        rows = came[begin : begin + _AT_ONCE]
        asked = inner.asked(rows)
        said = near(form.neighbours.score_many(asked, inner.before.seconds))
        found = rhythm(asked.starts, asked.count, asked.last_at, inner.before.seconds)
        label = inner.bought[rows].toarray()
        row, index = asked.row, asked.product_index
        terms = form.terms(index, said[row, index], found, row)
        again.append(_Rows(terms, label[row, index].astype(np.float64)))
        label[row, index] = False
        said[row, index] = -np.inf
        chosen = np.arange(-begin % fresh, len(rows), fresh)
        first.append(_first(form, said[chosen], label[chosen], found.member[chosen], config))
    return _together(again, len(TERMS)), _together(first, len(NEW_TERMS))


def _first(
    form: Counts,
    said: NDArray[np.float32],
    label: NDArray[np.bool_],
    member: NDArray[np.float64],
    config: RepeatConfig,
) -> _Rows:
    """The likeliest products that each member had not bought, and which of them was bought then."""
    few = min(config.candidates, said.shape[1])
    promise = said + _PROMISE * np.log(form.popularity)
    index = np.argpartition(-promise, few - 1, axis=1)[:, :few].ravel()
    row = np.repeat(np.arange(len(said)), few)
    new = ~np.isneginf(said[row, index])
    row, index = row[new], index[new]
    return _Rows(form.new_terms(index, said[row, index], member[row]), label[row, index].astype(np.float64))


def _together(parts: list[_Rows], width: int) -> _Rows:
    if not parts:
        return _Rows(np.empty((0, width)), np.empty(0))
    return _Rows(np.concatenate([part.terms for part in parts]), np.concatenate([part.label for part in parts]))


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
    weights, loss = prior.copy(), _loss(terms, label, prior, prior, strength)
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(terms @ weights, -30, 30)))
        slope = terms.T @ (label - chance) - strength * (weights - prior)
        curve = (terms.T * (chance * (1 - chance))) @ terms + strength * np.eye(len(prior))
        step = np.linalg.solve(curve, slope)
        while np.abs(step).max() >= 1e-8:  # halved until it helps: full steps overshoot where chances are near 0 or 1
            stepped = _loss(terms, label, weights + step, prior, strength)
            if stepped <= loss:
                break
            step /= 2.0
        else:
            break
        weights, loss = weights + step, stepped
    return weights


def _loss(
    terms: NDArray[np.float64],
    label: NDArray[np.float64],
    weights: NDArray[np.float64],
    prior: NDArray[np.float64],
    strength: float,
) -> float:
    """Minus the logarithm of how probable the weights are, but for a constant."""
    worth = terms @ weights
    away = weights - prior
    return float(np.logaddexp(0.0, worth).sum() - label @ worth + strength / 2 * (away @ away))


def fit(interactions: Interactions, config: RepeatConfig) -> Fitted:
    """Chances that a product is bought again or for the first time, with weights learned inside the history."""
    inner = split(interactions, config.inner, config.horizon_days, config.seed)
    weights, new_weights = _PRIOR, _NEW_PRIOR
    if inner.before.counts.nnz and inner.bought.nnz:
        again, first = _lessons(_described(inner.before, config), inner, config)
        if inner.way != "random":  # which hides a product with all its purchases: nothing is ever bought again
            weights = logistic(again.terms, again.label, _PRIOR, config.prior_strength)
        new_weights = logistic(first.terms, first.label, _NEW_PRIOR, config.prior_strength)
    cautious = new_weights - config.caution * np.eye(len(NEW_TERMS))[0]
    form = _described(interactions, config)
    worth = first_worth(form.popularity, form.ever, cautious)
    return Fitted(replace(form, weights=weights, new_weights=cautious, first_worth=worth))


def cost(interactions: Interactions, config: RepeatConfig) -> Cost:
    """Neighbours twice, and what all products score for the members that teach first purchases."""
    neighbours = ease.cost(interactions, _of_ease(config))
    taught = min(config.most_members, interactions.counts.shape[0]) * interactions.counts.shape[1]
    purchases = len(interactions.buys)
    return Cost(
        2 * neighbours.seconds + taught * 1e-6 + purchases * 1e-5, neighbours.megabytes + purchases * 5e-4 + 500
    )
