"""Arrays and chance: every draw comes from a stream named by seed, purpose and block of members."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

BLOCK = 1000
"""Members that live together: the unit of every stream, whatever the chunks a caller asks for."""

ASSORTMENT, PEOPLE, HABITS, PROFILES, LIFE, PAPERS = range(6)
"""Purposes of streams."""


def stream(seed: int, purpose: int, block: int = 0) -> np.random.Generator:
    """The generator of one purpose and block; independent of every other."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence((seed, purpose, block))))


def stacked(weights: Floats) -> Floats:
    """Rows of chances (n, k), each summing to one, as one rising array for `draw`."""
    cumulative: Floats = np.cumsum(weights, axis=1)
    cumulative[:, -1] = 1.0
    cumulative += np.arange(len(weights))[:, None]
    return cumulative.ravel()


def draw(cumulative: Floats, width: int, rows: Whole, uniform: Floats) -> Whole:
    """One column (0 … width − 1) for each of `rows`, by inversion of what `stacked` made."""
    column: Whole = np.searchsorted(cumulative, rows + uniform, side="right") - rows * width
    return np.minimum(column, width - 1)


class Log:
    """Rows written by name while time passes, read as whole columns afterwards."""

    def __init__(self) -> None:
        self._parts: dict[str, list[dict[str, npt.NDArray[np.generic]]]] = {}

    def add(self, name: str, **columns: npt.NDArray[np.generic]) -> None:
        """Append rows; every call for one name brings the same columns, of one length and type."""
        if len(next(iter(columns.values()))):
            self._parts.setdefault(name, []).append(columns)

    def columns(self, name: str, *names: str) -> list[npt.NDArray[np.float64]]:
        """The named columns in the order written; empty arrays if nothing was."""
        parts = self._parts.get(name, [])
        return [np.concatenate([part[n] for part in parts]).astype(np.float64) if parts else np.empty(0) for n in names]

    def wholes(self, name: str, *names: str) -> list[Whole]:
        """The same for columns of whole numbers."""
        return [column.astype(np.int64) for column in self.columns(name, *names)]


def uniform(seed: int, purpose: int, *keys: Whole) -> Floats:
    """A chance in [0, 1) for each row that hangs on its keys alone, not on order or company (SplitMix64)."""
    state = np.full(len(keys[0]), seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    for key in (np.full(len(keys[0]), purpose), *keys):
        state = _mixed(state ^ key.astype(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return mixed
