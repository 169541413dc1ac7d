"""The data scientist's file, `training.yaml`: every setting of every model, checked, with unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from training.churn import ChurnConfig
from training.effects.config import EffectConfig
from training.effects.harm import HarmConfig
from training.fatigue import FatigueConfig
from training.lifetime import LifetimeConfig
from training.recipes import Limits, RecipeError, config_from
from training.response import ResponseConfig

_CLOSED = ConfigDict(extra="forbid")


class SettingsError(ValueError):
    """`training.yaml` cannot be used; the text names the key, its value, the rule and the way out, one line each."""


@checked(frozen=True, config=_CLOSED)
class TasteConfig:
    """What members may like to buy next: recipes that compete."""

    recipes: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"popularity": {}, "repeat": {}, "als": {}}
    )
    """Recipe → its own settings; what is not given keeps the recipe's default."""
    slow: tuple[str, ...] = ("blend", "lightfm_hybrid")
    """Recipes that a quick contest leaves out."""
    slice_days: int = Field(default=28, ge=1)
    """The end of the history that recipes are judged on and do not learn from."""
    k: int = Field(default=10, ge=1)
    """How many products a list has when it is judged."""
    limits: Limits = field(default_factory=Limits)
    """What one fit may take; a recipe that would take more is skipped and says why."""

    def quick(self) -> tuple[TasteConfig, tuple[str, ...]]:
        """The contest without its slow recipes, and which those were; itself if only such are in it."""
        fast = {name: given for name, given in self.recipes.items() if name not in self.slow}
        return (
            (replace(self, recipes=fast), tuple(name for name in self.recipes if name not in fast))
            if fast
            else (self, ())
        )


@checked(frozen=True, config=_CLOSED)
class GateConfig:
    """When a challenger may not become champion."""

    inferior_share: float = Field(default=0.01, ge=0)
    """Share of the champion's primary metric by which a challenger may at worst be below it: the 95 % interval of the
    paired difference must not reach further down."""
    coverage_share: float = Field(default=0.5, ge=0, le=1)
    """A recommender's lists must hold at least this share of the products that the champion's hold."""
    calibration_margin: float = Field(default=0.02, ge=0)
    """By how much chances may be further off than the champion's on average."""
    latency_ms: float = Field(default=5.0, gt=0)
    """Milliseconds that one member's list may take on the machine that judges."""
    decile_margin: float = Field(default=0.02, ge=0)
    """By how much of all money the deciles of a lifetime-value model may be further off than the champion's."""
    brier_margin: float = Field(default=0.01, ge=0)
    """Brier skill by which a challenger may be below the champion: better ranking does not buy worse probabilities."""
    resamples: int = Field(default=1000, ge=1)
    """Resamples of members behind every interval."""


@checked(frozen=True, config=_CLOSED)
class TrainingConfig:
    """The whole file. A missing section takes its defaults."""

    seed: int = 0
    taste: TasteConfig = field(default_factory=TasteConfig)
    churn: ChurnConfig = field(default_factory=ChurnConfig)
    lifetime: LifetimeConfig = field(default_factory=LifetimeConfig)
    response: ResponseConfig = field(default_factory=ResponseConfig)
    effects: EffectConfig = field(default_factory=EffectConfig)
    harm: HarmConfig = field(default_factory=HarmConfig)
    fatigue: FatigueConfig = field(default_factory=FatigueConfig)
    gate: GateConfig = field(default_factory=GateConfig)


def read(path: Path) -> TrainingConfig:
    """The settings in this file.

    Raises:
        SettingsError: the file is missing, no YAML, or breaks a rule; every mistake is named.
    """
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise SettingsError(f"{path}: there is no such file; copy configs/training.yaml there") from missing
    except (yaml.YAMLError, UnicodeDecodeError) as unreadable:
        raise SettingsError(f"{path.name}: no YAML: {unreadable}") from unreadable
    return parse({} if written is None else written, path.name)


def parse(written: object, name: str = "training.yaml") -> TrainingConfig:
    """The settings in what was written; raises `SettingsError` as `read` does."""
    try:
        config = TypeAdapter(TrainingConfig).validate_python(written)
    except ValidationError as broken:
        raise SettingsError("\n".join(f"{name}: {_said(error)}" for error in broken.errors())) from broken
    for recipe, settings in (*config.taste.recipes.items(), *((name, {}) for name in config.taste.slow)):
        try:
            config_from(recipe, settings)
        except RecipeError as broken:
            raise SettingsError(f"{name}: taste.recipes: {broken}") from broken
    return config


def as_json(section: Any) -> dict[str, Any]:
    """A section as plain values, as it is kept with a version."""
    plain: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(asdict(section), mode="json")
    return plain


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "unexpected_keyword_argument":
        return f"{where} is no setting; take it out or correct its name"
    return f"{where} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
