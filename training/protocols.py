"""Which purchases are learned from and which are asked for: every way to cut a history, by name.

`time` is how decisions are made: one moment for everybody, learned before, judged after. The others let a recipe see
what other members did after the moment it is asked about, and are there to reproduce published tables:

- `random`: of each member's products a share drawn by lot is hidden, with all their purchases (seeded);
- `last_basket`: each member's last basket is hidden, of members with two or more;
- `leave_one_out`: the product each member bought last is hidden, with all its purchases, of members with two or more
  (of purchases at the same moment, that of the last product by id).

In the last two, each member is asked as of their own moment: the times of what they bought before are moved by the same
span, so that "ten days ago" is ten days before the hidden purchase. `given` is a split made elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from training.inner import Way
from training.interactions import Interactions, with_only
from training.ledger import Ledger
from training.split import cut_before, truth

Inner = Way
"""The cuts that a recipe may make inside what it learns from."""
PROTOCOLS = ("time", "random", "last_basket", "leave_one_out")


class ProtocolError(ValueError):
    """A history cannot be cut in this way; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What is learned from, what is asked for, and how many of each there are."""

    protocol: str
    said: str
    """One sentence for people: how it was cut."""
    before: Interactions
    """What recipes learn from."""
    asked: Interactions
    """The same as each member's purchases look at the moment that member is asked for."""
    bought: sp.csr_matrix
    """(n_members, n_products) bool: what was hidden, in the rows and columns of `before`."""
    inner: Inner
    """The cut by which a recipe that needs a slice of its own should make it."""
    unseen_only: bool
    """Whether lists leave out by default what the member had bought before."""
    counts: Mapping[str, float]
    """The denominators: members, products and purchases on both sides, and what had to be left out."""

    def repeat(self) -> sp.csr_matrix:
        """The part of `bought` that the member had bought before."""
        return sp.csr_matrix(self.bought.multiply(self.before.counts > 0)).astype(bool)

    def explore(self) -> sp.csr_matrix:
        """The part of `bought` that was new to the member."""
        found = self.bought.astype(np.int8) - self.repeat().astype(np.int8)
        found.eliminate_zeros()
        return sp.csr_matrix(found).astype(bool)


def by_name(name: str, ledger: Ledger, ends_at: datetime, *, days: float, share: float, seed: int) -> Split:
    """The split of one of `PROTOCOLS`; `days` is read by `time`, `share` and `seed` by `random`.

    Raises:
        ProtocolError: There is no such protocol, or it cannot cut this history.
    """
    if name == "time":
        return by_time(ledger, ends_at, days)
    if name == "random":
        return at_random(ledger, ends_at, share, seed)
    if name == "last_basket":
        return last_basket(ledger, ends_at)
    if name == "leave_one_out":
        return leave_one_out(ledger, ends_at)
    raise ProtocolError(f'protocol "{name}" is unknown; use one of {", ".join(PROTOCOLS)}')


def by_time(ledger: Ledger, ends_at: datetime, days: float) -> Split:
    """Everything known `days` before the end is learned from; what the same members bought in those days is asked for.

    Raises:
        ProtocolError: Nothing was known by then, or nobody known bought anything afterwards.
    """
    cut = cut_before(ends_at, days)
    if not (ledger.purchases["occurred_at"] <= cut).any():
        raise ProtocolError(
            f"no purchase before {cut:%Y-%m-%d}, {days:g} days before the end: judge fewer days, or load more history"
        )
    before = ledger.at(cut)
    found = truth(before, ledger.after(cut, days))
    said = f"learned from what was known on {cut:%Y-%m-%d %H:%M} UTC, judged by the {days:g} days that followed"
    left_out = {"unknown_members": found.unknown_members, "unknown_products_share": found.unknown_products}
    return _split("time", said, before, before, found.bought, "time", _never_again(before), left_out)


def at_random(ledger: Ledger, ends_at: datetime, share: float = 0.25, seed: int = 0) -> Split:
    """Of each member's n products, n − round(n · (1 − share)) are hidden, drawn by lot; all members and products stay.

    Raises:
        ProtocolError: The share is not between 0 and 1, or so small that nothing is hidden.
    """
    if not 0 < share < 1:
        raise ProtocolError(f"share {share:g}: must lie between 0 and 1, for example 0.25")
    return random_of(ledger.at(ends_at), share, seed)


