"""The purchases of many members at once, for scoring them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.member import MemberHistory, Scores


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Member `i` bought what stands at `starts[i]:starts[i + 1]`; otherwise as in `MemberHistory`."""

    n_products: int
    starts: NDArray[np.int64]
    """(n_members + 1,)"""
    product_index: NDArray[np.int32]
    """(n_pairs,): positions in the form's `product_ids`."""
    count: NDArray[np.float32]
    """(n_pairs,)"""
    last_at: NDArray[np.float64]
    """(n_pairs,): epoch seconds."""
    vectors: NDArray[np.float32] | None = None
    """(n_members, k): stored vectors, NaN in the rows of members without one; None where nobody has one."""
    regions: NDArray[np.str_] | None = None
    """(n_members,): empty where nobody knows; None where nobody has one."""

    def __len__(self) -> int:
        """How many members."""
        return len(self.starts) - 1

    def member(self, row: int) -> MemberHistory:
        """What a form is asked with for the member in this row."""
        span = slice(int(self.starts[row]), int(self.starts[row + 1]))
        vector = None if self.vectors is None or np.isnan(self.vectors[row, 0]) else self.vectors[row]
        region = "" if self.regions is None else str(self.regions[row])
        return MemberHistory(self.product_index[span], self.count[span], self.last_at[span], vector, region=region)

    def part(self, begin: int, end: int) -> Histories:
        """The members in the rows `begin` to `end`, as views."""
        starts = self.starts[begin : end + 1]
        span = slice(int(starts[0]), int(starts[-1])) if len(starts) else slice(0, 0)
        vectors = None if self.vectors is None else self.vectors[begin:end]
        return Histories(
            self.n_products,
            starts - starts[0],
            self.product_index[span],
            self.count[span],
            self.last_at[span],
            vectors,
            None if self.regions is None else self.regions[begin:end],
        )

    @property
    def row(self) -> NDArray[np.int64]:
        """(n_pairs,): the row of each pair's member."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


def score_many(form: Any, histories: Histories, at: float) -> Scores:
    """Scores of all products for all members, (n_members, n_products): `score` of each, together where the form can.

    A form that can has `score_many(histories, at)`; its answer equals that of `score` but for rounding. Memory is
    n_members × n_products numbers: ask in parts.
    """
    together = getattr(form, "score_many", None)
    if together is not None:
        found: Scores = together(histories, at)
        return found
    if not len(histories):
        return np.empty((0, histories.n_products))
    return np.stack([form.score(histories.member(row), at) for row in range(len(histories))])
