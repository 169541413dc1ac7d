"""The exact best of a catalogue of vectors for many members at once, without looking at all of it.

A part of the products is scored in 32 bits for a block of members. The best of each group of products is enough to know
a number that the k-th best does not fall below; as soon as nothing further back on the shelf reaches it, a member is
done. Whatever comes within the error of 32-bit sums of that number is scored again in 64 bits, and only that decides:
the answer is the one of scoring everything in 64 bits, with equal scores in the order of their places.

Sources: Teflioudi, Gemulla, Mykytiuk 2015, "LEMP: fast retrieval of large entries in a matrix product" (buckets by
length); Higham 2002, "Accuracy and stability of numerical algorithms", §3.1 (the error of a sum of products).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.learned.ranking import top_k
from features.learned.shelf import SLICE, Shelf

BLOCK = 512
"""Members at a time: their scores for a part stay in a core's cache."""
_ROUNDING = 1.05 * 2.0**-24
"""What one operation in 32 bits loses at most, and somewhat more."""
_TINY = 1e-36
"""More than what is lost where 32-bit products underflow."""
_CROWD = 16
"""With so many more groups near the best than lists are long, twice, a member has too many equal scores."""
_HUGE = 1e36
"""Where scores may come near this, 32 bits do not hold them."""


@dataclass(frozen=True, slots=True, eq=False)
class Excluded:
    """What single members are not to get, as pairs; products that nobody gets have seat −1 and come last."""

    row: NDArray[np.intp]
    """(n_pairs,): the member's row in the block."""
    seat: NDArray[np.int32]
    """(n_pairs,): the product's position on the shelf, slice by slice."""
    starts: NDArray[np.intp]
    """(slices + 1,): where the pairs of each slice begin."""

    def strike(self, scores: NDArray[np.float32], slice_: int, at: NDArray[np.intp]) -> None:
        """Set a slice's pairs to −∞ in (SLICE, n_active) scores; `at` says which column a row has there, or −1."""
        pairs = slice(self.starts[slice_], self.starts[slice_ + 1])
        column = at[self.row[pairs]]
        there = column >= 0
        scores[self.seat[pairs][there] - slice_ * SLICE, column[there]] = -np.inf


def excluded(shelf: Shelf, row: NDArray[np.intp], place: NDArray[np.int32]) -> Excluded:
    """Pairs of a member's row and a product's place, (n_pairs,) each, made ready."""
    seat = shelf.seat[place]
    slices = len(shelf.vectors) // SLICE
    of = np.where(seat < 0, slices, seat // SLICE).astype(np.uint16)
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(slices + 1))
    return Excluded(row[order], seat[order], starts)


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """Products near enough to a member's best to be looked at again, from one part of the shelf."""

    row: NDArray[np.intp]
    seat: NDArray[np.intp]
    score: NDArray[np.float32]


