"""The models that serve, and what they say of one member. `serving.bundles` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.learned import (
    Factors,
    MemberHistory,
    ProductForm,
    history,
    top_k,
)
from features.learned.churn import Churn
from features.learned.longest import Longest
from features.states import decode_taste
from serving import lifetime_value
from serving.caused import CausedModel
from serving.members import Member
from serving.snapshot import Estimate, FatigueEstimate, Learned, LifetimeEstimate, ResponseEstimate

TASTE, CHURN, LIFETIME, RESPONSE, EFFECTS = "taste", "churn", "lifetime", "response", "effects"
NOBODY = MemberHistory()
"""Of whom nothing is known."""


@dataclass(frozen=True, eq=False)
class Taste:
    """A recommender: its arrays, and where each product stands in them."""

    version: str
    form: ProductForm
    positions: Mapping[str, int]
    names: NDArray[np.object_]
    """(n_products,): product ids."""
    longest: Longest | None = None
    """Where the best mostly are; None where there is no such short cut."""

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """(n_products,): the share of products bought no more often, by what is said to a member nobody knows."""
        scores = self.form.score(NOBODY, 0.0)
        share: NDArray[np.float64] = np.searchsorted(np.sort(scores), scores, side="right") / max(len(scores), 1)
        return share

    def pool(
        self,
        history: MemberHistory,
        at: float,
        count: int,
        allowed: NDArray[np.bool_] | None,
        raised: Sequence[NDArray[np.bool_]],
    ) -> tuple[tuple[str, float, int], ...]:
        """The best of all that is allowed, and as many of each raised mask: (product id, score, rank), best first.

        The rank, from 1, is that among all that is allowed; equal scores share it.
        """
        scores = self.form.score(history, at)
        ordered = np.sort(scores if allowed is None else scores[allowed])
        among = np.zeros(len(scores), bool)
        among[top_k(scores, count, allowed)] = True
        for mask in raised:
            among[top_k(scores, count, mask if allowed is None else mask & allowed)] = True
        best = top_k(scores, int(among.sum()), among)
        ranks = 1 + len(ordered) - np.searchsorted(ordered, scores[best], side="right")
        return tuple(zip(self.names[best].tolist(), scores[best].tolist(), ranks.tolist(), strict=True))

    def best(
        self, history: MemberHistory, at: float, count: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[tuple[str, float], ...]:
        """The best products that are allowed, (product id, score), best first."""
        near = self._near(history, at, count) if allowed is None and history is not NOBODY else None
        if near is not None:
            return tuple((self.names[position], score) for position, score in near)
        scores = self.form.score(history, at)
        best = top_k(scores, count, allowed)
        return tuple(zip(self.names[best].tolist(), scores[best].tolist(), strict=True))

    def _near(self, history: MemberHistory, at: float, count: int) -> list[tuple[int, float]] | None:
        if self.longest is None or not isinstance(self.form, Factors):
            return None
        vector = self.form.vector(history, at)
        if vector is None or vector.shape != self.form.vectors.shape[1:]:
            return None  # `score` says what then
        return self.longest.best(vector, count)


@dataclass(frozen=True, slots=True, eq=False)
class ChurnModel:
    """A churn model, and where its features stand in a finished row."""

    version: str
    form: Churn
    columns: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Champions:
    """All models that serve. A model that was never promoted is None."""

    taste: Taste | None = None
    churn: ChurnModel | None = None
    lifetime: lifetime_value.LifetimeModel | None = None
    responses: Mapping[str, ResponseEstimate] = field(default_factory=dict)
    caused: CausedModel | None = None
    fatigue: FatigueEstimate | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Models without which an answer counts as degraded."""
        return tuple(name for name, model in ((TASTE, self.taste), (CHURN, self.churn)) if model is None)

    def learned(
        self,
        member: Member | None,
        at: float,
        count: int,
        allowed: NDArray[np.bool_] | None = None,
        *,
        effects: bool = True,
    ) -> Learned:
        """What the models say about a member; about nobody in particular where `member` is None.

        Args:
            member: a known member who consents to personalisation, or None.
            at: epoch seconds.
            count: how many products at most; 0 leaves them out.
            allowed: (n_products,), the products that may be named; None allows all.
            effects: whether it will be asked what candidates cause.
        """
        own, of_type = ({}, {}) if member is None or not effects else self.effects_of(member)
        later, later_of_type = ({}, {}) if member is None or not effects else self.later_of(member)
        return Learned(
            churn=None if member is None else self.churn_of(member),
            products=self.products_for(member, at, count, allowed),
            responses={**self.responses, **of_type} if of_type else self.responses,
            effects=own,
            lifetimes=later,
            lifetimes_of_type=later_of_type,
            fatigue=self.fatigue,
            versions=self.versions,
            narrowed=allowed is not None,
        )

    def effects_of(self, member: Member) -> tuple[dict[str, Estimate], dict[str, ResponseEstimate]]:
        """What candidates cause for the member, by id, and new ones by type; nothing without learned effects."""
        return ({}, {}) if self.caused is None else self.caused.told(member.row)

    def later_of(self, member: Member) -> tuple[dict[str, LifetimeEstimate], dict[str, LifetimeEstimate]]:
        """What candidates change after their window, by id, and new ones by type; nothing where that is not known."""
        return ({}, {}) if self.caused is None else self.caused.told_later(member.row)

    def churn_of(self, member: Member) -> float | None:
        """The probability that the member buys nothing within the horizon; None without a churn model."""
        model = self.churn
        return None if model is None else model.form.probability_of_one(member.row[model.columns])

    def products_for(
        self, member: Member | None, at: float, count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[tuple[str, float], ...]:
        """The best products, (product id, score), best first; nothing without a recommender."""
        taste = self.taste
        if taste is None or not count:
            return ()
        return taste.best(NOBODY if member is None else _history(taste, member), at, count, allowed)

    def pool_for(
        self,
        member: Member | None,
        at: float,
        count: int,
        allowed: NDArray[np.bool_] | None,
        raised: Sequence[NDArray[np.bool_]],
    ) -> tuple[tuple[str, float, int], ...]:
        """`Taste.pool` for a member; nothing without a recommender."""
        taste = self.taste
        if taste is None:
            return ()
        return taste.pool(NOBODY if member is None else _history(taste, member), at, count, allowed, raised)

    def why_churn(self, member: Member, top: int = 3) -> tuple[tuple[str, float], ...]:
        """The features that moved the member's churn most: name and the change of the raw score."""
        if self.churn is None:
            return ()
        return self.churn.form.reasons(member.row[self.churn.columns], top)


def _history(taste: Taste, member: Member) -> MemberHistory:
    vector, vector_at = None, None
    if member.taste:
        version, stored, at_us = decode_taste(member.taste)
        if version == taste.version:
            vector, vector_at = stored, at_us / 1e6
    if vector_at is not None and isinstance(taste.form, Factors) and member.state.bought_by(vector_at):
        return MemberHistory(vector=vector)  # the vector says it all: nothing was bought since
    ids, counts, last = member.state.products()
    region = member.state.region or ""
    return history(taste.positions, ids, counts.tolist(), last.tolist(), vector, vector_at, region)
