"""The products of a catalogue of vectors in the order of what they can score at most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FIRST, WIDEST = 1024, 4096
"""Products in the first part; every further part is twice as wide as the one before, up to the widest."""
SLICE = 512
"""Parts are multiples of this: so many products are scored for a block of members in one go."""
_GRID = 65


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """The products that may be named, in parts: those that can score most come first."""

    place: NDArray[np.int32]
    """(m,): where each stands in the form's `product_ids`."""
    seat: NDArray[np.int32]
    """(n_products,): from the place to the position here; −1 where a product may not be named."""
    vectors: NDArray[np.float32]
    """(m rounded up to whole slices, k): zeros at the end; a bias is one more number of each vector."""
    biased: bool
    edges: tuple[int, ...]
    """Where the parts begin, and the end."""
    longest: float
    """The length of the longest vector."""
    grid: NDArray[np.float64]
    """(_GRID,): lengths of members' vectors, from 0 up."""
    most: NDArray[np.float64]
    """(parts, _GRID): what a member's vector of each length scores at most from this part on."""

    def reach(self, part: int, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,): no product from this part on scores more for members' vectors of these lengths.

        By Cauchy and Schwarz a product scores at most length times length plus bias. The highest of these lines is a
        convex function of the member's length, so it lies below the chords between the points of the grid.
        """
        reach: NDArray[np.float64] = np.interp(lengths, self.grid, self.most[part])
        return reach


def shelve(
    vectors: NDArray[np.float32],
    biases: NDArray[np.float32],
    lengths: NDArray[np.float64],
    allowed: NDArray[np.bool_] | None = None,
    first: int = FIRST,
) -> Shelf:
    """Put products in order.

    Args:
        vectors: (n_products, k)
        biases: (n_products,)
        lengths: (n_members,): of the members' vectors. The order suits them; none may be longer than the longest.
        allowed: (n_products,): what may be named; None allows all.
        first: Products in the first part, a multiple of `SLICE`.
    """
    place = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    long = np.linalg.norm(vectors[place].astype(np.float64), axis=1)
    bias = biases[place].astype(np.float64)
    order = np.argsort(-(long * (np.median(lengths) if lengths.size else 1.0) + bias), kind="stable")
    place, long, bias = place[order], long[order], bias[order]
    edges = _edges(len(place), first)
    grid = np.linspace(0.0, float(lengths.max(initial=0.0)), _GRID)
    spans = [slice(begin, end) for begin, end in pairwise(edges)]
    own = np.array([(long[span, None] * grid + bias[span, None]).max(axis=0) for span in spans]).reshape(-1, _GRID)
    most = np.maximum.accumulate(own[::-1])[::-1]
    biased = bool(bias.any())
    seat = np.full(len(vectors), -1, np.int32)
    seat[place] = np.arange(len(place), dtype=np.int32)
    return Shelf(
        place=place.astype(np.int32),
        seat=seat,
        vectors=_filled(vectors[place], biases[place] if biased else None),
        biased=biased,
        edges=edges,
        longest=float(np.hypot(long, bias).max(initial=0.0)),
        grid=grid,
        most=most + 1e-9 * np.abs(most),
    )


def _edges(count: int, first: int) -> tuple[int, ...]:
    found, width = [0], first
    while found[-1] < count:
        found.append(min(found[-1] + width, count))
        width = min(2 * width, max(WIDEST, first))
    return tuple(found)


def _filled(vectors: NDArray[np.float32], biases: NDArray[np.float32] | None) -> NDArray[np.float32]:
    columns = vectors if biases is None else np.concatenate([vectors, biases[:, None]], axis=1)
    filled = np.zeros((-(-len(columns) // SLICE) * SLICE, columns.shape[1]), np.float32)
    filled[: len(columns)] = columns
    return filled
