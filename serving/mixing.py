"""A product list mixed to a request's wishes: boosts, fewer of a kind, pure and the same on every machine.

What a product counts is 1/log₂(1 + rank), the discount of NDCG, by its rank in the model's own order: scores of one
model are not those of another, and some are below 0, but a rank always means the same. A boost multiplies it. Each
product of a category that the list already holds makes the next of it count (1 − diversity) as much, so that the list
is filled one by one with what then counts most: with 0 nothing changes, with 1 every category comes up before any does
twice.

Sources: Järvelin & Kekäläinen 2002 (the discount); Carbonell & Goldstein 1998, "The use of MMR, diversity-based
reranking" (one by one, with regard to what is there already); Ashkan, Kveton, Berkovsky, Wen 2015, "Optimal greedy
diversity for recommendation" (falling gains in each category).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.snapshot import Ask, Trait

POOL = 200
"""So many of the best products are mixed, or ten times the products asked for where that is more."""
LARGEST_POOL = 2_000

_Counted = tuple[float, int, str]
"""What a product counts, its rank below 0, its id: the largest comes first."""


def wanted(ask: Ask) -> bool:
    """Whether the request wants a list other than the model's own order."""
    return bool(ask.boosts or ask.diversity or ask.max_per_category)


def pool(count: int) -> int:
    """How many products are looked at to fill a list of `count`."""
    return max(count, min(max(POOL, 10 * count), LARGEST_POOL))


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a list is to be mixed."""

    diversity: float = 0.0
    max_per_category: int | None = None


def mixed(products: Sequence[str], traits: Mapping[str, Trait], wishes: Wishes, count: int) -> Iterator[str]:
    """The first `count` products of the mixed list.

    Args:
        products: In the model's order.
        traits: What is known of each; a product without any counts by its place here.
        wishes: From the request.
        count: At most so many come.
    """
    waiting = _by_category(products, traits)
    held: Counter[str] = Counter()
    cap = math.inf if wishes.max_per_category is None else wishes.max_per_category
    for _ in range(min(count, len(products))):
        ahead = {
            category: (many[-1][0] * (1.0 - wishes.diversity) ** held[category], *many[-1][1:])
            for category, many in waiting.items()
            if many and held[category] < cap
        }
        if not ahead:
            return
        category = max(ahead, key=lambda one: ahead[one])
        held[category] += 1
        yield waiting[category].pop()[2]


def _by_category(products: Sequence[str], traits: Mapping[str, Trait]) -> dict[str, list[_Counted]]:
    """Category → its products, the best last; a product without a category is a category of its own."""
    found: dict[str, list[_Counted]] = {}
    for place, product in enumerate(products, start=1):
        trait = traits.get(product) or Trait(rank=place)
        counted = trait.factor / math.log2(1.0 + trait.rank)
        found.setdefault(trait.category or f"\0{product}", []).append((counted, -trait.rank, product))
    for many in found.values():
        many.sort()
    return found
