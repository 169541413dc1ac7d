"""A made-up history of any size for measuring: members with a taste, products of very different popularity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.interactions import Interactions, build

ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)
_DAYS = 730
_KINDS = 200
_OWN = 0.7
"""Share of purchases that are of the member's own kind of products."""
_STEEPNESS = 0.9
"""The n-th product is bought n^−0.9 as often as the first."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a history is."""

    members: int
    products: int
    purchases: int


def long_history(size: Size, seed: int = 0) -> Interactions:
    """Two years of it. How much members buy is log-normal; each product has a category and each member a region."""
    rng = np.random.default_rng(seed)
    activity = rng.lognormal(0.0, 1.0, size.members)
    member = np.sort(rng.choice(size.members, size.purchases, p=activity / activity.sum()))
    kinds = max(1, min(_KINDS, size.products // 10))
    product = _bought(rng, member, size, kinds)
    days_ago = rng.uniform(0.0, _DAYS, size.purchases)
    moments = pd.Series(ENDS_AT - pd.to_timedelta(days_ago, unit="D")).astype("datetime64[us, UTC]")
    rows = pd.Series(np.arange(size.purchases)).astype(str)
    purchases = pd.DataFrame(
        {
            "purchase_id": rows,
            "basket_id": rows,
            "member_id": _names("m", size.members)[member],
            "product_id": _names("p", size.products)[product],
            "quantity": 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )
    return build(purchases, _products(size.products, kinds), _members(size.members), ENDS_AT)


def _bought(rng: np.random.Generator, member: NDArray[np.intp], size: Size, kinds: int) -> NDArray[np.intp]:
    """Product `p` is of kind `p % kinds`, so that each kind has products of all popularities."""
    wanted = np.arange(1, size.products + 1) ** -_STEEPNESS
    product = rng.choice(size.products, len(member), p=wanted / wanted.sum())
    taste = rng.integers(0, kinds, size.members)
    own = rng.random(len(member)) < _OWN
    each = size.products // kinds
    shelf = np.arange(1, each + 1) ** -_STEEPNESS
    place = rng.choice(each, int(own.sum()), p=shelf / shelf.sum())
    product[own] = place * kinds + taste[member[own]]
    return product


def _names(letter: str, n: int) -> NDArray[np.str_]:
    return np.char.add(letter, np.char.zfill(np.arange(n).astype(np.str_), 7))


def _products(n: int, kinds: int) -> pd.DataFrame:
    category = [f"kind {i % kinds}" for i in range(n)]
    return pd.DataFrame({"product_id": _names("p", n), "category": category, "brand": None}).assign(**_since(n))


def _members(n: int) -> pd.DataFrame:
    regions = [f"region {i % 12}" for i in range(n)]
    return pd.DataFrame({"member_id": _names("m", n), "region": regions, "birth_year": None}).assign(**_since(n))


def _since(n: int) -> dict[str, pd.Series[pd.Timestamp]]:
    moment = pd.Series([ENDS_AT - pd.Timedelta(days=_DAYS + 1)] * n).astype("datetime64[us, UTC]")
    return {"occurred_at": moment, "known_at": moment}
