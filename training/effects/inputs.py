"""What effects are learned from: units that were drawn by lot, with the chance of everything they could have been."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One row for each unit. Arm 0 is doing nothing."""

    features: Floats
    """(n, f), as known before the decision; NaN where missing."""
    arm: Whole
    """(n,): what it got, 0 … k−1."""
    chances: Floats
    """(n, k): logged probability of each; 0 where it could not have been, or where that is not known."""
    outcome: Floats
    """(n,)"""
    member: Whole
    """(n,): whose rows hang together."""
    groups: tuple[str, ...]
    """(k,): the type of each arm."""

    def rows(self, keep: NDArray[np.bool_] | Whole) -> Drawn:
        """Some of the rows."""
        return Drawn(
            self.features[keep], self.arm[keep], self.chances[keep], self.outcome[keep], self.member[keep], self.groups
        )

    def with_outcome(self, outcome: Floats) -> Drawn:
        """The same units with something else that happened."""
        return Drawn(self.features, self.arm, self.chances, outcome, self.member, self.groups)


def drawn(
    features: Floats,
    arm: Whole,
    chances: Floats,
    outcome: Floats,
    groups: tuple[str, ...] | None = None,
    member: Whole | None = None,
) -> Drawn:
    """Check and put together.

    Args:
        features: (n, f), NaN where missing.
        arm: (n,), 0 is doing nothing.
        chances: (n, k); NaN is taken for 0.
        outcome: (n,).
        groups: (k,), the type of each arm; None puts each arm into a group of its own.
        member: (n,), rows of one member hang together; None takes every row for another member.

    Raises:
        ValueError: shapes do not fit, an outcome is not finite, or something happened that had no chance.
    """
    n, k = len(arm), chances.shape[1] if chances.ndim == 2 else 0
    whole = np.asarray(arm, np.int64)
    if features.ndim != 2 or not (len(features) == n == len(chances) == len(outcome)) or k < 2:
        raise ValueError(
            f"effects: {features.shape} features, {n} arms, {chances.shape} chances and {len(outcome)} outcomes do "
            "not fit; give one row for each unit and at least two arms, the first of them doing nothing"
        )
    if not np.isfinite(outcome).all():
        raise ValueError("effects: an outcome is not finite; leave out units whose outcome is not known")
    if n and (whole.min() < 0 or whole.max() >= k):
        raise ValueError(f"effects: an arm lies outside 0…{k - 1}")
    given = np.nan_to_num(np.asarray(chances, np.float64), nan=0.0)
    if n and (given[np.arange(n), whole] <= 0).any():
        raise ValueError("effects: something happened that had no chance; log the chance of what was drawn")
    if groups is not None and len(groups) != k:
        raise ValueError(f"effects: {len(groups)} groups for {k} arms; name the group of each arm, that of nothing too")
    return Drawn(
        np.asarray(features, np.float64),
        whole,
        given,
        np.asarray(outcome, np.float64),
        np.arange(n) if member is None else np.unique(member, return_inverse=True)[1].astype(np.int64),
        groups or tuple(str(each) for each in range(k)),
    )


def parts(member: Whole, folds: int, seed: int) -> Whole:
    """(n,): the part of each row, 0 … folds − 1; all rows of a member are in the same."""
    count = int(member.max(initial=-1)) + 1
    order = np.random.default_rng(seed).permutation(count)
    return (order % folds)[member]
