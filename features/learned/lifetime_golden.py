"""Golden questions of a lifetime-value model: made-up rows of features and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError
from features.learned.lifetime import Lifetime


def of_lifetime(model: Lifetime, rows: NDArray[np.float64]) -> dict[str, Any]:
    """Made-up rows of features, (n, n_features), and value, low and high of each; NaN is written as null."""
    return {"rows": _written(rows), "worth": _written(_answers(model, rows))}


def check_lifetime(model: Lifetime, golden: Mapping[str, Any]) -> None:
    """Ask again; raises `LearnedError` where an answer differs."""
    said = _answers(model, _read(golden["rows"]))
    wanted = _read(golden["worth"])
    if said.shape != wanted.shape or not np.allclose(said, wanted, rtol=1e-9, atol=1e-9, equal_nan=True):
        raise LearnedError("the lifetime model does not answer as it did when it was trained; export it again")


def _answers(model: Lifetime, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found = model.worth(rows)
    return np.concatenate([found.value, found.low, found.high], axis=1)


def _written(rows: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


def _read(rows: list[list[float | None]]) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], np.float64)
