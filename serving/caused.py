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
from features.learned.effects import NEW, Effects
from features.learned.effects_golden import check_effects
from serving.snapshot import Estimate, ResponseEstimate

_NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True, eq=False)
class CausedModel:
    """Learned effects, and where their features stand in a finished row."""

    version: str
    form: Effects
    columns: NDArray[np.intp]

    def told(self, row: NDArray[np.float64]) -> tuple[dict[str, Estimate], dict[str, ResponseEstimate]]:
        """Candidate id → estimate, and type → what a new candidate of it starts from, for a member's finished row."""
        form = self.form
        effect, error, response = (each[0].tolist() for each in form.everything(row[self.columns][None, :]))
        half = [_NORMAL_95 * each for each in error]
        own: dict[str, Estimate] = {}
        groups: dict[str, ResponseEstimate] = {}
        for place, (arm, group) in enumerate(self._names):
            low, high = effect[place] - half[place], effect[place] + half[place]
            if arm != NEW:
                said = None if isnan(response[place]) else response[place]
                own[arm] = Estimate(said, effect[place], low, high, "experiment")
            elif group != NEW and not isnan(response[place]):
                groups[group] = ResponseEstimate(response[place], effect[place], low, high)
        return own, groups

    @property
    def _names(self) -> list[tuple[str, str]]:
        """Of every row but the first, which is doing nothing; that one stands last and is no type."""
        pairs = list(zip(self.form.arms.tolist(), self.form.groups.tolist(), strict=True))
        return [(NEW, NEW), *pairs[1:]]


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
    return CausedModel(version, form, np.array([names.index(name) for name in wanted], np.intp))
