"""Which products are worth a second look for a member, and what is known of each: the rows a ranker is asked with.

The same code makes the rows that the ranker learns from and those it is asked with, for one member or for many.
Products bought before and products new to the member are kept apart: buying again and discovering are different
problems, so ranks and spreads are those among their own kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import DAY
from features.learned.faults import LearnedError, finite, shaped
from features.learned.histories import Histories
from features.learned.member import Scores

Rows = NDArray[np.float64]
_TRACE = 1e-6
"""A category with less trust than this has nothing to tell."""
PRODUCT_FEATURES = (
    "popularity",
    "popularity_lately",
    "trend",
    "repeat_rate",
    "rhythm",
    "idle",
    "launched",
)
"""Columns of `Traits.numbers`; `training.ranker.traits` says what each is."""
MEMBER_FEATURES = ("member_products", "member_buys", "member_repeats", "member_idle", "member_kinds")
HISTORY_FEATURES = ("bought", "count", "count_share", "age", "age_beyond", "due")
KIND_FEATURES = ("kind_share", "kind_lift", "kind_age", "brand_share")


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What is known of the products themselves."""

    numbers: NDArray[np.float32]
    """(n_products, len(PRODUCT_FEATURES))"""
    kind: NDArray[np.int32]
    """(n_products,): number of the category, −1 where none is known."""
    brand: NDArray[np.int32]
    """(n_products,): the same of the brand."""
    kind_weight: NDArray[np.float32]
    """(n_kinds,): share of all purchases that fall into the category."""
    trust: NDArray[np.float32]
    """(n_products,), 0…1: how far scores of a product itself are believed; the rest is the mean of its category."""

    def __post_init__(self) -> None:
        n = len(self.numbers)
        shaped("traits", "numbers", self.numbers, (n, len(PRODUCT_FEATURES)))
        for name in ("kind", "brand"):
            shaped("traits", name, getattr(self, name), (n,))
        shaped("traits", "trust", self.trust, (n,))
        finite("traits", "kind_weight", self.kind_weight)
        finite("traits", "trust", self.trust)
        if self.kind.max(initial=-1) >= len(self.kind_weight):
            raise LearnedError("traits: a category has no weight; train the model again")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs of member and product, sorted by member, then bought before new, then product."""

    row: NDArray[np.int64]
    """(n,): which member."""
    product: NDArray[np.int64]
    """(n,)"""
    place: NDArray[np.int64]
    """(n,): where the pair stands in the histories, −1 where the product is new to the member."""

    @property
    def kind_of(self) -> NDArray[np.int64]:
        """(n,): the same number for candidates of one member that were all bought or are all new."""
        return self.row * 2 + (self.place < 0)


@dataclass(frozen=True, slots=True, eq=False)
class Kindred:
    """Draws the scores of products that few have bought towards the mean of their category (empirical Bayes).

    A product nobody has bought has no score of its own; by its category it has a place among the others. What the
    member has bought is left out of the mean: it says how liked a product is, not how liked its category.
    """

    order: NDArray[np.intp]
    """Positions of all products with a category, those of one category together."""
    begins: NDArray[np.intp]
    """(n_met,): where each category that has products begins in `order`."""
    place: NDArray[np.intp]
    """(n_products,): number of a product's category among `begins`, −1 where it has none."""
    trust: NDArray[np.float64]
    """(n_products,)"""
    few: NDArray[np.intp]
    """Positions of the products whose scores are drawn."""

    @staticmethod
    def of(traits: Traits) -> Kindred:
        """Worked out once for each loaded form."""
        order = np.flatnonzero(traits.kind >= 0)
        order = order[np.argsort(traits.kind[order], kind="stable")]
        begins = np.flatnonzero(np.diff(traits.kind[order], prepend=-1))
        place = np.full(len(traits.kind), -1, np.intp)
        place[order] = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(order))))
        few = np.flatnonzero((place >= 0) & (traits.trust < 1.0))
        return Kindred(order, begins, place, traits.trust.astype(np.float64), few)

    def drawn(self, scores: Scores, histories: Histories) -> Scores:
        """Scores of all products, (n_members, n_products), with those of few buyers drawn towards their category's."""
        if not len(self.few):
            return scores
        row, product = histories.row, histories.product_index
        met = self.place[product] >= 0
        row, product = row[met], product[met]
        at = row * len(self.begins) + self.place[product]
        trust = self.trust[product]
        shape = (len(scores), len(self.begins))
        size = shape[0] * shape[1]
        known = np.add.reduceat(self.trust[self.order], self.begins)
        known = known - np.bincount(at, weights=trust, minlength=size).reshape(shape)
        total = np.add.reduceat(scores[:, self.order] * self.trust[self.order], self.begins, axis=1)
        total -= np.bincount(at, weights=trust * scores[row, product], minlength=size).reshape(shape)
        least = scores.min(axis=1, keepdims=True)
        mean = np.where(known > _TRACE, total / np.maximum(known, _TRACE), least)[:, self.place[self.few]]
        own = self.trust[self.few]
        out = scores.astype(np.float64)
        out[:, self.few] = own * out[:, self.few] + (1.0 - own) * mean
        return out


