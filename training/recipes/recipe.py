"""What a recipe is: a name, a configuration and a way from interactions to a scoring form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned import ProductForm
from training.interactions import Interactions


class RecipeError(ValueError):
    """A recipe is unknown, wrongly configured or has nothing to learn from; the text says which and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a recipe leaves: the form that is exported, and the members' vectors that go to the online store."""

    form: ProductForm
    member_vectors: NDArray[np.float32] | None = None
    """(n_members, k) in the order of `member_ids`, NaN in the rows of members it knows nothing of; or None."""

    def vector(self, row: int) -> NDArray[np.float32] | None:
        """The stored vector of the member in this row, or None."""
        if self.member_vectors is None or np.isnan(self.member_vectors[row, 0]):
            return None
        vector: NDArray[np.float32] = self.member_vectors[row]
        return vector


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to learn. `fit(interactions, config)` takes an instance of `config`."""

    name: str
    config: type[Any]
    fit: Callable[[Interactions, Any], Fitted]
