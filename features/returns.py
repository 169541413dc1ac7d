"""Which sale a return takes back, where the history does not say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

NEEDS = ("purchase_id", "member_id", "product_id", "unit_price", "quantity", "occurred_at", "reverses")
"""The columns of purchases that `tie` reads."""

_ENOUGH = 1e-9

_FIT = ("member_id", "product_id", "unit_price")
_Fit = tuple[str, str, float]


def tie(purchases: pd.DataFrame) -> pd.DataFrame:
    """Tie returns without `reverses` to the sales they take back.

    A sale fits when member, product and unit price are the same, it is not later than the return, and as much of it is
    left as comes back. Returns choose in the order of time, each the most recent sale that fits. What a return takes,
    named by the history or found here, is no longer left. The answer depends on the set of rows, not on their order.

    Args:
        purchases: At least the columns `NEEDS`; all sales and returns of the members concerned.

    Returns:
        The columns `purchase_id` (of the return) and `reverses` (of the sale), a row for each tie found.
    """
    returns = purchases[(purchases["quantity"] < 0) & purchases["reverses"].isna()]
    returns = returns.sort_values(["occurred_at", "purchase_id"])
    sales = _sales(purchases, returns)
    found: list[tuple[str, str]] = []
    for fit, purchase_id, at, quantity in _rows(returns):
        for sale in sales[fit]:
            if sale.at <= at and sale.left + quantity >= -_ENOUGH:
                sale.left += quantity
                found.append((purchase_id, sale.purchase_id))
                break
    return pd.DataFrame(found, columns=["purchase_id", "reverses"], dtype="object")


@dataclass(slots=True)
class _Sale:
    purchase_id: str
    at: Any
    left: float


def _sales(purchases: pd.DataFrame, returns: pd.DataFrame) -> dict[_Fit, list[_Sale]]:
    """The sales that might fit, by member, product and price, the most recent first, with what is left of each."""
    taken = purchases[purchases["reverses"].notna()].groupby("reverses")["quantity"].sum()
    fits = returns[list(_FIT)].drop_duplicates()
    sales = purchases[purchases["quantity"] > 0].merge(fits, on=list(_FIT))
    sales = sales.sort_values(["occurred_at", "purchase_id"], ascending=False)
    sales = sales.assign(quantity=sales["quantity"] + sales["purchase_id"].map(taken).fillna(0.0))
    by_fit: dict[_Fit, list[_Sale]] = defaultdict(list)
    for fit, purchase_id, at, left in _rows(sales):
        by_fit[fit].append(_Sale(purchase_id, at, left))
    return by_fit


def _rows(purchases: pd.DataFrame) -> Iterator[tuple[_Fit, str, Any, float]]:
    fits = zip(*(purchases[name] for name in _FIT), strict=True)
    return zip(fits, purchases["purchase_id"], purchases["occurred_at"], purchases["quantity"], strict=True)
