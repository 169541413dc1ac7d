"""Everything that decides right now, in one value: it is swapped whole, so that no answer mixes two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import nan, prod

import numpy as np
from numpy.typing import NDArray

from features import filters
from features.learned.tier_outcome import TierOutcome
from features.ledger.due import used_anyway
from features.ledger.liability import RedemptionModel
from features.ledger.outlook import FreshShares
from features.online import MemberRows
from serving.cards import Cards
from serving.champions import Champions
from serving.members import Member
from serving.products import Products
from serving.rulebook import Controls, Rulebook
from serving.snapshot import Ask, Learned, Trait


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """Rules, models, products and the online store (None where there is none yet) of this moment."""

    rulebook: Rulebook
    champions: Champions = field(default_factory=Champions)
    controls: Controls = field(default_factory=Controls)
    products: Products = field(default_factory=Products)
    rows: MemberRows | None = None
    cards: Cards = field(default_factory=Cards)
    prices: Mapping[str, float] = field(default_factory=dict)
    """Budget → what one more unit of it would earn."""
    spent_out: frozenset[str] = frozenset()
    """Budgets that have nothing left."""
    budgets_away: bool = False
    """Whether nobody knows what budgets have left: then all of them count as spent."""
    fresh_points: FreshShares | None = None
    """How likely points issued now are redeemed; None before `tessera points` has estimated it."""
    redemption: RedemptionModel | None = None
    """How likely points are redeemed, by age of lot and balance; None before `tessera points` has estimated it."""
    tier_outcome: TierOutcome | None = None
    """Forecasts tiers; None before `tessera tiers` has fitted it."""
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What was refused at the last look: source → sentences. The last good one goes on."""

    def share_redeemed(self, member: Member | None) -> float | None:
        """The chance that points issued to the member now are redeemed; None where it was not estimated."""
        if member is None or self.fresh_points is None:
            return None
        return self.fresh_points.of(member.features.get("points_balance", nan))

    def share_burned(self, member: Member | None, at: float) -> float | None:
        """The chance that points which an offer would use up are redeemed anyway; None where nobody asks or knows."""
        if member is None or self.redemption is None or not self.rulebook.burns:
            return None
        return used_anyway(self.redemption, member.state, at, self.rulebook.burns)

    def allowed(self, ask: Ask, at: float) -> NDArray[np.bool_] | None:
        """(n_products,): the products that can be had and that a request wants at all; None where that is all of them.

        Only a request for products narrows them.

        Raises:
            filters.FilterError: the request's filter cannot be read.
        """
        if self.champions.taste is None:
            return None
        gone = self.products.gone(at)
        if ask.family != "product" or not (ask.filter or ask.include or ask.popularity_cap):
            return _mask(self, gone, _Wanted()) if gone else None
        values = tuple(sorted(ask.filter_values.items()))
        return _mask(self, gone, _Wanted(ask.filter, values, ask.include, ask.popularity_cap))

    def mixable(self, member: Member | None, ask: Ask, at: float, count: int) -> Learned:
        """What the models say where a list will be mixed: `count` of the best, as many that fit each boost, all traits.

        Raises:
            filters.FilterError: the filter of a boost cannot be read.
        """
        allowed = self.allowed(ask, at)
        values = tuple(sorted(ask.filter_values.items()))
        raised = [_mask(self, frozenset(), _Wanted(one.filter, values)) for one in ask.boosts if one.factor > 1.0]
        pool = self.champions.pool_for(member, at, count, allowed, raised)
        keeps = [(filters.compile(one.filter, ask.filter_values), one.factor) for one in ask.boosts]
        traits = {}
        for product, _, rank in pool:
            facts = self.facts(product)
            factor = prod([by for keep, by in keeps if keep(facts)], start=1.0)
            category = facts.get("category")
            traits[product] = Trait(rank, str(category) if category else None, factor)
        learned = self.champions.learned(member, at, 0)
        products = tuple((product, score) for product, score, _ in pool)
        return replace(learned, products=products, traits=traits, narrowed=True)

    def facts(self, product: str) -> Mapping[str, object]:
        """What a filter may ask of a product."""
        facts, taste = self.products.facts.get(product, {}), self.champions.taste
        place = None if taste is None else taste.positions.get(product)
        if taste is None or place is None:
            return facts
        return {"id": product, **facts, "popularity": float(taste.popularity[place])}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request says of the products it wants."""

    filter: str | None = None
    values: tuple[tuple[str, str | float | bool], ...] = ()
    include: tuple[str, ...] = ()
    popularity_cap: float | None = None


@lru_cache(maxsize=64)
def _mask(present: Present, gone: frozenset[str], wanted: _Wanted) -> NDArray[np.bool_]:
    taste = present.champions.taste
    names = [] if taste is None else taste.names.tolist()
    among = frozenset(wanted.include or names) - gone
    mask = np.array([name in among for name in names], bool)
    if wanted.filter:
        keep = filters.compile(wanted.filter, dict(wanted.values))
        mask &= np.array([name in among and keep(present.facts(name)) for name in names], bool)
    if wanted.popularity_cap is not None and taste is not None:
        mask &= taste.popularity <= wanted.popularity_cap
    mask.setflags(write=False)
    return mask
