"""Small histories with tastes and habits, for tests of the blend and of cold start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from training.interactions import Interactions, build
from training.split import after

AT = datetime(2024, 6, 1, tzinfo=UTC)
NOW = AT.timestamp()
DAY = 86_400.0


def purchases(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    """Rows (member, product, days ago)."""
    moments = pd.Series([AT - timedelta(days=days) for _, _, days in rows]).astype("datetime64[us, UTC]")
    names = [f"b{i:05d}" for i in range(len(rows))]
    return pd.DataFrame(
        {
            "purchase_id": names,
            "basket_id": names,
            "member_id": [row[0] for row in rows],
            "product_id": [row[1] for row in rows],
            "quantity": 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )


def table(key: str, ids: list[str], **columns: Any) -> pd.DataFrame:
    since = pd.Series([AT - timedelta(days=900)] * len(ids)).astype("datetime64[us, UTC]")
    return pd.DataFrame({key: ids, **columns, "occurred_at": since, "known_at": since})


def built(rows: list[tuple[str, str, float]], category: list[str | None], at: datetime = AT) -> Interactions:
    """Products p0, p1, … with these categories."""
    products = table("product_id", [f"p{i}" for i in range(len(category))], category=category, brand=None)
    members = table("member_id", sorted({row[0] for row in rows}))
    return build(purchases(rows), products, members, at)


SMALL = [
    ("a", "p0", 40.0),
    ("a", "p0", 20.0),
    ("a", "p1", 20.0),
    ("a", "p2", 2.0),
    ("b", "p0", 35.0),
    ("b", "p1", 5.0),
    ("c", "p2", 1.0),
]


def small(at: datetime = AT) -> Interactions:
    return built(SMALL, ["x", "x", "y", "x", "y"], at)


@cache
def programme() -> tuple[list[tuple[str, str, float]], Interactions, pd.DataFrame]:
    """Members with one of four tastes and three staples of their own; cut 30 days before the end."""
    rng = np.random.default_rng(5)
    rows = []
    for member in range(160):
        own = rng.permutation(np.arange(member % 4, 48, 4))
        chances = np.r_[np.full(3, 0.2), np.full(9, 0.4 / 9)]
        for day in np.arange(rng.uniform(0, 15), 150, rng.uniform(8, 16)):
            picked = rng.choice(own, 3, False, chances) if rng.random() < 0.8 else rng.integers(0, 48, 3)
            rows += [(f"m{member:03d}", f"p{product}", 150 - day) for product in set(picked.tolist())]
    category: list[str | None] = [f"kind {i % 4}" for i in range(48)]
    cut = AT - timedelta(days=30)
    return rows, built(rows, category, cut), after(purchases(rows), cut)
