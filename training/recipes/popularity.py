"""What most members bought lately, or most members of a region: the recommender that every other one has to beat.

A region's own shares are drawn towards those of all (the mean of a Dirichlet distribution around the whole), as firmly
as serves best the members who were left out. Where nothing serves them better than the whole alone, regions have no
lists of their own.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import Popularity
from training.interactions import Interactions, regions
from training.metrics import ndcg
from training.recipes.recipe import Fitted

DAY = 86_400.0
_FORMERLY = 1e-3
"""Weight of all earlier buyers, so that products outside the window are ordered too."""
_MOST_REGIONS = 100
"""Only the regions with most members may have lists of their own."""
_PULLS = (30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PopularityConfig:
    """Configuration of `popularity`."""

    window_days: float = Field(default=30.0, gt=0)
    """On Online Retail 30 days beat 60 and 90 (NDCG@10 0.112, 0.104, 0.093 a month before the last)."""
    by_region: bool = True
    """Whether regions may have lists of their own, where those are better."""


def popular(interactions: Interactions, window_days: float) -> NDArray[np.float32]:
    """Distinct buyers inside the window ÷ members who bought anything in it, (n_products,), in 0..1.

    A thousandth of the same share over the whole history is mixed in, to order what nobody bought lately.
    """
    last = interactions.last_at
    recent = last.data >= interactions.seconds - window_days * DAY
    ever = np.bincount(last.indices, minlength=last.shape[1])
    lately = np.bincount(last.indices[recent], minlength=last.shape[1])
    buyers = len(np.unique(last.tocoo().row[recent]))
    share: NDArray[np.float64] = (1 - _FORMERLY) * lately / max(buyers, 1) + _FORMERLY * ever / max(last.shape[0], 1)
    return share.astype(np.float32)


def fit(interactions: Interactions, config: PopularityConfig) -> Fitted:
    """The same scores for everybody, or for everybody of a region."""
    whole = popular(interactions, config.window_days)
    if not config.by_region:
        return Fitted(Popularity(interactions.product_ids, whole))
    recent = interactions.last_at.data >= interactions.seconds - config.window_days * DAY
    bought = interactions.counts.copy()
    bought.data = recent.astype(np.float32)
    bought.eliminate_zeros()
    names, place = _regions(interactions)
    share = whole.astype(np.float64) / max(float(whole.sum(dtype=np.float64)), 1e-300)
    pull = _pull(bought, place, share)
    if pull is None:
        return Fitted(Popularity(interactions.product_ids, whole))
    own = _by_region(bought, place, len(names))
    regional = (own + pull * share) / (own.sum(axis=1, keepdims=True) + pull) * whole.sum(dtype=np.float64)
    return Fitted(Popularity(interactions.product_ids, whole, names, regional.astype(np.float32)))


def _regions(interactions: Interactions) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    """The regions that may have lists of their own, sorted, and the place of each member's among them, −1 if none."""
    names, place, members = np.unique(regions(interactions), return_inverse=True, return_counts=True)
    members[names == ""] = 0
    kept = np.sort(np.argsort(-members, kind="stable")[:_MOST_REGIONS])
    kept = kept[members[kept] > 0]
    new = np.full(len(names), -1)
    new[kept] = np.arange(len(kept))
    return names[kept], new[place]


def _by_region(bought: sp.csr_matrix, place: NDArray[np.intp], n_regions: int) -> NDArray[np.float64]:
    """(n_regions, n_products): buyers of each product in each region."""
    inside = np.flatnonzero(place >= 0)
    belongs = sp.csr_matrix((np.ones(len(inside)), (place[inside], inside)), shape=(n_regions, len(place)))
    found: NDArray[np.float64] = (belongs @ bought).toarray()
    return found


def _pull(bought: sp.csr_matrix, place: NDArray[np.intp], share: NDArray[np.float64]) -> float | None:
    """How many purchases' worth of the whole a region's shares are mixed with; None where the whole alone is better.

    Half of the members at a time are given lists of ten from what the other half bought. A gain in NDCG counts if it is
    two standard errors above 0.

    Args:
        bought: (n_members, n_products): 1 for each product bought inside the window.
        place: (n_members,): the member's region, −1 for those without.
        share: (n_products,): of all purchases.
    """
    judged = np.flatnonzero((place >= 0) & (bought.getnnz(axis=1) > 0))
    if len(np.unique(place[judged])) < 2:
        return None
    gains = np.zeros((len(_PULLS), len(place)))
    halves = np.random.default_rng(0).permutation(len(place)) % 2
    for half in (0, 1):
        own = _by_region(bought, np.where(halves == half, -1, place), int(place.max()) + 1)
        whole = np.asarray(bought[halves != half].sum(axis=0)).ravel() + share
        rows = judged[halves[judged] == half]
        told = sp.csr_matrix(bought[rows])
        plain = ndcg(np.tile(_first(whole[None]), (len(rows), 1)), told)
        for at, pull in enumerate(_PULLS):
            gains[at, rows] = ndcg(_first(own + pull * whole / whole.sum())[place[rows]], told) - plain
    gains = gains[:, judged]
    sure = gains.mean(axis=1) - 2.0 * gains.std(axis=1) / np.sqrt(len(judged))
    best = int(sure.argmax())
    return _PULLS[best] if sure[best] > 1e-9 else None


def _first(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best ten of each row, (n, 10); of equal scores the lower position first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]
