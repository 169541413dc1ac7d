"""EASE and an ideal low-pass filter, added up: fine weights between products and the few broad tastes behind them.

Both are linear in what the member bought and both have a closed form (`training.recipes.ease`, `.spectral`). EASE says
what goes with what, the low-pass filter what kind of member this is; their mistakes differ, and the sum was ahead of
the better of the two wherever both were near. The low-pass part is scaled so that its scores have `low_pass` times the
root mean square of EASE's over the members of the history. Time and memory are the sum of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Linear
from features.learned.histories import Histories
from training.interactions import Interactions, histories
from training.recipes.degrees import weighted
from training.recipes.ease import EaseConfig, empty, with_weights
from training.recipes.ease import cost as ease_cost
from training.recipes.recipe import Cost, Fitted
from training.recipes.spectral import SpectralConfig, low_pass_cost, with_low_pass
from training.search import Between, Range

_SAMPLED, _AT_ONCE = 512, 128


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LinearConfig:
    """Configuration of `linear`; what has the name of a setting of `ease` or `spectral` means the same."""

    low_pass: float = Field(default=1.0, ge=0)
    """How much the low-pass filter's scores vary, as a multiple of EASE's."""
    regularization: float = Field(default=5.0, gt=0)
    components: int | None = Field(default=None, ge=1, le=2048)
    most_components: int = Field(default=256, ge=1, le=2048)
    half_life_days: float = Field(default=365.0, gt=0)
    memory_mb: float = Field(default=512.0, gt=0)
    most_products: int = Field(default=12_000, ge=0)
    neighbours: int = Field(default=100, ge=1, le=1000)
    popularity_days: float = Field(default=30.0, gt=0)
    seed: int = 0


SEARCH: dict[str, Range | None] = {
    "regularization": Between(0.5, 50, log=True),
    "low_pass": Between(0.1, 3, log=True),
    "half_life_days": Between(30, 3000, log=True),
    "neighbours": None,
    "popularity_days": None,
}


def fit(interactions: Interactions, config: LinearConfig) -> Fitted:
    """One form that holds both; members have no vectors."""
    form = empty(interactions, config.half_life_days, config.popularity_days)
    bought = weighted(interactions, config.half_life_days)
    spectral = SpectralConfig(components=config.components, most_components=config.most_components, seed=config.seed)
    fine, broad = with_weights(form, bought, _ease(config)), with_low_pass(form, bought, spectral)
    asked = _sample(interactions)
    share = config.low_pass * _size(fine, asked, interactions.seconds) / _size(broad, asked, interactions.seconds)
    return Fitted(replace(fine, factors=broad.factors, inward=broad.inward, outward=broad.outward * np.float32(share)))


def _ease(config: LinearConfig) -> EaseConfig:
    return EaseConfig(
        regularization=config.regularization,
        half_life_days=config.half_life_days,
        memory_mb=config.memory_mb,
        most_products=config.most_products,
        neighbours=config.neighbours,
    )


def _sample(interactions: Interactions) -> Histories:
    buyers = np.flatnonzero(np.diff(sp.csr_matrix(interactions.counts).indptr))
    return histories(interactions, buyers[:: -(-len(buyers) // _SAMPLED)])


def _size(form: Linear, asked: Histories, at: float) -> float:
    """Root mean square of all scores; not 0, so that it can be divided by."""
    parts = range(0, len(asked), _AT_ONCE)
    squares = sum(
        float(np.square(form.score_many(asked.part(begin, begin + _AT_ONCE), at), dtype=np.float64).sum())
        for begin in parts
    )
    return max(float(np.sqrt(squares / (len(asked) * len(form.product_ids)))), 1e-12)


def cost(interactions: Interactions, config: LinearConfig) -> Cost:
    """That of both."""
    fine = ease_cost(interactions, _ease(config))
    broad = low_pass_cost(interactions, config.components or 2 * config.most_components)
    return Cost(fine.seconds + broad.seconds, fine.megabytes + broad.megabytes)
