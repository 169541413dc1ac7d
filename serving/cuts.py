"""What has been seen of a convex function, and the lowest point that what was seen leaves open.

The dual of an allocation is a convex function of a handful of prices. Each look at it gives its value and its slope at
one point: a plane below it everywhere. The lowest point of all planes inside a box is where to look next, and bounds
the function from below (Kelley 1960; the box: Marsten, Hogan & Blankenship 1975).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Box:
    """Prices between `low` and `high`, each (n_budgets,)."""

    low: Floats
    high: Floats

    def grown(self, at: Floats, factor: float) -> Box:
        """The box around another point, with sides `factor` times as long; never below zero."""
        half = (self.high - self.low) * factor / 2
        return Box(np.maximum(at - half, 0.0), at + half)

    def presses(self, at: Floats) -> bool:
        """Whether a point lies on a side of the box other than zero."""
        near = 1e-9 * (self.high - self.low)
        return bool(((at >= self.high - near) | ((at <= self.low + near) & (self.low > 0))).any())


@dataclass(slots=True)
class Cuts:
    """Looks at `h(λ) = Σ max(V − λk, 0)`: where, how much, and what was used there (the slope is its negative)."""

    scale: Floats
    """(n_budgets,): what a price is measured in, so that numbers stay near one."""
    worth: float
    """What values are measured in."""
    at: list[Floats] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    use: list[Floats] = field(default_factory=list)

    def add(self, at: Floats, total: float, use: Floats) -> None:
        """Remember a look."""
        self.at.append(at)
        self.total.append(total)
        self.use.append(use)

    def lowest(self, amounts: Floats, box: Box) -> tuple[Floats, float, Floats]:
        """The lowest point of `λ·amounts + h(λ)` as far as the planes know.

        Returns:
            The point inside the box; the value of the planes there, below which the function nowhere in the box lies;
            the weight of each plane that holds it there. The weights sum to one: mixed so, what the looks chose is an
            allocation inside all budgets whose price does not press against the box.
        """
        from scipy.optimize import linprog  # only who solves pays for the import

        use, at = np.array(self.use), np.array(self.at)
        known = np.array(self.total) + (use * at).sum(axis=1)
        planes = np.column_stack([-use * self.scale / self.worth, -np.ones(len(use))])
        found = linprog(
            np.append(amounts * self.scale / self.worth, 1.0),
            planes,
            -known / self.worth,
            bounds=[*zip(box.low / self.scale, box.high / self.scale, strict=True), (None, None)],
            method="highs-ds",
            options={"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9},
        )
        if found.x is None:
            raise ArithmeticError(f"prices: the planes have no lowest point ({found.message})")
        point = np.clip(found.x[:-1] * self.scale, box.low, box.high)
        weights = np.maximum(-found.ineqlin.marginals, 0.0)
        return point, float(found.fun) * self.worth, weights / weights.sum()
