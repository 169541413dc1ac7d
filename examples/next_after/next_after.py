"""What members put into the basket after this one: a recipe of one file, from a package of its own.

`item_item` takes products that the same members bought as neighbours, whatever came first. Here order counts: the
neighbours of a product are what was in the *next* basket. It is the transition matrix of a first-order Markov chain
over baskets (Rendle, Freudenthaler, Schmidt-Thieme 2010, "Factorizing personalized Markov chains", section 3), not
factorised but shrunk, and lifted over popularity.

Time and memory grow with the pairs of products in consecutive baskets.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import ItemItem
from training.interactions import Interactions
from training.recipes.popularity import popular
from training.recipes.recipe import Fitted, Recipe
from training.search import Between


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NextAfterConfig:
    """Configuration of `next_after`."""

    neighbours: int = Field(default=50, ge=1, le=1000)
    """How many are kept for each product."""
    shrink: float = Field(default=20.0, ge=0)
    """Baskets by which the chance of what follows is drawn towards nothing."""
    lift: float = Field(default=0.3, ge=0, le=1)
    """0: the chance of what follows; 1: how many times its share of all baskets that is."""
    half_life_days: float = Field(default=30.0, gt=0)
    """After this time a purchase of the member counts half when scores are added up."""
    popularity_days: float = Field(default=30.0, gt=0)


SEARCH = {"shrink": Between(1, 500, log=True), "half_life_days": Between(3, 365, log=True)}


def baskets(interactions: Interactions) -> tuple[sp.csr_matrix, NDArray[np.bool_]]:
    """Every basket by member and time, (n_baskets, n_products), and whether the same member had another after it."""
    member, product = interactions.buys.T
    order = np.lexsort((interactions.bought_at, member))
    member, product, at = member[order], product[order], interactions.bought_at[order]
    new = (np.diff(member, prepend=-1) != 0) | (np.diff(at, prepend=np.nan) != 0)
    basket = np.cumsum(new) - 1
    ones = np.ones(len(basket), np.float32)
    shape = (int(basket[-1]) + 1, len(interactions.product_ids))
    owner = member[new]
    return sp.csr_matrix((ones, (basket, product)), shape=shape), np.append(owner[1:] == owner[:-1], False)


def transitions(interactions: Interactions, config: NextAfterConfig) -> sp.csr_matrix:
    """(n_products, n_products): how sure the column is in the basket after one with the row."""
    bought, followed = baskets(interactions)
    earlier, later = bought[followed], bought[1:][followed[:-1]]
    found = sp.csr_matrix(earlier.T @ later)
    times = np.asarray(earlier.sum(axis=0)).ravel()
    share = np.maximum(np.asarray(bought.mean(axis=0)).ravel(), 1e-12)
    return sp.csr_matrix(sp.diags(1.0 / (times + config.shrink + 1e-9)) @ found @ sp.diags(share**-config.lift))


def fit(interactions: Interactions, config: NextAfterConfig) -> Fitted:
    """The surest followers of each product, in the form that item neighbours are served in."""
    sure = transitions(interactions, config)
    width = config.neighbours
    neighbours = np.zeros((sure.shape[0], width), np.int32)
    similarity = np.zeros((sure.shape[0], width), np.float32)
    for product in range(sure.shape[0]):
        span = slice(sure.indptr[product], sure.indptr[product + 1])
        best = np.lexsort((sure.indices[span], -sure.data[span]))[:width]
        neighbours[product, : len(best)] = sure.indices[span][best]
        similarity[product, : len(best)] = sure.data[span][best]
    popularity = popular(interactions, config.popularity_days)
    return Fitted(ItemItem(interactions.product_ids, neighbours, similarity, popularity, config.half_life_days))


RECIPE = Recipe("next_after", NextAfterConfig, fit)