def space(shelf: Shelf) -> NDArray[np.float32]:
    """Room for the scores of a block; taken once, because fresh memory costs as much as the scores."""
    widest = max((-(-part // SLICE) for part in np.diff(shelf.edges).tolist()), default=0)
    return np.empty(BLOCK * widest * SLICE, np.float32)


def best(
    shelf: Shelf, members: NDArray[np.float32], k: int, without: Excluded, scratch: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Places and scores of the best `k` for each member of a block, (n, k); −1 and NaN where there are fewer.

    Args:
        shelf: The products; its first part holds at least 8·k of them, or all.
        members: (n, k)
        k: Length of the lists, above 0.
        without: Pairs that must not come up.
        scratch: From `space(shelf)`; nobody else may use it at the same time.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", members, members, dtype=np.float64))
    if shelf.biased:
        members = np.concatenate([members, np.ones((len(members), 1), np.float32)], axis=1)
    places, scores = np.full((len(members), k), -1, np.int32), np.full((len(members), k), np.nan)
    search = _Search(shelf, members, lengths, k, without, scratch)
    search.run()
    row, seat = search.found()
    exact = np.einsum("ij,ij->i", shelf.vectors[seat].astype(np.float64), members[row].astype(np.float64))
    place = shelf.place[seat]
    order = np.lexsort((place, -exact, row))
    firsts = np.searchsorted(row[order], np.flatnonzero(~search.odd))
    taken = order[firsts[:, None] + np.arange(k)] if len(order) else np.empty((0, k), np.intp)
    places[~search.odd], scores[~search.odd] = place[taken], exact[taken]
    for one in np.flatnonzero(search.odd).tolist():
        _plainly(shelf, members[one], without.seat[without.row == one], places[one], scores[one])
    return places, scores


def _plainly(
    shelf: Shelf,
    member: NDArray[np.float32],
    excluded: NDArray[np.int32],
    places: NDArray[np.int32],
    scores: NDArray[np.float64],
) -> None:
    """One member's list by scoring everything in 64 bits: for those who may get little, and for many equal scores."""
    shelved = shelf.vectors[: len(shelf.place)].astype(np.float64)
    exact = np.full(len(shelf.seat), np.nan)
    exact[shelf.place] = np.einsum("ij,j->i", shelved, member.astype(np.float64))
    exact[shelf.place[excluded[excluded >= 0]]] = np.nan
    top = top_k(exact, len(places))
    places[: len(top)], scores[: len(top)] = top, exact[top]


class _Search:
    """One block's way along the shelf."""

    def __init__(
        self,
        shelf: Shelf,
        members: NDArray[np.float32],
        lengths: NDArray[np.float64],
        k: int,
        excluded: Excluded,
        scratch: NDArray[np.float32],
    ) -> None:
        self._shelf, self._members, self._lengths, self._k, self._excluded = shelf, members, lengths, k, excluded
        self._scratch = scratch
        most = np.hypot(lengths, float(shelf.biased)) * shelf.longest
        self._margin = (members.shape[1] + 2) * _ROUNDING * most + _TINY
        """(n,): a score in 32 bits is off by less."""
        self._top = np.full((len(members), k), -np.inf, np.float32)
        """(n, k): scores of `k` products, the least of them first; no `k` others have all higher ones."""
        self._near: list[_Near] = []
        self.odd: NDArray[np.bool_] = ~(most < _HUGE) | (len(shelf.place) < 4 * k)
        """(n,): members whose list has to be found plainly."""

    def run(self) -> None:
        """Go along until nobody's list can change any more."""
        edges = self._shelf.edges
        active = np.flatnonzero(~self.odd)
        for part, begin in enumerate(edges[:-1]):
            if not active.size:
                return
            self._look(active, begin, edges[part + 1])
            active = active[~self.odd[active]]
            if part + 2 < len(edges):
                reach = self._shelf.reach(part + 1, self._lengths[active])
                active = active[reach >= self._top[active, 0] - self._margin[active]]

    def found(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and seat of all that is near enough in the end: at least `k` for each member that is not odd."""
        if not self._near:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        row = np.concatenate([near.row for near in self._near])
        seat = np.concatenate([near.seat for near in self._near])
        score = np.concatenate([near.score for near in self._near])
        keep = (score >= self._lowest()[row]) & ~self.odd[row]
        return row[keep], seat[keep]

    def _lowest(self) -> NDArray[np.float32]:
        """(n,): what scores less in 32 bits is not among the best `k`; rounded down."""
        lowest: NDArray[np.float32] = (self._top[:, 0] - 2.0 * self._margin).astype(np.float32)
        return np.nextafter(lowest, np.float32(-np.inf))

    def _scores(
        self, active: NDArray[np.intp], begin: int, end: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A part's scores in 32 bits, and the best of each group.

        Returns:
            (slices, size, groups, n_active) and (slices, groups, n_active). Product j of a slice is in its group j
            modulo their number. What must not come up scores −∞.
        """
        slices = -(-(end - begin) // SLICE)
        members = self._members if len(active) == len(self._members) else self._members[active]
        size = next((size for size in (32, 16, 8, 4, 2) if slices * SLICE >= 4 * self._k * size), 1)
        scores = self._scratch[: slices * SLICE * len(active)].reshape(slices, size, SLICE // size, len(active))
        highest = np.empty((slices, SLICE // size, len(active)), np.float32)
        at = np.full(len(self._members), -1)
        at[active] = np.arange(len(active))
        for one in range(slices):
            first = begin + one * SLICE
            scored = scores[one].reshape(SLICE, len(active))
            np.matmul(self._shelf.vectors[first : first + SLICE], members.T, out=scored)
            scored[max(end - first, 0) :] = -np.inf
            self._excluded.strike(scored, first // SLICE, at)
            np.maximum.reduce(scores[one].reshape(size, -1), axis=0, out=highest[one].reshape(-1))
        return scores, highest

    def _look(self, active: NDArray[np.intp], begin: int, end: int) -> None:
        """Take up what is near enough to the best, by the best of each group first."""
        scores, highest = self._scores(active, begin, end)
        pool = np.concatenate([self._top[active], highest.reshape(-1, len(active)).T], axis=1)
        self._top[active] = np.partition(pool, pool.shape[1] - self._k, axis=1)[:, -self._k :]
        lowest = self._lowest()[active]
        near = pool[:, self._k :] >= lowest[:, None]
        crowded = (near.sum(axis=1) > 2 * self._k + _CROWD) | (lowest == -np.inf)
        if crowded.any():
            self.odd[active[crowded]] = True
            near[crowded] = False
        row, group = np.divmod(np.flatnonzero(near), near.shape[1])
        one, group = np.divmod(group, scores.shape[2])
        members = scores[one, :, group, row]
        pair, within = np.divmod(np.flatnonzero(members >= lowest[row, None]), members.shape[1])
        seat = begin + one[pair] * SLICE + within * scores.shape[2] + group[pair]
        self._near.append(_Near(active[row[pair]], seat, members[pair, within]))
