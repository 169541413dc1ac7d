"""Members of a real history with assumed answers: rhythms and baskets as they were, effects as nobody knows them.

How often somebody buys and what lies in a basket is read from the history; who can be persuaded, by what and how
much is drawn as in a simulated world. Nothing that comes out of it says what would have happened in reality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from experiments.programme.assortment import Assortment, assortment
from experiments.programme.chance import BLOCK, Floats
from experiments.programme.people import Truth, joined, people
from experiments.worlds import World

MOST_PRODUCTS = 200
"""What baskets are filled with: the products bought most often."""
MOST_GAP_DAYS = 365.0
_TABLES = Mapping[str, pd.DataFrame]


def truth(world: World, tables: _TABLES, default_margin: float, at: datetime, seed: int) -> Truth:
    """Members who bought in the year before `at`.

    Args:
        world: whose effects are assumed.
        tables: `purchases` and `products`.
        default_margin: share of the price that is margin where the history does not say.
        at: the end of the history.
        seed: of what is drawn.

    Raises:
        ValueError: nobody bought in that year.
    """
    bought = tables["purchases"]
    bought = bought[(bought["quantity"] > 0) & (bought["amount"] > 0)].dropna(subset=["product_id"])
    bought = bought[bought["occurred_at"] > at - pd.Timedelta(days=365)]
    if bought.empty:
        raise ValueError("the history has no purchase in its last year: there is nobody to rehearse with")
    shop = _shop(world, bought, tables["products"], default_margin, seed)
    rhythm = _rhythm(bought, at)
    drawn = joined(
        people(world, shop, first, min(BLOCK, len(rhythm) - first), seed, block)
        for block, first in enumerate(range(0, len(rhythm), BLOCK))
    )
    extras = np.maximum(rhythm["lines"].to_numpy(dtype=np.float64) - 1.0, 0.0)
    share = np.exp(shop.popularity - np.log(np.exp(shop.popularity).sum()))
    # A basket holds lines of the mean price; what this member's lines cost more or less is left out.
    return replace(
        drawn,
        member_ids=rhythm.index.to_numpy(dtype=object),
        gap_days=rhythm["gap"].to_numpy(dtype=np.float64),
        taste=np.zeros_like(drawn.taste),
        extras=np.minimum(extras, 20.0),
        impulse_margin=(1.0 + np.minimum(extras, 20.0)) * float(share @ shop.margin),
        impulse_amount=(1.0 + np.minimum(extras, 20.0)) * float(share @ shop.price),
    )


def said(world: World) -> dict[str, object]:
    """What is assumed, in words and numbers, to be written beside every figure."""
    return {
        "assumed": True,
        "what": "the answers to offers are assumed, not observed; rhythms and baskets are those of the history",
        "effects_as_in_world": world.name,
        "chance_of_an_extra_basket": dict(world.lift),
        "chance_to_drive_away": dict(world.drop),
        "fatigue": world.fatigue,
        "window_days": world.window_days,
    }


def _shop(world: World, bought: pd.DataFrame, products: pd.DataFrame, default: float, seed: int) -> Assortment:
    """The products bought most, each with its mean line as its price."""
    lines = bought.groupby("product_id")["amount"].agg(["size", "mean"])
    lines = lines.sort_values(["size", "mean"], ascending=False).head(MOST_PRODUCTS).sort_index()
    known = products.drop_duplicates("product_id", keep="last").set_index("product_id").reindex(lines.index)
    rate = (known["margin"] / known["price"]) if {"margin", "price"} <= set(known) else pd.Series(np.nan, lines.index)
    drawn = assortment(world, len(lines), seed)
    price = np.round(lines["mean"].to_numpy(dtype=np.float64), 2)
    rates: Floats = np.asarray(rate.astype(float).clip(0.0, 0.95).fillna(default), dtype=np.float64)
    return replace(
        drawn,
        product_ids=lines.index.to_numpy(dtype=object),
        price=price,
        margin=price * rates,
        popularity=np.log(lines["size"].to_numpy(dtype=np.float64)),
    )


def _rhythm(bought: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """By member: `gap`, days to the next basket, and `lines` of a basket."""
    bought = bought.assign(day=bought["occurred_at"].dt.floor("D"))
    found = bought.groupby("member_id").agg(first=("day", "min"), baskets=("day", "nunique"), rows=("day", "size"))
    seen = (pd.Timestamp(at) - found["first"]).dt.total_seconds() / 86_400.0
    # One basket more and 60 days more than seen: who bought once yesterday is not taken to come every day.
    gap = (seen + 60.0) / (found["baskets"] + 1.0)
    return pd.DataFrame({"gap": gap.clip(2.5, MOST_GAP_DAYS), "lines": found["rows"] / found["baskets"]})
