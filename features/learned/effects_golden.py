"""Golden questions of learned effects: made-up rows of features and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.effects import Effects
from features.learned.faults import LearnedError


def of_effects(model: Effects, rows: NDArray[np.float64]) -> dict[str, Any]:
    """Made-up rows, (n, n_features), and effect, error and response of each; NaN is written as null."""
    return {"rows": _written(rows), "told": _written(_answers(model, rows))}


def check_effects(model: Effects, golden: Mapping[str, Any]) -> None:
    """Ask again; raises `LearnedError` where an answer differs."""
    said, wanted = _answers(model, _read(golden["rows"])), _read(golden["told"])
    if said.shape != wanted.shape or not np.allclose(said, wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise LearnedError("the effects do not answer as they did when they were trained; export them again")


def _answers(model: Effects, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate(model.everything(rows), axis=1)


def _written(rows: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


def _read(rows: list[list[float | None]]) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
