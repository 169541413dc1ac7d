"""Ranges that a search may draw from: every recipe has some, and its own rules allow all that can be drawn."""

from __future__ import annotations

import math
import sys
from typing import Any, Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from training import recipes
from training.recipes import RECIPES, Recipe, config_from
from training.search import Between, OneOf, defaults, kind_of, space


def _ends(recipe: str) -> list[dict[str, Any]]:
    """Settings at the lower and at the upper end of every range, and every choice."""
    found: list[dict[str, Any]] = []
    for name, given in space(recipe).items():
        if isinstance(given, OneOf):
            found += [{name: value} for value in given.values]
        else:
            found += [{name: kind_of(recipe, name)(end)} for end in (given.low, given.high)]
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_searched_inside_its_own_rules(recipe: str) -> None:
    assert space(recipe)
    for settings in _ends(recipe):
        config_from(recipe, settings)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_search_begins_with_the_present_settings(recipe: str) -> None:
    config, ranges = config_from(recipe), space(recipe)
    for name, value in defaults(recipe, {}).items():
        given = ranges[name]
        assert value == getattr(config, name)
        if isinstance(given, Between):
            assert given.low <= value <= given.high
            assert given.low < given.high


@pytest.mark.parametrize("recipe", RECIPES)
def test_neither_chance_nor_the_machine_nor_the_protocol_is_searched(recipe: str) -> None:
    assert not {name for name in space(recipe) if name in {"seed", "threads", "inner"} or name.startswith("most_")}


@dataclass(frozen=True)
class Plain:
    size: int = Field(default=12, ge=4, le=40)
    share: float = Field(default=0.3, ge=0, le=1)
    strength: float = Field(default=2.0, gt=0)
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    endless: float = math.inf
    nothing: float = Field(default=0.0, ge=0)
    name: str = "x"
    seed: int = 0


def _listed(monkeypatch: pytest.MonkeyPatch, own: dict[str, Any]) -> None:
    monkeypatch.setitem(recipes.RECIPES, "plain", Recipe("plain", Plain, _fit))
    monkeypatch.setattr(sys.modules[__name__], "SEARCH", own, raising=False)


def _fit(_interactions: Any, _config: Any) -> Any:
    raise AssertionError


def test_ranges_follow_from_type_default_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    _listed(monkeypatch, {})
    assert space("plain") == {
        "size": Between(4, 40, log=True),  # 2 to 72 around 12, inside its bounds
        "share": Between(0, 1),
        "strength": Between(2 / 6, 12, log=True),
        "kind": OneOf(("a", "b")),
        "flag": OneOf((False, True)),
    }


def test_a_recipe_knows_better_and_may_leave_a_setting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _listed(monkeypatch, {"nothing": Between(0, 3), "kind": None, "size": Between(8, 16)})
    found = space("plain")
    assert (found["nothing"], found["size"]) == (Between(0, 3), Between(8, 16))
    assert "kind" not in found
    assert defaults("plain", {"size": 40})["size"] == 16


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"sise": Between(1, 2)}, "SEARCH names 'sise'"),
        ({"size": Between(1, 20)}, "may try size = 1, which its own rules"),
    ],
)
def test_a_range_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], said: str) -> None:
    _listed(monkeypatch, own)
    with pytest.raises(ValueError, match=said):
        space("plain")
