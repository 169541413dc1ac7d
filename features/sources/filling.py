"""What a team's file does not say, or says in its own way: filled in by a declared rule, each counted in rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from features.entities import Programme
from features.sources.loaded import content_ids
from features.tables import MEMBERS, Table

RULES = {
    "KNOWN_AT_ASSUMED": "no known_at: taken as known when it happened",
    "ID_DERIVED": "no id of its own: made from the content of the row",
    "EQUAL_ROWS": "alike in all columns and without an id: counted once (`equal_rows: each` in map.yaml keeps each)",
    "AMOUNT_COMPUTED": "no amount: quantity · unit_price - discount",
    "PRICE_COMPUTED": "an amount without a price: unit_price is (amount + discount) / quantity",
    "DISCOUNT_ZERO": "no discount: taken as 0",
    "MARGIN_COMPUTED": "unit_cost instead of unit_margin: unit_price - unit_cost",
    "MARGIN_ASSUMED": "no unit_margin: the programme's default share of the price",
    "NO_CONSENT": "a consent is not said: taken as not given",
    "SINCE_ASSUMED": "no occurred_at: members from their enrolment on, other lists from 2000-01-01 on",
}
"""What is filled in where a file does not say it; counted in rows."""

UNIT_COST = "unit_cost"
"""A column that a file of products may have instead of `unit_margin`."""
SINCE = pd.Timestamp("2000-01-01", tz="UTC")
_IDS = ("purchase_id", "entry_id", "engagement_id", "event_id", "outcome_id")
_LISTS = ("households", "products", "offers")
_CONSENTS = tuple(column.name for column in MEMBERS.columns if column.name.startswith("consent_"))


def fill(
    frame: pd.DataFrame, table: Table, programme: Programme, *, each_row: bool
) -> tuple[pd.DataFrame, Counter[str]]:
    """Fill in what follows from what is there, or is assumed where nothing is said.

    Args:
        frame: Texts as read, columns renamed to ours.
        table: Which table it is.
        programme: Its default margin rate applies.
        each_row: Rows that are alike and have no id of their own are each a fact; else they are one.

    Returns:
        The frame, and how many rows each rule of `RULES` concerned.
    """
    counts: Counter[str] = Counter()
    said = frame
    for step in _STEPS.get(table.name, ()):
        frame = step(frame, programme, counts)
    frame = _times(frame, table, counts)
    return _with_id(frame, said, table, counts, each_row=each_row), counts


def _content(frame: pd.DataFrame, table: Table) -> list[str]:
    """The columns that say what a row is: ours, but for when it became known, which may change with each delivery."""
    return sorted(c.name for c in table.columns if c.name in frame and c.name != "known_at")


def _number(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column as numbers, missing where it is absent or holds something else."""
    if name not in frame:
        return pd.Series(np.nan, index=frame.index)
    return pd.to_numeric(frame[name], errors="coerce").astype("float64")


