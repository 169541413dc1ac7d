"""The form of the blend: several base models name candidates, trees rank them.

Everything is worked out from the member's purchases, so a member's vector need not be stored and a purchase counts at
once. Ten thousand products take about as long as their base models and a hundred rows of trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.learned import candidates
from features.learned.candidates import Candidates
from features.learned.faults import LearnedError
from features.learned.histories import Histories, score_many
from features.learned.member import MemberHistory, Scores
from features.learned.traits import Kindred, Traits
from features.learned.trees import Trees

_AT_ONCE = 4_000_000
"""About as many scores of each base model are held at a time."""
_TIE = 1e-6
"""Weight of the mean of the bases beside the trees: it only orders what they find equal."""


class Part(Protocol):
    """A base model: any form that scores products."""

    @property
    def product_ids(self) -> NDArray[np.str_]:
        """(n_products,), the same for all parts."""

    def score(self, member: MemberHistory, at: float) -> Scores:
        """One number for each product."""


@dataclass(frozen=True, eq=False)
class Blend:
    """Base models, what is known of the products, and the trees that rank candidates.

    Candidates score between 1 and 3, all other products between 0 and 1, in the order of the first part. So do all
    products for a member who has bought nothing.
    """

    product_ids: NDArray[np.str_]
    """(n_products,)"""
    part_names: NDArray[np.str_]
    """(n_parts,)"""
    parts: tuple[Part, ...]
    """(n_parts,): the first orders what is no candidate."""
    traits: Traits
    trees: Trees
    """Asked with those of `candidates.names(part_names)` that it learned."""
    depth: float
    """So many products are candidates of each part, among those bought and among the new ones each."""

    def __post_init__(self) -> None:
        n = len(self.product_ids)
        if not len(self.parts) or len(self.part_names) != len(self.parts):
            raise LearnedError(f"blend: {len(self.parts)} parts with {len(self.part_names)} names; train it again")
        if {len(part.product_ids) for part in self.parts} | {len(self.traits.kind)} != {n}:
            raise LearnedError(f"blend: a part or the traits have not {n} products; train the model again")
        if unknown := set(self.trees.feature_names.tolist()) - set(self._names):
            raise LearnedError(f"blend: the trees ask for {sorted(unknown)[0]!r}, which is unknown; train it again")
        if self.depth < 1:
            raise LearnedError(f"blend: depth is {self.depth}, not 1 or above; train the model again")

    @property
    def _names(self) -> tuple[str, ...]:
        return candidates.names(self.part_names.tolist())

    @cached_property
    def _columns(self) -> NDArray[np.intp]:
        """Where the features of the trees stand in a row."""
        known = {name: column for column, name in enumerate(self._names)}
        return np.array([known[name] for name in self.trees.feature_names.tolist()], np.intp)

    @cached_property
    def _kindred(self) -> Kindred:
        return Kindred.of(self.traits)

    def score(self, member: MemberHistory, at: float) -> Scores:
        """Candidates in the order of the trees, then all others, (n_products,)."""
        starts = np.array([0, member.product_index.size], np.int64)
        one = Histories(len(self.product_ids), starts, member.product_index, member.count, member.last_at)
        bases = self._kindred.placed([part.score(member, at)[None, :] for part in self.parts], one)
        found: Scores = self._scored(bases, one, at)[0]
        return found

    def score_many(self, histories: Histories, at: float) -> Scores:
        """The same for many members, (n_members, n_products)."""
        out = np.empty((len(histories), len(self.product_ids)))
        step = max(1, _AT_ONCE // max(len(self.product_ids), 1))
        for begin in range(0, len(histories), step):
            part = histories.part(begin, min(begin + step, len(histories)))
            out[begin : begin + step] = self._scored(self.bases(part, at), part, at)
        return out

    def bases(self, histories: Histories, at: float) -> list[Scores]:
        """Scores by each part, (n_members, n_products) each, with a place for products that nobody has bought."""
        return self._kindred.placed([np.asarray(score_many(part, histories, at)) for part in self.parts], histories)

    def rows(self, bases: Sequence[Scores], histories: Histories, at: float) -> tuple[Candidates, NDArray[np.float64]]:
        """The candidates and what the trees are asked with, (n, n_features)."""
        found = candidates.choose(bases, histories, int(self.depth))
        return found, candidates.rows(found, bases, histories, self.traits, at)[:, self._columns]

    def _scored(self, bases: Sequence[Scores], histories: Histories, at: float) -> Scores:
        found, rows = self.rows(bases, histories, at)
        if not len(rows):
            return _from_0_to_1(bases[0])
        raw = self.trees.raw(rows) + _TIE * candidates.fused(found, bases)
        out = _from_0_to_1(bases[0])
        out[found.row, found.product] = 2.0 + raw / (1.0 + np.abs(raw))
        return out


def _from_0_to_1(scores: Scores) -> NDArray[np.float64]:
    least = scores.min(axis=1, keepdims=True)
    spread = np.maximum(scores.max(axis=1, keepdims=True) - least, 1e-30)
    share: NDArray[np.float64] = ((scores - least) / spread).astype(np.float64)
    return share
