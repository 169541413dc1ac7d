"""What the tills and the points system of a block wrote down: purchases, returns, points entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.programme import ledger
from experiments.programme.chance import Flags, Floats, Texts, Whole
from experiments.programme.state import Life
from experiments.programme.typed import Desk, either, heard, numbered, ordinals, same, times, typed, words

_STORES = words(f"S{i:02d}" for i in range(12))
Columns = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class _Baskets:
    """Rows by basket number."""

    ids: Texts
    member: Whole
    lot: Whole
    at: Floats
    known: Floats
    points: Floats


@dataclass(frozen=True, slots=True)
class _Entries:
    """One kind of points entries."""

    type: str
    source: str
    ids: Texts
    member: Whole
    lot: Whole
    points: Floats
    at: Floats
    known: Floats


def till(life: Life, desk: Desk) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The purchases and the points of a block."""
    baskets = _baskets(life, desk)
    sales = _sales(life, desk, baskets)
    back = life.log.columns("line", "back_at")[0]
    gone = back < desk.days
    back, basket = back[gone], life.log.wholes("line", "basket")[0][gone]
    # Nobody hears of a return before its sale.
    heard_back = np.maximum(heard(desk, back, life.world.late_share), baskets.known[basket])
    returns = _returned(sales, gone)
    sold_at, sold_known = (values[life.log.wholes("line", "basket")[0]] for values in (baskets.at, baskets.known))
    purchases = typed(
        "purchases",
        desk,
        np.concatenate([sold_at, back]),
        np.concatenate([sold_known, heard_back]),
        **{name: np.concatenate([sales[name], returns[name]]) for name in sales},
    )
    entries = [
        _earned(baskets),
        _redeemed(life, baskets),
        _expired(life),
        _reversed(life, baskets, returns, gone, back, heard_back),
    ]
    return purchases, _points(life, desk, entries)


def _baskets(life: Life, desk: Desk) -> _Baskets:
    member, lot = life.log.wholes("basket", "member", "lot")
    at, points = life.log.columns("basket", "at", "points")
    # Lots open one by one with a member's baskets, so both share one ordinal.
    ids = numbered(life.shelf.truth.member_ids, member, "-B", lot)
    return _Baskets(ids, member, lot, at, heard(desk, at, life.world.late_share), points)


def _sales(life: Life, desk: Desk, baskets: _Baskets) -> Columns:
    which, member, product, arm = life.log.wholes("line", "basket", "member", "product", "arm")
    quantity, discount = life.log.columns("line", "quantity", "discount")
    truth, shop = life.shelf.truth, life.shelf.shop
    price = shop.price[product]
    store = desk.rng.integers(len(_STORES), size=len(truth.member_ids))[member]
    online = desk.rng.random(len(baskets.ids))[which] < 0.2
    ids = zip(baskets.ids[which].tolist(), ordinals(which).tolist(), strict=True)
    return {
        "purchase_id": words(f"{basket}-{i}" for basket, i in ids),
        "basket_id": baskets.ids[which],
        "member_id": truth.member_ids[member],
        "product_id": shop.product_ids[product],
        "quantity": quantity,
        "unit_price": price,
        "discount": discount,
        "amount": np.round(quantity * price - discount, 2),
        "store_id": either(online, None, _STORES[store]),
        "channel": either(online, "web", "till"),
        "offer_id": words([*(arm.offer_id for arm in life.world.arms), None])[arm],
        "reverses": same(None, len(which)),
    }


def _returned(sales: Columns, gone: Flags) -> Columns:
    """The same lines brought back: what was paid is paid back, so the discount has gone into the unit price."""
    back = {name: values[gone] for name, values in sales.items()}
    size, ids, baskets = int(gone.sum()), back["purchase_id"], back["basket_id"]
    quantity, amount = back["quantity"].astype(np.float64), back["amount"].astype(np.float64)
    price = np.round(amount / quantity, 4)
    return back | {
        "purchase_id": words(f"{i}R" for i in ids.tolist()),
        "basket_id": words(f"{b}R" for b in baskets.tolist()),
        "quantity": -quantity,
        "unit_price": price,
        "discount": np.zeros(size),
        "amount": -quantity * price,
        "offer_id": same(None, size),
        "reverses": ids,
    }


def _earned(baskets: _Baskets) -> _Entries:
    some = baskets.points > 0
    ids = words(f"{i}-E" for i in baskets.ids[some])
    member, lot, points = baskets.member[some], baskets.lot[some], baskets.points[some]
    return _Entries("earn", "purchase", ids, member, lot, points, baskets.at[some], baskets.known[some])


def _redeemed(life: Life, baskets: _Baskets) -> _Entries:
    which, lot, taken = ledger.splits(life.book)
    member, basket = (values[which] for values in life.book.log.wholes("redeem", "member", "basket"))
    names = zip(numbered(life.shelf.truth.member_ids, member, "-B", lot), baskets.lot[basket].tolist(), strict=True)
    ids = words(f"{name}-U{at:04d}" for name, at in names)
    return _Entries("redeem", "voucher", ids, member, lot, -taken, baskets.at[basket], baskets.known[basket])


def _expired(life: Life) -> _Entries:
    member, lot = life.book.log.wholes("expire", "member", "lot")
    points, at = life.book.log.columns("expire", "points", "at")
    ids = numbered(life.shelf.truth.member_ids, member, "-B", lot)
    return _Entries("expire", "rule", words(f"{i}-X" for i in ids), member, lot, -points, at, at)


def _reversed(life: Life, baskets: _Baskets, returns: Columns, gone: Flags, at: Floats, known: Floats) -> _Entries:
    points = life.log.columns("line", "back_points")[0][gone]
    some = points > 0
    basket = life.log.wholes("line", "basket")[0][gone][some]
    ids = words(f"{i}-V" for i in returns["purchase_id"][some].tolist())
    return _Entries(
        "reverse", "return", ids, baskets.member[basket], baskets.lot[basket], -points[some], at[some], known[some]
    )


def _points(life: Life, desk: Desk, entries: list[_Entries]) -> pd.DataFrame:
    member = np.concatenate([e.member for e in entries])
    lot = np.concatenate([e.lot for e in entries])
    ids = life.shelf.truth.member_ids
    return typed(
        "points",
        desk,
        np.concatenate([e.at for e in entries]),
        np.concatenate([e.known for e in entries]),
        entry_id=np.concatenate([e.ids for e in entries]),
        member_id=ids[member],
        type=np.concatenate([same(e.type, len(e.ids)) for e in entries]),
        points=np.concatenate([e.points for e in entries]),
        lot_id=numbered(ids, member, "-B", lot),
        expires_at=times(desk, life.book.time[member, lot] + life.book.expiry_days),
        source=np.concatenate([same(e.source, len(e.ids)) for e in entries]),
    )
