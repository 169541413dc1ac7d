"""Where a search for better settings may look: a range for each setting of a recipe.

A recipe says so itself where it knows better, in a mapping `SEARCH` in its file; for every other setting the range
follows from its type, its default and its bounds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers from `low` to `high`, both included; whole ones where the setting is whole."""

    low: float
    high: float
    log: bool = False
    """Whether 1 to 2 is as far as 10 to 20."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few values."""

    values: tuple[Any, ...]


Range = Between | OneOf
_FIXED = frozenset({"seed", "inner", "threads", "memory_mb"})
"""Chance, the protocol and the machine are not tuned, nor is any limit called `most_…`."""
_AROUND = 6.0
"""A setting without bounds is looked for between a sixth of its default and six times it."""


def space(recipe: str) -> dict[str, Range]:
    """The range of each setting that can be searched.

    Args:
        recipe: Its name.

    Raises:
        ValueError: `SEARCH` names a setting that the recipe does not have, or a range outside its bounds.
    """
    from training import recipes  # recipes name their ranges with this module

    found = recipes.find(recipe)
    own: Mapping[str, Range | None] = getattr(sys.modules[found.fit.__module__], "SEARCH", {})
    known = {field.name for field in fields(found.config)}
    if unknown := sorted(set(own) - known):
        raise ValueError(f'recipe "{recipe}": SEARCH names {unknown[0]!r}, which is no setting; use {sorted(known)}')
    ranges = {name: own[name] if name in own else _guessed(found.config, name) for name in sorted(known)}
    for name, given in ranges.items():
        _inside(recipe, found.config, name, given)
    return {name: given for name, given in ranges.items() if given is not None}


def defaults(recipe: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the searched settings are before any search, drawn into their ranges where they lie outside."""
    from training import recipes

    config = recipes.config_from(recipe, settings)
    return {name: _nearest(getattr(config, name), given) for name, given in space(recipe).items()}


def kind_of(recipe: str, name: str) -> type[Any]:
    """The type of a setting: int or float for a `Between`."""
    from training import recipes

    hint: type[Any] = get_type_hints(recipes.find(recipe).config)[name]
    return hint


def _guessed(config: type[Any], name: str) -> Range | None:
    kind = get_type_hints(config)[name]
    if name in _FIXED or name.startswith("most_"):
        return None
    if get_origin(kind) is Literal:
        return OneOf(get_args(kind))
    if kind is bool:
        return OneOf((False, True))
    return _around(config, name, kind) if kind in (int, float) else None


def _around(config: type[Any], name: str, kind: type[Any]) -> Between | None:
    default = float(getattr(config(), name))
    low, high = _bounds(config, name)
    if low >= 0 and high <= 1:
        return Between(low if low >= 0 and _allows(config, name, low) else 0.05, high)
    if not 0 < default < math.inf:
        return None
    least, most = max(default / _AROUND, low), min(default * _AROUND, high)
    if kind is int:
        least, most = max(1.0, math.ceil(least)), math.floor(most)
    return Between(least, most, log=True) if least < most else None


def _bounds(config: type[Any], name: str) -> tuple[float, float]:
    low, high = -math.inf, math.inf
    for rule in config.__pydantic_fields__[name].metadata:
        low = max(low, getattr(rule, "ge", low), getattr(rule, "gt", low))
        high = min(high, getattr(rule, "le", high), getattr(rule, "lt", high))
    return low, high


def _allows(config: type[Any], name: str, value: Any) -> bool:
    try:
        config(**{name: value})
    except ValueError:
        return False
    return True


def _inside(recipe: str, config: type[Any], name: str, given: Range | None) -> None:
    ends: tuple[Any, ...] = ()
    if isinstance(given, Between):
        kind = get_type_hints(config)[name]
        ends = (kind(given.low), kind(given.high))
    elif given is not None:
        ends = given.values
    for end in ends:
        if not _allows(config, name, end):
            raise ValueError(f'recipe "{recipe}": SEARCH may try {name} = {end!r}, which its own rules refuse')


def _nearest(value: Any, given: Range) -> Any:
    if isinstance(given, OneOf):
        return value if value in given.values else given.values[0]
    return type(value)(min(max(value, given.low), given.high))
