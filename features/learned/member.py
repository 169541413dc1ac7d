"""What a recommender may know of one member when it scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
"""One number for each product, in the order of `product_ids`; comparable inside one answer only."""


@dataclass(frozen=True, slots=True)
class MemberHistory:
    """What the member has bought, as positions in a form's `product_ids`, and the member's own vector if one is stored.

    All three arrays have one entry for each product bought; products the form does not know are left out.
    """

    product_index: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    count: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """How many times (baskets) the product was bought, returns taken off; above 0."""
    last_at: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    """When it was last bought, epoch seconds."""
    vector: NDArray[np.float32] | None = None
    """The stored vector, of the same model version as the form."""
    vector_at: float | None = None
    """Up to when the vector knows the member's purchases, epoch seconds; None trusts it whatever came since."""
    region: str = ""
    """Where the member belongs to; empty where nobody knows."""

    def outlived(self) -> bool:
        """Whether something was bought after the stored vector was made."""
        return self.vector_at is not None and self.last_at.size > 0 and bool(self.last_at.max() > self.vector_at)


def positions(product_ids: NDArray[np.str_]) -> dict[str, int]:
    """Product id → position in a form's arrays; made once for each loaded form."""
    return {product_id: index for index, product_id in enumerate(product_ids.tolist())}


def history(
    known: Mapping[str, int],
    product_ids: Sequence[str],
    counts: Sequence[float],
    last_at: Sequence[float],
    vector: NDArray[np.float32] | None = None,
    vector_at: float | None = None,
    region: str = "",
) -> MemberHistory:
    """A member's purchases by product id, as positions; unknown ids and counts of 0 or less are left out."""
    rows = [
        (known[product_id], count, last)
        for product_id, count, last in zip(product_ids, counts, last_at, strict=True)
        if product_id in known and count > 0
    ]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return MemberHistory(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.float32),
        np.array(columns[2], np.float64),
        vector,
        vector_at,
        region,
    )
