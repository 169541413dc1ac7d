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
from features.learned.histories import Histories
from features.learned.member import Scores
from features.learned.traits import PRODUCT_FEATURES, Traits

Rows = NDArray[np.float64]
MEMBER_FEATURES = ("member_products", "member_buys", "member_repeats", "member_idle", "member_kinds")
HISTORY_FEATURES = ("bought", "count", "count_share", "age", "age_beyond", "due")
KIND_FEATURES = ("kind_share", "kind_lift", "kind_age", "brand_share")


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
    def group(self) -> NDArray[np.int64]:
        """(n,): the same number for candidates of one member that were all bought or are all new."""
        return self.row * 2 + (self.place < 0)


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


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """What the members bought, worked out once for all features."""

    histories: Histories
    row: NDArray[np.int64]
    """(n_pairs,): which member."""
    age: Rows
    """(n_pairs,): days since it was last bought."""
    bought: Rows
    """(n_members,): purchases in all."""
    idle: Rows
    """(n_members,): days since the last purchase; NaN where there is none."""

    @staticmethod
    def of(histories: Histories, at: float) -> _Past:
        row, age = histories.row, np.maximum(at - histories.last_at, 0.0) / DAY
        bought = np.bincount(row, weights=histories.count, minlength=len(histories))
        return _Past(histories, row, age, np.asarray(bought, np.float64), _latest(row, age, len(histories)))


def rows(found: Candidates, bases: Sequence[Scores], histories: Histories, traits: Traits, at: float) -> Rows:
    """What is known of each candidate, (n, len(names)); NaN where it does not apply."""
    past = _Past.of(histories, at)
    columns = [
        *_of_parts(found, bases),
        *_of_history(found, past, traits),
        *_of_kinds(found, past, traits),
        *traits.numbers[found.product].T,
        *_of_members(found, past, traits),
    ]
    return np.stack(columns, axis=1, dtype=np.float64)


def _of_parts(found: Candidates, bases: Sequence[Scores]) -> list[Rows]:
    """Rank among the member's candidates of the same kind, distance from their mean, and the score as it is."""
    group = found.group
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(begins, len(group)))
    ranks = np.log1p(np.arange(len(group)) - np.repeat(begins, sizes))
    out = []
    for base in bases:
        score = base[found.row, found.product].astype(np.float64)
        rank = np.empty(len(score))
        rank[np.lexsort((-score, group))] = ranks
        out += [rank, _spread(score, begins, sizes), score]
    return out


def _spread(score: Rows, begins: NDArray[np.intp], sizes: NDArray[np.intp]) -> Rows:
    """Distance from the mean of each group, in standard deviations."""
    away = score - np.repeat(np.add.reduceat(score, begins) / sizes, sizes)
    deviation = np.sqrt(np.add.reduceat(away * away, begins) / sizes)
    spread: Rows = away / np.repeat(np.maximum(deviation, 1e-12), sizes)
    return spread


def _of_history(found: Candidates, past: _Past, traits: Traits) -> list[Rows]:
    """How often, how long ago, and whether it is due: ln((age+1)/(rhythm+1)), 0 where its usual time has passed."""
    bought = found.place >= 0
    count, days = np.full(len(bought), np.nan), np.full(len(bought), np.nan)
    count[bought] = past.histories.count[found.place[bought]]
    days[bought] = past.age[found.place[bought]]
    log_age = np.log1p(days)
    return [
        bought.astype(np.float64),
        count,
        count / np.maximum(past.bought[found.row], 1.0),
        log_age,
        np.log1p(np.maximum(days - past.idle[found.row], 0.0)),
        log_age - traits.numbers[found.product, PRODUCT_FEATURES.index("rhythm")],
    ]


def _of_kinds(found: Candidates, past: _Past, traits: Traits) -> list[Rows]:
    """How much of what the member buys is of the candidate's category or brand, and how long ago the last was."""
    share, days = _affinity(found, past, traits.kind)
    kind = traits.kind[found.product]
    usual = np.where(kind >= 0, traits.kind_weight[kind] if len(traits.kind_weight) else 0.0, np.nan)
    brand, _ = _affinity(found, past, traits.brand)
    return [share, share / np.maximum(usual, 1e-9), np.log1p(days), brand]


def _affinity(found: Candidates, past: _Past, kinds: NDArray[np.int32]) -> tuple[Rows, Rows]:
    """Share of the member's log counts in the candidate's kind and days since the last of it; NaN without a kind."""
    wide = int(kinds.max(initial=-1)) + 1
    wanted = kinds[found.product]
    share, days = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    if not wide:
        return share, days
    of_pairs = kinds[past.histories.product_index]
    weight = np.log1p(past.histories.count)
    total = np.bincount(past.row, weights=weight, minlength=len(past.histories))
    met, place = np.unique(np.where(of_pairs >= 0, past.row * wide + of_pairs, -1), return_inverse=True)
    summed, latest = np.bincount(place, weights=weight), _latest(place, past.age, len(met))
    asked = np.where(wanted >= 0, found.row * wide + wanted, -2)
    at = np.minimum(np.searchsorted(met, asked), len(met) - 1)
    there = met[at] == asked
    share[wanted >= 0] = 0.0
    share[there] = summed[at[there]] / np.maximum(total[found.row[there]], 1e-9)
    days[there] = latest[at[there]]
    return share, days


def _of_members(found: Candidates, past: _Past, traits: Traits) -> list[Rows]:
    """How much and how varied the member buys, how much of it again, and for how long nothing."""
    products = np.diff(past.histories.starts).astype(np.float64)
    repeats = 1.0 - products / np.maximum(past.bought, 1.0)
    wide = int(traits.kind.max(initial=-1)) + 2
    kinds = np.unique(past.row * wide + traits.kind[past.histories.product_index] + 1) // wide
    breadth = np.bincount(kinds, minlength=len(products)) / np.maximum(products, 1.0)
    columns = (np.log1p(products), np.log1p(past.bought), repeats, np.log1p(past.idle), breadth)
    return [values[found.row] for values in columns]


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