def slice_of(whole: Interactions, days: float) -> Split:
    """The last days of what is known already are hidden, for all who bought something before them."""
    cut = whole.at - timedelta(days=days)
    late = whole.bought_at > cut.timestamp()
    known = np.unique(whole.buys[~late, 0])
    early = replace(with_only(whole, ~late), at=cut)
    rows, columns = whole.buys[late & np.isin(whole.buys[:, 0], known)].T
    bought = sp.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=whole.counts.shape).astype(bool)
    left_out = {"unknown_members": 0.0, "unknown_products_share": 0.0}
    said = f"learned up to {cut:%Y-%m-%d %H:%M} UTC, judged by the {days:g} days that followed"
    return _split("time", said, early, early, bought, "time", _never_again(early), left_out)


def random_of(whole: Interactions, share: float, seed: int) -> Split:
    """`at_random` of what is known already."""
    member, pair = _pairs(whole)
    hidden = _share_of_each(member, share, seed)
    said = (
        f"{share:.0%} of each member's products hidden by lot (seed {seed}), all times known; no decision is made so: "
        "for published tables only"
    )
    return _hiding("random", said, whole, hidden[pair], None, "random", unseen_only=True)


def purchases_of(whole: Interactions, share: float, seed: int) -> Split:
    """Of each member's n purchases as many are hidden as `random_of` hides of products: some were bought before."""
    hidden = _share_of_each(whole.buys[:, 0].astype(np.intp), share, seed)
    said = f"{share:.0%} of each member's purchases hidden by lot (seed {seed}), all times known"
    return _hiding("purchases", said, whole, hidden, None, "purchases", unseen_only=None)


def _share_of_each(member: NDArray[np.intp], share: float, seed: int) -> NDArray[np.bool_]:
    """Of the n rows of each member, n − round(n · (1 − share)) by lot; `member` (n_rows,) is sorted."""
    lot = np.random.default_rng(seed).random(len(member))
    order = np.lexsort((lot, member))
    size = np.bincount(member)
    place = np.empty(len(member), np.intp)
    place[order] = np.arange(len(member)) - np.repeat(np.cumsum(size) - size, size)
    hidden: NDArray[np.bool_] = place < (size - np.rint(size * (1 - share)).astype(np.intp))[member]
    return hidden


def last_basket(ledger: Ledger, ends_at: datetime) -> Split:
    """The last basket of each member who has two or more is hidden; a basket has one time, that of its last line."""
    return last_basket_of(_one_time_for_each_basket(ledger).at(ends_at))


def last_basket_of(whole: Interactions) -> Split:
    """`last_basket` of what is known already, where all lines of a basket have one time."""
    last = _last_times(whole)
    first = np.full(len(whole.member_ids), np.inf)
    np.minimum.at(first, whole.buys[:, 0], whole.bought_at)
    hidden = (whole.bought_at == last[whole.buys[:, 0]]) & (first < last)[whole.buys[:, 0]]
    said = "the last basket of each member who has two or more, asked at its moment; others' later baskets are known"
    return _hiding("last_basket", said, whole, hidden, last, "last_basket", unseen_only=None)


def leave_one_out(ledger: Ledger, ends_at: datetime) -> Split:
    """The product each member bought last is hidden, of members with two or more products."""
    return leave_one_out_of(ledger.at(ends_at))


def leave_one_out_of(whole: Interactions) -> Split:
    """`leave_one_out` of what is known already."""
    member, pair = _pairs(whole)
    order = np.lexsort((whole.buys[:, 1], whole.bought_at, whole.buys[:, 0]))
    ends = np.flatnonzero(np.diff(whole.buys[order, 0], append=-1))
    chosen = np.zeros(len(member), bool)
    chosen[pair[order[ends]]] = True
    chosen &= (np.bincount(member, minlength=len(whole.member_ids)) > 1)[member]
    said = "the product each member bought last, of members with two or more; others' later purchases are known"
    return _hiding("leave_one_out", said, whole, chosen[pair], _last_times(whole), "random", unseen_only=True)


def made_elsewhere(before: Ledger, after: pd.DataFrame, *, timed: bool) -> Split:
    """A split that came as two files.

    Args:
        before: What is learned from; times may all be the same.
        after: Typed purchases that are asked for.
        timed: Whether the times mean anything. If all of `after` is later than all of `before` it is a cut by time; if
            it is so for each member, each is asked at the first moment of what is asked for; else all are asked at the
            end of what is known, and recipes learn by lot: from single purchases held back if the member had bought
            any of what is asked for before, from whole products if not.

    Raises:
        ProtocolError: Nothing is in one of them, or no member and product is in both.
    """
    if before.purchases.empty or after.empty:
        raise ProtocolError("one of the two files has no purchase: both need some")
    ends_at = before.purchases["occurred_at"].max().to_pydatetime()
    learned = before.at(ends_at.astimezone(UTC))
    inner: Inner
    found = truth(learned, after)
    left_out = {"unknown_members": found.unknown_members, "unknown_products_share": found.unknown_products}
    asked = learned
    again = bool(found.bought.multiply(learned.counts > 0).nnz)
    inner, said = "purchases" if again else "random", "not by time: all are asked at the end of what is learned from"
    if not timed:
        said = "without times: all purchases count as made at the same moment"
    elif after["occurred_at"].min() >= before.purchases["occurred_at"].max():
        inner, said = "time", f"by time: learned up to {ends_at:%Y-%m-%d %H:%M} UTC, judged after"
    elif (first := _first_later(learned, after)) is not None:
        asked, inner = _at_own_moment(learned, first), "last_basket"
        said = "each member's latest purchases, asked at the first of them; others' later purchases are known"
    said = f"split made elsewhere, {said}"
    return _split("given", said, learned, asked, found.bought, inner, _never_again(learned), left_out)


