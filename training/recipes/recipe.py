"""What a recipe is: a name, a configuration and a way from interactions to a scoring form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

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
    note: str = ""
    """Where the fit had to do otherwise than its settings say, and why; empty where it had not."""

    def vector(self, row: int) -> NDArray[np.float32] | None:
        """The stored vector of the member in this row, or None."""
        if self.member_vectors is None or np.isnan(self.member_vectors[row, 0]):
            return None
        vector: NDArray[np.float32] = self.member_vectors[row]
        return vector


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit takes on one core of a usual server, right within a factor of about two."""

    seconds: float
    megabytes: float
    """Beyond the interactions and the program itself."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Limits:
    """What one fit may take before the recipe is skipped."""

    minutes: float = Field(default=15.0, gt=0)
    memory_gb: float = Field(default=12.0, gt=0)
    """Beyond the interactions and the program, which leaves room for both in 16 GB."""


LIMITS = Limits()


def grows_with_purchases(interactions: Interactions, config: Any) -> Cost:  # noqa: ARG001 - as every cost is asked
    """The cost of a recipe that looks at each purchase a few times and at nothing else."""
    return Cost(1e-3 + len(interactions.buys) * 1e-6, 1.0 + len(interactions.buys) * 5e-4)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to learn. `fit(interactions, config)` takes an instance of `config`."""

    name: str
    config: type[Any]
    fit: Callable[[Interactions, Any], Fitted]
    cost: Callable[[Interactions, Any], Cost] | None = None
    """`cost(interactions, config)`: what `fit` will take; None where nobody has measured it."""

    def estimate(self, interactions: Interactions, config: Any) -> Cost | None:
        """What a fit would take; None where nobody has measured it."""
        return None if self.cost is None else self.cost(interactions, config)

    def too_large(self, interactions: Interactions, config: Any, limits: Limits = LIMITS) -> str | None:
        """Why this history is too much for the recipe; None where it is not, or where nobody can say."""
        cost = self.estimate(interactions, config)
        if cost is None:
            return None
        over = []
        if cost.seconds > limits.minutes * 60:
            over.append(f"about {cost.seconds / 60:,.0f} min where {limits.minutes:g} are allowed")
        if cost.megabytes > limits.memory_gb * 1024:
            over.append(f"about {cost.megabytes / 1024:,.0f} GB where {limits.memory_gb:g} are allowed")
        if not over:
            return None
        members, products = interactions.counts.shape
        return (
            f"{self.name} would take {' and '.join(over)} for {members:,} members, {products:,} products and "
            f"{interactions.counts.nnz:,} pairs; give it smaller settings or allow more in taste.limits"
        )