def _absent(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in frame:
        return pd.Series(data=True, index=frame.index)
    values = frame[name]
    return values.isna() | (values.astype("string").str.strip() == "").fillna(value=False)


def _put(frame: pd.DataFrame, name: str, where: pd.Series[Any], values: Any) -> pd.DataFrame:
    """The values in a column where a condition holds, what was there elsewhere."""
    there = frame[name].astype("object") if name in frame else pd.Series(None, index=frame.index, dtype="object")
    return frame.assign(**{name: there.where(~where, values)})


def _margin_from_cost(frame: pd.DataFrame, _: Programme, counts: Counter[str]) -> pd.DataFrame:
    margin = (_number(frame, "unit_price") - _number(frame, UNIT_COST)).round(6)
    where = _absent(frame, "unit_margin") & margin.notna()
    counts["MARGIN_COMPUTED"] += int(where.sum())
    return _put(frame, "unit_margin", where, margin) if where.any() else frame


def _margin_assumed(frame: pd.DataFrame, programme: Programme, counts: Counter[str]) -> pd.DataFrame:
    if "unit_price" not in frame:
        return frame
    where = _absent(frame, "unit_margin")
    counts["MARGIN_ASSUMED"] += int(where.sum())
    if "margin_basis" not in frame:
        frame = frame.assign(margin_basis="given")
    frame = _put(frame, "margin_basis", where, "assumed")
    return _put(frame, "unit_margin", where, (_number(frame, "unit_price") * programme.default_margin_rate).round(6))


def _discount(frame: pd.DataFrame, _: Programme, counts: Counter[str]) -> pd.DataFrame:
    where = _absent(frame, "discount")
    counts["DISCOUNT_ZERO"] += int(where.sum())
    return _put(frame, "discount", where, 0.0)


def _price(frame: pd.DataFrame, _: Programme, counts: Counter[str]) -> pd.DataFrame:
    """A file of amounts alone (a basket a row, say): one unit each, taken back where the amount is negative."""
    if "amount" not in frame or "unit_price" in frame:
        return frame
    amount = _number(frame, "amount")
    if "quantity" not in frame:
        frame = frame.assign(quantity=np.where(amount < 0, -1.0, 1.0))
    price = ((amount + _number(frame, "discount")) / _number(frame, "quantity")).round(6)
    counts["PRICE_COMPUTED"] += len(frame)
    return frame.assign(unit_price=price.where(np.isfinite(price)))


def _amount(frame: pd.DataFrame, _: Programme, counts: Counter[str]) -> pd.DataFrame:
    if not {"quantity", "unit_price"} <= set(frame.columns):
        return frame
    where = _absent(frame, "amount")
    counts["AMOUNT_COMPUTED"] += int(where.sum())
    amount = _number(frame, "quantity") * _number(frame, "unit_price") - _number(frame, "discount")
    return _put(frame, "amount", where, amount.round(6)) if where.any() else frame


def _consents(frame: pd.DataFrame, _: Programme, counts: Counter[str]) -> pd.DataFrame:
    unsaid = pd.DataFrame({name: _absent(frame, name) for name in _CONSENTS})
    counts["NO_CONSENT"] += int(unsaid.any(axis=1).sum())
    for name in _CONSENTS:
        frame = _put(frame, name, unsaid[name], values=False)
    return frame


def _times(frame: pd.DataFrame, table: Table, counts: Counter[str]) -> pd.DataFrame:
    if "occurred_at" not in frame and (table.name in _LISTS or "enrolled_at" in frame):
        frame = frame.assign(occurred_at=frame.get("enrolled_at", SINCE))
        counts["SINCE_ASSUMED"] += len(frame)
    if "known_at" not in frame and "occurred_at" in frame:
        frame = frame.assign(known_at=frame["occurred_at"])
        counts["KNOWN_AT_ASSUMED"] += len(frame)
    return frame


def _with_id(
    frame: pd.DataFrame, said: pd.DataFrame, table: Table, counts: Counter[str], *, each_row: bool
) -> pd.DataFrame:
    """The frame with ids made from what the file itself said, where it has none."""
    key = table.key[0]
    if key not in _IDS or key in frame or "member_id" not in frame:
        return frame
    content = _content(said, table)
    ids = content_ids(said[content].astype("string"), ["member_id"], content)
    copy = ids.groupby(ids).cumcount()
    counts["ID_DERIVED"] += len(frame)
    if each_row:
        ids = ids.where(copy == 0, ids + "-" + (copy + 1).astype(str))
    else:
        counts["EQUAL_ROWS"] += int((copy > 0).sum())
    return frame.assign(**{key: ids})


_STEPS: dict[str, tuple[Callable[[pd.DataFrame, Programme, Counter[str]], pd.DataFrame], ...]] = {
    "products": (_margin_from_cost, _margin_assumed),
    "purchases": (_discount, _price, _amount),
    "members": (_consents,),
}