def _hiding(
    protocol: str,
    said: str,
    whole: Interactions,
    hidden: NDArray[np.bool_],
    moments: NDArray[np.float64] | None,
    inner: Inner,
    *,
    unseen_only: bool | None,
) -> Split:
    if not hidden.any():
        raise ProtocolError(f"{protocol}: no member has enough purchases to hide one; load more history")
    before = with_only(whole, ~hidden)
    rows, columns = whole.buys[hidden].T
    bought = sp.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=whole.counts.shape).astype(bool)
    asked = before if moments is None else _at_own_moment(before, moments)
    unseen = _never_again(before) if unseen_only is None else unseen_only
    nothing_unknown = {"unknown_members": 0.0, "unknown_products_share": 0.0}
    return _split(protocol, said, before, asked, bought, inner, unseen, nothing_unknown)


def _split(
    protocol: str,
    said: str,
    before: Interactions,
    asked: Interactions,
    bought: sp.csr_matrix,
    inner: Inner,
    unseen_only: bool,
    left_out: Mapping[str, float],
) -> Split:
    if not bought.nnz:
        raise ProtocolError(
            f"{protocol}: no member known before bought a product known before; check the ids, or judge more days"
        )
    counts = {
        "members": len(before.member_ids),
        "products": len(before.product_ids),
        "purchases_before": len(before.buys),
        "pairs_before": before.counts.nnz,
        "members_asked": int((bought.getnnz(axis=1) > 0).sum()),
        "pairs_asked": bought.nnz,
    }
    return Split(protocol, said, before, asked, bought, inner, unseen_only, counts | dict(left_out))


def _never_again(before: Interactions) -> bool:
    """Whether nobody ever bought a product twice, as nobody rates a film twice: then lists hold only new products."""
    return not bool((before.counts.data > 1).any())


def _pairs(whole: Interactions) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The member of each distinct pair of member and product, and the pair of each purchase (they come sorted)."""
    new = np.any(np.diff(whole.buys, axis=0, prepend=-1) != 0, axis=1)
    return whole.buys[new, 0].astype(np.intp), np.cumsum(new) - 1


def _last_times(whole: Interactions) -> NDArray[np.float64]:
    last = np.full(len(whole.member_ids), -np.inf)
    np.maximum.at(last, whole.buys[:, 0], whole.bought_at)
    return last


def _at_own_moment(before: Interactions, moments: NDArray[np.float64]) -> Interactions:
    """The purchases of each member moved so that their own moment (n_members,) falls on `at`; −∞ moves nothing."""
    span = np.where(np.isfinite(moments), before.seconds - moments, 0.0)
    last_at = before.last_at.copy()
    last_at.data = last_at.data + np.repeat(span, np.diff(last_at.indptr))
    return replace(before, last_at=last_at, bought_at=before.bought_at + span[before.buys[:, 0]])


def _first_later(before: Interactions, after: pd.DataFrame) -> NDArray[np.float64] | None:
    """When each member's purchases in `after` begin, (n_members,); None if for anybody that is not the latest."""
    first = after.groupby("member_id")["occurred_at"].min().astype("datetime64[us, UTC]").astype("int64") / 1e6
    moments = np.asarray(first.reindex(before.member_ids, fill_value=-np.inf), np.float64)
    asked = np.isfinite(moments)
    return moments if (moments[asked] >= _last_times(before)[asked]).all() else None


def _one_time_for_each_basket(ledger: Ledger) -> Ledger:
    baskets = ledger.purchases.groupby(["member_id", "basket_id"])
    at = baskets["occurred_at"].transform("max")
    known = ledger.purchases["known_at"].where(ledger.purchases["known_at"] >= at, at)
    return replace(ledger, purchases=ledger.purchases.assign(occurred_at=at, known_at=known))
