"""What is said when learned arrays are not what they claim to be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class LearnedError(ValueError):
    """Learned arrays are missing, damaged or contradict each other; the text says which and what to do."""


def shaped(form: str, name: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    """Refuse an array whose shape differs from `shape`; None stands for any length."""
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise LearnedError(f"{form}: {name} has shape {array.shape}, not {shape}; export the model again")


def finite(form: str, name: str, array: NDArray[Any]) -> None:
    """Refuse an array with a NaN or an infinity in it."""
    if not np.isfinite(array).all():
        raise LearnedError(f"{form}: {name} has values that are not finite; train the model again")


def within(form: str, name: str, array: NDArray[Any], size: int) -> None:
    """Refuse an array of positions with one outside `0 … size − 1`."""
    if array.size and (array.min() < 0 or array.max() >= size):
        raise LearnedError(f"{form}: {name} points outside 0…{size - 1}; export the model again")
