"""A split inside what is known: base recipes learn from the earlier part, a second stage from what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.interactions import Interactions

DAY = 86_400.0
Way = Literal["time", "random", "last_basket"]
_HELD = 0.2
"""Share of each member's products that a random split holds back."""
_MOST_OF_SPAN = 0.25
"""A horizon never takes more of the history than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Inner:
    """What is learned from, and what was bought apart from it, in the same rows and columns."""

    before: Interactions
    bought: sp.csr_matrix
    """(n_members, n_products) bool."""
    way: Way
    note: str = ""
    """Why it was not split as asked, or in less time; empty where it was."""


def split(interactions: Interactions, way: Way, horizon_days: float, seed: int) -> Inner:
    """Hold back the end of the history, or a random fifth of each member's products, or each member's last basket.

    Nothing from after the cut is known to `before`. A history whose purchases all have one time is split at random,
    and one shorter than four horizons in less than a horizon; `note` says so.
    """
    times = interactions.bought_at
    span = float(np.ptp(times)) / DAY if len(times) else 0.0
    if way == "random":
        return _parted(interactions, ~_at_random(interactions, seed), way)
    if span <= 0:
        note = (
            f"all purchases have one time, so {way!r} cannot split them: a fifth of each member's products is held back"
        )
        return _parted(interactions, ~_at_random(interactions, seed), "random", note)
    if way == "last_basket":
        return _parted(interactions, ~_in_last_basket(interactions), way)
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

    By time each is one slice before the one before it, as long as half of the history lies before its cut. At random
    other products are drawn each time. A last basket there is only once.
    """
    found = [split(interactions, way, horizon_days, seed)]
    first = found[0]
    half = float(interactions.bought_at.min() + interactions.bought_at.max()) / 2 if first.way == "time" else np.inf
    while len(found) < most and first.way != "last_basket":
        if first.way == "random":
            found.append(split(interactions, "random", horizon_days, seed + len(found)))
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


def _at_random(interactions: Interactions, seed: int) -> NDArray[np.bool_]:
    """A fifth of each member's products, rounded up, with all purchases of them; the only product of a member stays."""
    n_products = interactions.counts.shape[1]
    pair = interactions.buys[:, 0].astype(np.int64) * n_products + interactions.buys[:, 1]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    member = interactions.buys[starts, 0]
    luck = np.random.default_rng(seed).random(len(starts))
    order = np.lexsort((luck, member))
    begins = np.searchsorted(member, member)  # members are sorted
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - begins[order]
    size = np.bincount(member, minlength=interactions.counts.shape[0])[member]
    held = place < np.minimum(np.ceil(_HELD * size), size - 1)
    return np.repeat(held, np.diff(np.append(starts, len(pair))))


def _in_last_basket(interactions: Interactions) -> NDArray[np.bool_]:
    """Purchases at a member's latest time; members with one time only keep it."""
    member, times = interactions.buys[:, 0], interactions.bought_at
    last = np.full(interactions.counts.shape[0], -np.inf)
    first = np.full(interactions.counts.shape[0], np.inf)
    np.maximum.at(last, member, times)
    np.minimum.at(first, member, times)
    held: NDArray[np.bool_] = (times == last[member]) & (last[member] > first[member])
    return held