def choose(bases: Sequence[Scores], histories: Histories, depth: int) -> Candidates:
    """The first `depth` products of every base among those bought, and among those new to the member.

    A member who has bought nothing has no candidates: there is nothing to rank them by.

    Args:
        bases: Scores of all products by each base model, (n_members, n_products); not written to.
        histories: The same members'.
        depth: Of each base and kind.
    """
    row, product = histories.row, histories.product_index.astype(np.int64)
    kept = np.zeros(len(row), bool)
    if len(row) and np.diff(histories.starts).max() > depth:
        for base in bases:
            order = np.lexsort((-base[row, product], row))
            kept[order[np.arange(len(row)) - histories.starts[row] < depth]] = True
    else:
        kept[:] = True
    n_products = bases[0].shape[1]
    new = _new(bases, row, product, min(depth, n_products))
    place = np.flatnonzero(kept)
    keys = np.concatenate([2 * row[place] * n_products + product[place], new])
    places = np.concatenate([place, np.full(len(new), -1)])
    order = np.argsort(keys)
    keys = keys[order]
    return Candidates(keys // (2 * n_products), keys % n_products, places[order])


def _new(bases: Sequence[Scores], row: NDArray[np.int64], product: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    """Keys of the best products of each base that the member has not bought."""
    n_products = bases[0].shape[1]
    known, place = np.unique(row, return_inverse=True)
    first = (2 * known[:, None] + 1) * n_products
    keys = [np.empty(0, np.int64)]
    for base in bases if len(known) else ():
        left = base[known]
        left[place, product] = -np.inf
        best = np.argpartition(left, n_products - depth, axis=1)[:, n_products - depth :]
        there = np.take_along_axis(left, best, axis=1) > -np.inf
        keys.append((first + best)[there])
    return np.unique(np.concatenate(keys))


def names(parts: Sequence[str]) -> tuple[str, ...]:
    """The features of a candidate, in the order of the columns."""
    of_parts = [f"{part}_{what}" for part in parts for what in ("rank", "spread", "score")]
    return (*of_parts, *HISTORY_FEATURES, *KIND_FEATURES, *PRODUCT_FEATURES, *MEMBER_FEATURES)


def groups(parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The same features by what they tell of."""
    return {
        "ranks and scores of the bases": names(parts)[: 3 * len(parts)],
        "the member and the product": HISTORY_FEATURES,
        "category and brand": KIND_FEATURES,
        "the product": PRODUCT_FEATURES,
        "the member": MEMBER_FEATURES,
    }


def rows(found: Candidates, bases: Sequence[Scores], histories: Histories, traits: Traits, at: float) -> Rows:
    """What is known of each candidate, (n, len(names)); NaN where it does not apply."""
    age = np.maximum(at - histories.last_at, 0.0) / DAY
    columns = [
        *_of_parts(found, bases),
        *_of_history(found, histories, age, traits),
        *_of_kinds(found, histories, age, traits),
        *traits.numbers[found.product].T,
        *_of_members(found, histories, age, traits),
    ]
    return np.stack(columns, axis=1, dtype=np.float64) if columns else np.empty((0, 0))


def _of_parts(found: Candidates, bases: Sequence[Scores]) -> list[Rows]:
    group = found.kind_of
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(begins, len(group)))
    out = []
    for base in bases:
        score = base[found.row, found.product].astype(np.float64)
        order = np.lexsort((-score, group))
        rank = np.empty(len(score))
        rank[order] = np.arange(len(score)) - np.repeat(begins, sizes)
        out += [np.log1p(rank), _spread(score, begins, sizes), score]
    return out


def _spread(score: Rows, begins: NDArray[np.intp], sizes: NDArray[np.intp]) -> Rows:
    """Distance from the mean of the candidate's own kind, in standard deviations."""
    if not len(score):
        return score
    away = score - np.repeat(np.add.reduceat(score, begins) / sizes, sizes)
    deviation = np.sqrt(np.add.reduceat(away * away, begins) / sizes)
    spread: Rows = away / np.repeat(np.maximum(deviation, 1e-12), sizes)
    return spread


def _of_history(found: Candidates, histories: Histories, age: Rows, traits: Traits) -> list[Rows]:
    """How often, how long ago, and whether it is due: ln((age+1)/(rhythm+1)), 0 where its usual time has passed."""
    members = len(histories)
    bought = found.place >= 0
    total = np.bincount(histories.row, weights=histories.count, minlength=members)
    count, days = np.full(len(bought), np.nan), np.full(len(bought), np.nan)
    count[bought] = histories.count[found.place[bought]]
    days[bought] = age[found.place[bought]]
    rhythm = traits.numbers[found.product, PRODUCT_FEATURES.index("rhythm")]
    log_age = np.log1p(days)
    idle = _latest(histories.row, age, members)[found.row]
    return [
        bought.astype(np.float64),
        count,
        count / np.maximum(total[found.row], 1.0),
        log_age,
        np.log1p(np.maximum(days - idle, 0.0)),
        log_age - rhythm,
    ]


def _of_kinds(found: Candidates, histories: Histories, age: Rows, traits: Traits) -> list[Rows]:
    """How much of what the member buys is of the candidate's category or brand, and how long ago the last was."""
    share, days = _affinity(found, histories, age, traits.kind)
    kind = traits.kind[found.product]
    usual = np.where(kind >= 0, traits.kind_weight[kind] if len(traits.kind_weight) else 0.0, np.nan)
    brand, _ = _affinity(found, histories, age, traits.brand)
    return [share, share / np.maximum(usual, 1e-9), np.log1p(days), brand]


def _affinity(found: Candidates, histories: Histories, age: Rows, kinds: NDArray[np.int32]) -> tuple[Rows, Rows]:
    """Share of the member's log counts in the candidate's kind and days since the last of it; NaN without a kind."""
    wide = int(kinds.max(initial=-1)) + 1
    wanted = kinds[found.product]
    share, days = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    if not wide or not len(histories.product_index):
        return share, days
    of_pairs = kinds[histories.product_index]
    weight = np.log1p(histories.count)
    total = np.bincount(histories.row, weights=weight, minlength=len(histories))
    key = histories.row * wide + of_pairs
    key = np.where(of_pairs >= 0, key, -1)
    met, place = np.unique(key, return_inverse=True)
    summed = np.bincount(place, weights=weight)
    latest = _latest(place, age, len(met))
    asked = np.where(wanted >= 0, found.row * wide + wanted, -2)
    at = np.minimum(np.searchsorted(met, asked), len(met) - 1)
    there = met[at] == asked
    share[wanted >= 0] = 0.0
    share[there] = summed[at[there]] / np.maximum(total[found.row[there]], 1e-9)
    days[there] = latest[at[there]]
    return share, days


def _of_members(found: Candidates, histories: Histories, age: Rows, traits: Traits) -> list[Rows]:
    """How much and how varied the member buys, how much of it again, and for how long nothing."""
    members = len(histories)
    products = np.diff(histories.starts).astype(np.float64)
    buys = np.bincount(histories.row, weights=histories.count, minlength=members)
    repeats = 1.0 - products / np.maximum(buys, 1.0)
    idle = _latest(histories.row, age, members)
    wide = int(traits.kind.max(initial=-1)) + 1
    kinds = np.unique(histories.row * (wide + 1) + traits.kind[histories.product_index] + 1) // (wide + 1)
    breadth = np.bincount(kinds, minlength=members) / np.maximum(products, 1.0)
    return [values[found.row] for values in (np.log1p(products), np.log1p(buys), repeats, np.log1p(idle), breadth)]


def _latest(group: NDArray[np.int64], age: Rows, groups: int) -> Rows:
    """(groups,): the smallest age in each; NaN where a group is empty."""
    least = np.full(groups, np.inf)
    np.minimum.at(least, group, age)
    least[~np.isfinite(least)] = np.nan
    return least


def fused(found: Candidates, bases: Sequence[Scores]) -> Rows:
    """Mean over the bases of the score as a share of the way from the member's least candidate to the best, (n,).

    Known as CombSUM of scores brought to 0…1: Fox & Shaw 1994, "Combination of multiple searches".
    """
    begins = np.flatnonzero(np.diff(found.row, prepend=-1))
    sizes = np.diff(np.append(begins, len(found.row)))
    total = np.zeros(len(found.row))
    for base in bases:
        score = base[found.row, found.product].astype(np.float64)
        least, most = np.minimum.reduceat(score, begins), np.maximum.reduceat(score, begins)
        total += (score - np.repeat(least, sizes)) / np.repeat(np.maximum(most - least, 1e-12), sizes)
    return total / max(len(bases), 1)
