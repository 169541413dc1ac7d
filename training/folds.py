"""Slices to tune on: several earlier ones, while the last is left for the judgement at the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from training.interactions import Interactions
from training.ledger import Ledger
from training.protocols import (
    ProtocolError,
    Split,
    by_name,
    by_time,
    last_basket_of,
    leave_one_out_of,
    purchases_of,
    random_of,
    slice_of,
)


def folds(
    ledger: Ledger,
    ends_at: datetime,
    protocol: str,
    count: int,
    *,
    days: float,
    share: float,
    seed: int,
    use_all: bool = False,
) -> list[Split]:
    """Splits of one protocol that never see what `by_name` with the same arguments would hide.

    By time: the slices before the last, oldest first. By lot: other lots among what the first left. Last basket and
    leave one out: one step further back for each fold.

    Args:
        ledger: The whole history.
        ends_at: Its end.
        protocol: Of `protocols.PROTOCOLS`.
        count: How many; by time fewer where the history is too short.
        days: Length of a slice (time).
        share: Hidden share (random).
        seed: Of the lots.
        use_all: Nothing need be left: the history is only what is learned from in a split made elsewhere.

    Raises:
        ProtocolError: There is no room for even one.
    """
    if protocol == "time":
        return _by_time(ledger, ends_at, count, days, skip=0 if use_all else 1)
    whole = ledger.at(ends_at)
    if not use_all:
        whole = by_name(protocol, ledger, ends_at, days=days, share=share, seed=seed).before
    if protocol == "random":
        return [random_of(whole, share, seed + 1 + number) for number in range(count)]
    return _further_back(whole, count, last_basket_of if protocol == "last_basket" else leave_one_out_of)


def inside(split: Split, *, days: float, share: float, seed: int) -> Split:
    """A fold cut out of what a split leaves to learn from, by the same kind of cut.

    Args:
        split: Whoever tunes on the fold never sees what it hides.
        days: Length of a slice by time.
        share: Hidden share by lot.
        seed: Of the lot.

    Raises:
        ProtocolError: There is no room for it.
    """
    if split.inner == "random":
        return random_of(split.before, share, seed + 1)
    if split.inner == "purchases":
        return purchases_of(split.before, share, seed + 1)
    if split.inner == "last_basket":
        return last_basket_of(split.before)
    return slice_of(split.before, days)


def _by_time(ledger: Ledger, ends_at: datetime, count: int, days: float, skip: int) -> list[Split]:
    found: list[Split] = []
    for number in range(skip, skip + count):
        try:
            found.append(by_time(ledger, ends_at - timedelta(days=days * number), days))
        except ProtocolError:
            if not found:
                raise
            break
    return found[::-1]


def _further_back(whole: Interactions, count: int, cut: Callable[[Interactions], Split]) -> list[Split]:
    found = [cut(whole)]
    while len(found) < count:
        try:
            found.append(cut(found[-1].before))
        except ProtocolError:
            break
    return found[::-1]
