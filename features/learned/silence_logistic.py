"""The linear half of the churn model: log-odds of silence from logarithms of features and a member's own rhythm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import finite, shaped
from features.learned.rhythm import TERMS, Rhythm

Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Logistic:
    """log-odds of silence: `constant`·(1, u, u²) + Σ terms·(`weight` + u·`turn`), u = ln(days ÷ horizon)."""

    logs: NDArray[np.str_]
    """(n_logs,): features taken as ln(1 + value), where below 0 or missing as 0; the terms of the rhythm follow."""
    constant: Rows
    """(3,)"""
    weight: Rows
    """(n_logs + 7,): at the horizon."""
    turn: Rows
    """(n_logs + 7,): how the weight moves with u."""
    mean: Rows
    """(n_logs + 7,): of each term at the horizon, over the members learned from."""
    rhythm: Rows
    """(4,): r, α in days, a, b."""

    def __post_init__(self) -> None:
        width = len(self.logs) + len(TERMS)
        for name, size in (("constant", 3), ("weight", width), ("turn", width), ("mean", width), ("rhythm", 4)):
            shaped("churn", name, getattr(self, name), (size,))
            finite("churn", name, getattr(self, name))
        self.rhythms  # noqa: B018 - checks the parameters once, at load

    @cached_property
    def rhythms(self) -> Rhythm:
        """The parameters by name."""
        return Rhythm(*self.rhythm.tolist())

    def raw(self, terms: Rows, u: float | Rows) -> Rows:
        """Log-odds of silence, (n,), from terms (n, n_terms) and u, one for all or (n,)."""
        constant = self.constant
        out: Rows = terms @ self.weight + u * (terms @ self.turn) + (constant[0] + u * (constant[1] + u * constant[2]))
        return out
