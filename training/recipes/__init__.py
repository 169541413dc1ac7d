"""The recipes, by name. A new one is a file with a config and `fit(interactions, config)`, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from training.interactions import Interactions
from training.recipes import (
    als,
    blend,
    bpr,
    ease,
    item_item,
    lightfm_hybrid,
    linear,
    popularity,
    repeat,
    scaled_als,
    spectral,
)
from training.recipes.recipe import LIMITS, Cost, Fitted, Limits, Recipe, RecipeError, grows_with_purchases

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("popularity", popularity.PopularityConfig, popularity.fit, grows_with_purchases),
        Recipe("repeat", repeat.RepeatConfig, repeat.fit, repeat.cost),
        Recipe("als", als.AlsConfig, als.fit, als.cost),
        Recipe("scaled_als", scaled_als.ScaledAlsConfig, scaled_als.fit, scaled_als.cost),
        Recipe("bpr", bpr.BprConfig, bpr.fit, bpr.cost),
        Recipe("item_item", item_item.ItemItemConfig, item_item.fit, item_item.cost),
        Recipe("ease", ease.EaseConfig, ease.fit, ease.cost),
        Recipe("spectral", spectral.SpectralConfig, spectral.fit, spectral.cost),
        Recipe("linear", linear.LinearConfig, linear.fit, linear.cost),
        Recipe("blend", blend.BlendConfig, blend.fit, blend.cost),
        Recipe("lightfm_hybrid", lightfm_hybrid.LightfmHybridConfig, lightfm_hybrid.fit, lightfm_hybrid.cost),
    )
}

__all__ = ["LIMITS", "RECIPES", "Cost", "Fitted", "Limits", "Recipe", "RecipeError", "config_from", "find", "fit"]


def find(name: str) -> Recipe:
    """The recipe with this name: one of ours, or an entry point `tessera.recipes` of an installed package."""
    if name in RECIPES:
        return RECIPES[name]
    foreign = {point.name: point for point in entry_points(group="tessera.recipes")}
    if name not in foreign:
        known = ", ".join([*RECIPES, *sorted(foreign)])
        raise RecipeError(f'recipe "{name}" is unknown; use one of {known}')
    recipe: Recipe = foreign[name].load()
    return recipe


def config_from(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """The recipe's configuration from plain values; what is not given keeps its default.

    Raises:
        RecipeError: The recipe is unknown, a key is unknown or a value breaks its rule; all mistakes are told at once.
    """
    kind = find(name).config
    try:
        return kind(**dict(settings or {}))
    except ValidationError as error:
        known = ", ".join(field.name for field in fields(kind))
        raise RecipeError("; ".join(_told(name, mistake, known) for mistake in error.errors())) from error
    except TypeError as error:
        raise RecipeError(f'recipe "{name}": {error}; give its settings as names and values') from error


def _told(name: str, mistake: Any, known: str) -> str:
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "unexpected_keyword_argument":
        return f'recipe "{name}": "{key}" is no setting of it; use one of {known}'
    return f'recipe "{name}": {key} is {mistake["input"]!r}: {mistake["msg"]}'


def fit(name: str, interactions: Interactions, config: Any | None = None) -> Fitted:
    """Fit a recipe, on one thread, so that the same seed gives the same bytes.

    Args:
        name: A key of `RECIPES`.
        interactions: Must hold at least one purchase.
        config: From `config_from`; the defaults if None.
    """
    recipe = find(name)
    if not interactions.counts.nnz:
        raise RecipeError(
            f'recipe "{name}": no purchase was known at {interactions.at:%Y-%m-%d %H:%M}; '
            "load purchases, or train at a later moment"
        )
    with threadpool_limits(limits=1):
        return recipe.fit(interactions, recipe.config() if config is None else config)
