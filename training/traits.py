"""What is known of products at a moment: how wanted they are, lately and ever, and how they are bought again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.learned.traits import PRODUCT_FEATURES, Traits
from training.interactions import Interactions

DAY = 86_400.0
_PRIOR_BUYERS = 5.0
"""How many buyers' worth of the average product is mixed into each product's rhythm and repeat rate."""
Column = NDArray[np.float64]


def traits(interactions: Interactions, window_days: float) -> Traits:
    """The traits at `interactions.at`.

    Columns of `numbers`: `popularity` and `popularity_lately`, log share of all buyers (ever, lately) who bought it;
    `trend`, log ratio of its share in the window to that in the window before; `repeat_rate`, share of its buyers
    that bought it again; `rhythm`, ln(1 + days) usual between two purchases by one member; `idle` and
    `launched`, ln(1 + days) since it was last and first bought by anyone, NaN where it never was.
    """
    columns = (
        *_popularity(interactions, window_days),
        *_rebuying(interactions, window_days),
        *_life(interactions),
    )
    kind, brand = (_numbered(interactions, prefix) for prefix in ("category", "brand"))
    bought = kind[interactions.buys[:, 1]]
    weight = np.bincount(bought[bought >= 0], minlength=int(kind.max(initial=-1)) + 1) / max(len(bought), 1)
    assert len(columns) == len(PRODUCT_FEATURES)
    sold = np.bincount(interactions.counts.indices, minlength=len(kind)) > 0
    return Traits(np.stack(columns, axis=1).astype(np.float32), kind, brand, weight.astype(np.float32), sold)


def _popularity(interactions: Interactions, window_days: float) -> tuple[Column, Column, Column]:
    counts, n_products = interactions.counts, interactions.counts.shape[1]
    ever = np.bincount(counts.indices, minlength=n_products)
    buyers = int(np.count_nonzero(np.diff(counts.indptr)))
    ago = (interactions.seconds - interactions.bought_at) / DAY
    pair = interactions.buys[:, 0].astype(np.int64) * n_products + interactions.buys[:, 1]
    lately, active = _bought_by(pair[ago < window_days], n_products)
    formerly, active_then = _bought_by(pair[(ago >= window_days) & (ago < 2 * window_days)], n_products)
    share_lately = (lately + 0.5) / (active + 1.0)
    trend = np.log((lately + 1.0) / (active + 1.0)) - np.log((formerly + 1.0) / (active_then + 1.0))
    return np.log((ever + 0.5) / (buyers + 1.0)), np.log(share_lately), trend


def _bought_by(pair: NDArray[np.int64], n_products: int) -> tuple[Column, int]:
    """Distinct buyers of each product, and how many members bought anything."""
    met = np.unique(pair)
    return np.bincount(met % n_products, minlength=n_products).astype(float), len(np.unique(met // n_products))


def _rebuying(interactions: Interactions, window_days: float) -> tuple[Column, Column]:
    n_products = interactions.counts.shape[1]
    counts = interactions.counts
    again = np.bincount(counts.indices[counts.data > 1], minlength=n_products)
    buyers = np.bincount(counts.indices, minlength=n_products)
    overall = (again.sum() + 0.5) / (buyers.sum() + 1.0)
    rate = (again + _PRIOR_BUYERS * overall) / (buyers + _PRIOR_BUYERS)
    member, product = interactions.buys[:, 0], interactions.buys[:, 1]
    same = np.flatnonzero((np.diff(member) == 0) & (np.diff(product) == 0))
    gaps = np.log1p(np.maximum(interactions.bought_at[same + 1] - interactions.bought_at[same], 0.0) / DAY)
    usual = float(gaps.mean()) if gaps.size else float(np.log1p(window_days))
    total = np.bincount(product[same], weights=gaps, minlength=n_products) + _PRIOR_BUYERS * usual
    return rate, total / (np.bincount(product[same], minlength=n_products) + _PRIOR_BUYERS)


def _life(interactions: Interactions) -> tuple[Column, Column]:
    n_products = interactions.counts.shape[1]
    last, first = np.full(n_products, -np.inf), np.full(n_products, np.inf)
    np.maximum.at(last, interactions.buys[:, 1], interactions.bought_at)
    np.minimum.at(first, interactions.buys[:, 1], interactions.bought_at)
    known = np.isfinite(last)
    out = []
    for moment in (last, first):
        days = np.full(n_products, np.nan)
        days[known] = np.log1p(np.maximum(interactions.seconds - moment[known], 0.0) / DAY)
        out.append(days)
    return out[0], out[1]


def _numbered(interactions: Interactions, prefix: str) -> NDArray[np.int32]:
    """(n_products,): which of the tags `prefix:…` a product has, −1 where it has none."""
    columns = [i for i, name in enumerate(interactions.product_tag_names) if name.startswith(f"{prefix}:")]
    out = np.full(len(interactions.product_ids), -1, np.int32)
    tags = interactions.product_tags[:, columns].tocoo()
    out[tags.row] = tags.col
    return out
