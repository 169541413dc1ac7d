"""A split inside what is known: base recipes learn from the earlier part, a second stage from what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned import Histories
from training.interactions import Interactions, histories

DAY = 86_400.0
Way = Literal["time", "random", "purchases", "last_basket"]
"""`random` holds back products with all their purchases, so what is held back was never bought before; `purchases`
holds back single purchases, so that some of it was."""
_HELD = 0.2
"""Share of each member's products, or purchases, that a split by lot holds back."""
_MOST_OF_SPAN = 0.25
"""A horizon never takes more of the history than this."""
_BY_LOT: tuple[Way, ...] = ("random", "purchases")


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """What is learned from, and what was bought apart from it, in the same rows and columns."""

    before: Interactions
    bought: sp.csr_matrix
    """(n_members, n_products) bool."""
    way: Way
    note: str = ""
    """Why it was not split as asked, or in less time; empty where it was."""
    moments: NDArray[np.float64] | None = None
    """(n_members,): when each bought what was held back, epoch seconds; None where that is `before.at` for all."""

    def asked(self, rows: NDArray[np.intp]) -> Histories:
        """What these members had bought, as it looked at the moment they came back."""
        found = histories(self.before, rows)
        if self.moments is None:
            return found
        return replace(found, last_at=found.last_at + (self.before.seconds - self.moments[rows])[found.row])


def split(interactions: Interactions, way: Way, horizon_days: float, seed: int) -> Inner:
    """Hold back the end of the history, a fifth of each member's products or purchases by lot, or the last basket.

    Nothing from after the cut is known to `before`. A history whose purchases all have one time is split by lot (single
    purchases, where anything was bought twice), and one shorter than four horizons in less than a horizon; `note` says
    so.
    """
    times = interactions.bought_at
    span = float(np.ptp(times)) / DAY if len(times) else 0.0
    if way in _BY_LOT:
        return _parted(interactions, ~_by_lot(interactions, way, seed), way)
    if span <= 0:
        lot: Way = "purchases" if (interactions.counts.data > 1).any() else "random"
        what = "products" if lot == "random" else "purchases"
        note = (
            f"all purchases have one time, so {way!r} cannot split them: a fifth of each member's {what} is held back"
        )
        return _parted(interactions, ~_by_lot(interactions, lot, seed), lot, note)
    if way == "last_basket":
        return _without_last_basket(interactions)
    horizon = min(horizon_days, _MOST_OF_SPAN * span)
    note = (
        "" if horizon == horizon_days else f"the history spans {span:.1f} days: the inner slice is {horizon:.1f} days"
    )
    end = min(interactions.seconds, float(times.max()))
    cut = end - horizon * DAY
    earlier = times <= cut
    return _parted(interactions, earlier, way, note, datetime.fromtimestamp(cut, UTC))


def splits(interactions: Interactions, way: Way, horizon_days: float, most: int, seed: int) -> tuple[Inner, ...]:
    """Several splits, so that more members and more times teach; the first is that of `split`.

    By time each is one slice before the one before it, as long as half of the history lies before its cut. By lot
    others are drawn each time. Of baskets it is the last, the one before it, and so on.
    """
    found = [split(interactions, way, horizon_days, seed)]
    first = found[0]
    half = float(interactions.bought_at.min() + interactions.bought_at.max()) / 2 if first.way == "time" else np.inf
    while len(found) < most:
        if first.way in _BY_LOT:
            found.append(split(interactions, first.way, horizon_days, seed + len(found)))
            continue
        if first.way == "last_basket":
            further = _without_last_basket(found[-1].before)
            if not further.bought.nnz:
                break
            found.append(further)
            continue
        known = found[-1].before
        length = min(horizon_days, _MOST_OF_SPAN * float(np.ptp(interactions.bought_at)) / DAY)
        cut = known.seconds - length * DAY
        if cut < half:
            break
        found.append(_parted(known, known.bought_at <= cut, "time", "", datetime.fromtimestamp(cut, UTC)))
    return tuple(found)


def _parted(
    interactions: Interactions, earlier: NDArray[np.bool_], way: Way, note: str = "", at: datetime | None = None
) -> Inner:
    before = narrowed(interactions, earlier, at or interactions.at)
    later = interactions.buys[~earlier]
    ones = np.ones(len(later), np.int32)
    bought = sp.csr_matrix((ones, (later[:, 0], later[:, 1])), shape=interactions.counts.shape)
    return Inner(before, bought.astype(bool), way, note)


def narrowed(interactions: Interactions, kept: NDArray[np.bool_], at: datetime) -> Interactions:
    """The same members and products with only these of the purchases, as known at `at`."""
    buys, times = interactions.buys[kept], interactions.bought_at[kept]
    shape = interactions.counts.shape
    pair = buys[:, 0].astype(np.int64) * shape[1] + buys[:, 1]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    ends = np.append(starts[1:], len(pair))[: len(starts)]
    where = (buys[starts, 0], buys[starts, 1])
    return replace(
        interactions,
        at=at,
        counts=sp.csr_matrix(((ends - starts).astype(np.float32), where), shape=shape),
        last_at=sp.csr_matrix((times[ends - 1], where), shape=shape),
        buys=buys,
        bought_at=times,
    )


def _by_lot(interactions: Interactions, way: Way, seed: int) -> NDArray[np.bool_]:
    """A fifth of each member's products with all purchases of them, or of the purchases; (n_buys,).

    Rounded up; a member's only product, or purchase, stays.
    """
    member = interactions.buys[:, 0].astype(np.int64)
    if way == "purchases":
        return _fifth(member, seed)
    pair = member * interactions.counts.shape[1] + interactions.buys[:, 1]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    return np.repeat(_fifth(member[starts], seed), np.diff(np.append(starts, len(pair))))


def _fifth(member: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """A fifth of what each member has, by lot; `member` (n,) is sorted."""
    luck = np.random.default_rng(seed).random(len(member))
    order = np.lexsort((luck, member))
    place = np.empty(len(member), np.int64)
    place[order] = np.arange(len(member)) - np.searchsorted(member, member)[order]
    size = np.bincount(member)[member] if len(member) else member
    held: NDArray[np.bool_] = place < np.minimum(np.ceil(_HELD * size), size - 1)
    return held


def _without_last_basket(interactions: Interactions) -> Inner:
    """Purchases at a member's latest time are held back; members with one time only keep it."""
    member, times = interactions.buys[:, 0], interactions.bought_at
    last = np.full(interactions.counts.shape[0], -np.inf)
    first = np.full(interactions.counts.shape[0], np.inf)
    np.maximum.at(last, member, times)
    np.minimum.at(first, member, times)
    held: NDArray[np.bool_] = (times == last[member]) & (last[member] > first[member])
    moments = np.where(np.isfinite(last), last, interactions.seconds)
    return replace(_parted(interactions, ~held, "last_basket"), moments=moments)
