"""What each candidate causes for a member: the promoted effects, loaded once, and what they say when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned import LearnedError, load
from features.learned.effects import LATER, NEW, Effects
from features.learned.effects_golden import check_effects
from features.learned.storage import DESCRIPTION
from serving.snapshot import Estimate, LifetimeEstimate, ResponseEstimate

_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class CausedModel:
    """Learned effects, and where their features stand in a finished row."""

    version: str
    form: Effects
    columns: NDArray[np.intp]
    later: Effects | None = None
    """The same for the margin after the reward window, in money; asked for the same features."""

    def told_later(self, row: NDArray[np.float64]) -> tuple[dict[str, LifetimeEstimate], dict[str, LifetimeEstimate]]:
        """Candidate id → change of what comes after its window, and type → what a new candidate of it starts from."""
        if self.later is None:
            return {}, {}
        told = self.later.everything(row[self.columns][None, :])
        value, half = told.effect[0].tolist(), (_NORMAL_95 * told.error[0]).tolist()
        own: dict[str, LifetimeEstimate] = {}
        groups: dict[str, LifetimeEstimate] = {}
        for place, (arm, group) in enumerate(_names(self.later)):
            said = LifetimeEstimate(value[place], value[place] - half[place], value[place] + half[place])
            if arm != NEW:
                own[arm] = said
            elif group != NEW:
                groups[group] = said
        return own, groups

    def told(self, row: NDArray[np.float64]) -> tuple[dict[str, Estimate], dict[str, ResponseEstimate]]:
        """Candidate id → estimate, and type → what a new candidate of it starts from, for a member's finished row."""
        form = self.form
        effect, error, response = (each[0].tolist() for each in form.everything(row[self.columns][None, :]))
        half = [_NORMAL_95 * each for each in error]
        own: dict[str, Estimate] = {}
        groups: dict[str, ResponseEstimate] = {}
        for place, (arm, group) in enumerate(_names(form)):
            low, high = effect[place] - half[place], effect[place] + half[place]
            if arm != NEW:
                said = None if isnan(response[place]) else response[place]
                own[arm] = Estimate(said, effect[place], low, high, "experiment")
            elif group != NEW and not isnan(response[place]):
                groups[group] = ResponseEstimate(response[place], effect[place], low, high)
        return own, groups


def _names(form: Effects) -> list[tuple[str, str]]:
    """Arm and group of every row; doing nothing, which comes first, is neither."""
    return [(NEW, NEW), *list(zip(form.arms.tolist(), form.groups.tolist(), strict=True))[1:]]


def load_caused(version: str, folder: Path, names: tuple[str, ...], description: Mapping[str, Any]) -> CausedModel:
    """Read a bundle; raises `LearnedError` where it is damaged, asks for what is not served, or answers otherwise."""
    form = load(folder)
    if not isinstance(form, Effects):
        raise LearnedError(f"{folder.name}: holds no effects; train again")
    wanted = form.feature_names.tolist()
    if unknown := [name for name in wanted if name not in names]:
        raise LearnedError(f"it was trained on features that are not served: {', '.join(unknown[:5])}; train it again")
    if description.get("golden"):
        check_effects(form, description["golden"])
    later = _later(folder, form)
    return CausedModel(version, form, np.array([names.index(name) for name in wanted], np.intp), later)


def _later(folder: Path, form: Effects) -> Effects | None:
    if not (folder / f"{LATER}{DESCRIPTION}").exists():
        return None
    found = load(folder, LATER)
    if not isinstance(found, Effects) or found.feature_names.tolist() != form.feature_names.tolist():
        raise LearnedError(f"{folder.name}: what changes after the window asks for other features; train again")
    return found
