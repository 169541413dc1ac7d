"""How effects are learned: every setting, with its default."""

from __future__ import annotations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EffectConfig:
    """Settings of the learner. Only `proportional` was chosen with true effects, of worlds and seeds not reported."""

    enough: int = Field(default=400, ge=10)
    """Decisions drawn by lot for doing nothing, and as many for all candidates together, below which the prior says
    more."""
    most: int = Field(default=60_000, ge=1000)
    """Decisions learned from at most; whole members are left out by lot."""
    judged_share: float = Field(default=0.3, gt=0, lt=1)
    """The youngest decisions, held back to say what effects learned before them are worth."""
    folds: int = Field(default=5, ge=2)
    """Parts of the members; what a part is judged by was learned from the others."""
    least_probability: float = Field(default=0.005, ge=0, lt=1)
    """A candidate less likely than this for a member could not really have happened; such rows say nothing of it."""
    trees: int = Field(default=120, ge=1)
    """Of the model of the outcome itself."""
    leaves: int = Field(default=12, ge=2, le=64)
    min_leaf: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    ridges: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    """Strengths to choose from, as multiples of a feature's own weight in the data."""
    rounds: tuple[int, ...] = (15, 30, 60, 120)
    """Numbers of shallow trees to choose from."""
    shallow_leaves: tuple[int, ...] = (3, 6)
    shallow_min_share: float = Field(default=0.02, gt=0, lt=1)
    """Share of all rows that a leaf of a shallow tree holds at least."""
    evidence: float = Field(default=1.64, ge=0)
    """Differences between members are kept to `t² ÷ (t² + evidence²)`, t being their slope on members left out over its
    error; what differs for one arm alone is kept only where t is above it."""
    proportional: float = Field(default=0.33, ge=0, le=1)
    """Part of the differences between members that is taken to be in proportion to their chance of an answer, however
    much of them is borne out; where no answers are known it does not count."""
    seed: int = 7
    threads: int = Field(default=1, ge=1)
