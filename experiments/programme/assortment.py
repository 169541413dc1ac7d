"""What the shops sell: products with prices, margins, popularity, repeat rhythms and a place in the space of tastes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.programme.chance import ASSORTMENT, Floats, Texts, Whole, stream
from experiments.worlds import World


@dataclass(frozen=True, slots=True)
class Category:
    """`repeat`: days after which its staples run out (0: nothing runs out); `peak`: the day of year it sells best."""

    name: str
    noun: str
    price: float
    margin: float
    repeat: float
    returned: float
    peak: float
    swing: float


CATEGORIES = (
    Category("bakery", "Bread", 3.0, 0.45, 10, 0.002, 20, 0.1),
    Category("dairy", "Cheese", 4.0, 0.28, 14, 0.002, 150, 0.1),
    Category("produce", "Fruit", 4.5, 0.35, 12, 0.004, 190, 0.3),
    Category("meat-fish", "Fillet", 9.0, 0.25, 18, 0.004, 350, 0.2),
    Category("drinks", "Drink", 6.0, 0.32, 21, 0.003, 200, 0.5),
    Category("coffee-tea", "Coffee", 8.0, 0.40, 28, 0.004, 10, 0.3),
    Category("pantry", "Pasta", 4.0, 0.30, 30, 0.003, 30, 0.1),
    Category("snacks", "Snack", 3.5, 0.42, 20, 0.002, 340, 0.3),
    Category("household", "Cleaner", 7.0, 0.33, 42, 0.010, 90, 0.2),
    Category("beauty", "Cream", 14.0, 0.50, 60, 0.040, 345, 0.3),
    Category("pets", "Feed", 12.0, 0.30, 25, 0.008, 100, 0.0),
    Category("home", "Lamp", 28.0, 0.45, 0, 0.090, 320, 0.4),
    Category("garden", "Planter", 22.0, 0.42, 0, 0.060, 130, 0.9),
    Category("toys", "Game", 18.0, 0.44, 0, 0.070, 345, 0.9),
)
BRANDS = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Larch", "Maple", "Rowan", "Willow", "House")


@dataclass(frozen=True, slots=True)
class Assortment:
    """Products in id order; arrays of length `n_products` unless noted."""

    product_ids: Texts
    names: Texts
    brands: Texts
    category: Whole
    price: Floats
    margin: Floats
    """Money per unit at full price."""
    popularity: Floats
    """Log weight."""
    place: Floats
    """(n_products, dims): where it lies in the space of tastes."""
    styles: Floats
    """(n_styles, dims): centres of members' tastes."""
    repeat_days: Floats
    """Days after which it is bought again; infinite where nothing runs out."""
    returned: Floats
    launched: Floats
    """Share of the history that has passed when it comes to the shops; 0 for most."""
    stand_in: Whole
    """A product of the same category that was there from the start; itself if it was."""
    season: Floats
    """(n_products, 12): relative demand by month, at most 1."""


def assortment(world: World, products: int, seed: int) -> Assortment:
    """The assortment of one seed; the same for every world.

    Raises:
        ValueError: If there are fewer products than categories.
    """
    if products < len(CATEGORIES):
        raise ValueError(f"products={products}: a programme needs at least {len(CATEGORIES)}, one of each category")
    rng = stream(seed, ASSORTMENT)
    category = np.sort(np.arange(products) % len(CATEGORIES))
    centres = rng.normal(size=(len(CATEGORIES), world.taste_dims))
    price = np.array([c.price for c in CATEGORIES])[category] * np.exp(rng.normal(0, 0.35, products))
    price = np.round(np.maximum(price, 0.5), 1) - 0.01
    rate = np.clip(np.array([c.margin for c in CATEGORIES])[category] + rng.normal(0, 0.05, products), 0.05, 0.8)
    repeat = np.array([c.repeat for c in CATEGORIES], dtype=np.float64)[category]
    repeat = np.where(repeat > 0, repeat * np.exp(rng.normal(0, 0.25, products)), np.inf)
    launched = np.where(rng.random(products) < 0.08, rng.uniform(0.1, 0.85, products), 0.0)
    brand = rng.integers(len(BRANDS), size=products)
    brands = np.array(BRANDS, dtype=object)[brand]
    return Assortment(
        product_ids=np.array([f"P{i:05d}" for i in range(products)], dtype=object),
        names=np.array(
            [f"{BRANDS[b]} {CATEGORIES[c].noun} {i}" for i, (b, c) in enumerate(zip(brand, category, strict=True))],
            dtype=object,
        ),
        brands=brands,
        category=category,
        price=price,
        margin=np.round(price * rate, 2),
        popularity=rng.normal(0, 0.9, products),
        place=centres[category] + rng.normal(0, 0.9, (products, world.taste_dims)),
        styles=rng.normal(size=(world.styles, world.taste_dims)),
        repeat_days=repeat,
        returned=np.array([c.returned for c in CATEGORIES])[category],
        launched=launched,
        stand_in=_stand_ins(category, launched, rng),
        season=_seasons(category),
    )


def _stand_ins(category: Whole, launched: Floats, rng: np.random.Generator) -> Whole:
    stand_in = np.arange(len(category))
    for late in np.flatnonzero(launched > 0):
        there = np.flatnonzero((category == category[late]) & (launched == 0))
        stand_in[late] = rng.choice(there) if len(there) else np.flatnonzero(launched == 0)[0]
    return stand_in


def _seasons(category: Whole) -> Floats:
    middle = np.arange(12) * 30.4 + 15
    peak = np.array([c.peak for c in CATEGORIES])[:, None]
    swing = np.array([c.swing for c in CATEGORIES])[:, None]
    weight = 1 + swing * np.cos(2 * np.pi * (middle - peak) / 365)
    relative: Floats = weight / weight.max(axis=1, keepdims=True)
    return relative[category]
