"""UCI "Online Retail" (id 352; Chen, Sain, Guo 2012): the invoice lines of a British gift shop, and their dirt.

It has purchases only: tiers and points follow from the programme's rules, and there are no offers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features import border, returns
from features.border import BorderError
from features.entities import Programme
from features.sources import files
from features.sources.gift_words import category
from features.sources.loaded import Loaded, all_rejected, content_ids, members_seen, products_seen, rule_counts, typed
from features.tables import Column, Table

DESCRIPTION = (
    "UCI Online Retail: the folder with (or the path of) `Online Retail.xlsx`, or a CSV or Parquet file with the same "
    "columns; several such files in one folder are one history"
)

RULES = {
    "DUPLICATE": "the same line once more, alike in every column: one is kept",
    "NOT_A_PRODUCT": "postage, bank charges, manual entries, samples, discounts, commissions, vouchers: set aside",
    "NEGATIVE_PRICE": "the price is below zero: set aside",
    "ZERO_PRICE": "the price is zero (a gift, a correction): set aside",
    "WRONG_SIGN": "a sale of nothing or less (a stock correction), or a cancellation of more than nothing: set aside",
    "NO_MEMBER": "no customer number: not a member, set aside",
    "RETURN_TIED": "a cancellation (invoice C...) whose sale was found: a return that names its sale",
    "RETURN_ALONE": "a cancellation whose sale is not in the history: kept as a return that names no sale",
    "CODE_CASE": "a stock code in lower case: taken as the same code in upper case",
}
"""What is done about each kind of dirt; a line is set aside by the first rule that it meets, in this order."""

_LINES = Table(
    "invoice lines",
    ("row",),
    (
        Column("row", "whole"),
        Column("InvoiceNo", "text"),
        Column("StockCode", "text"),
        Column("Description", "text", required=False),
        Column("Quantity", "number"),
        Column("InvoiceDate", "time"),
        Column("UnitPrice", "money"),
        Column("CustomerID", "text", required=False),
        Column("Country", "text", required=False),
    ),
)
_CONTENT = [column.name for column in _LINES.columns if column.name != "row"]
_OTHER_NAMES = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
_ENCODINGS = ("utf-8-sig", "cp1252")
_TIMEZONE = "Europe/London"
_SINCE = pd.Timestamp("2009-12-01", tz="UTC")
_FILE = re.compile(r".*\.(csv|csv\.zip|xlsx|parquet)", re.IGNORECASE)
_TIME_FORMATS = ("ISO8601", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M")
_PRODUCT = r"(?:\d{5}|DCGS).*"
_SET_ASIDE_BY = {
    "DUPLICATE": "InvoiceNo",
    "NOT_A_PRODUCT": "StockCode",
    "NEGATIVE_PRICE": "UnitPrice",
    "ZERO_PRICE": "UnitPrice",
    "WRONG_SIGN": "Quantity",
    "NO_MEMBER": "CustomerID",
}


def load(path: Path, programme: Programme, mapping: Path | None = None) -> Loaded:
    """Read the history and clean it; every kind of dirt has its rule in `RULES`.

    Args:
        path: The file, or the folder that holds it.
        programme: Its default margin rate applies, for the source has no margins.
        mapping: Not used by this source.

    Raises:
        BorderError: A file is missing, unreadable, or not of this layout; or a map is given.
    """
    if mapping is not None:
        raise BorderError(f"{mapping.name}: online_retail has a fixed layout; for a map use `--source folder`.")
    parts = [_read(file) for file in _files(path)]
    lines = pd.concat([part[0] for part in parts], ignore_index=True)
    broken = all_rejected([part[1] for part in parts])
    code = lines["StockCode"].str.upper()
    lower = int((code != lines["StockCode"]).sum())
    kept, aside = _clean(lines.assign(StockCode=code))
    purchases = _purchases(kept)
    rejected = all_rejected([broken, aside])
    counts = dict.fromkeys(RULES, 0) | rule_counts(rejected) | {"CODE_CASE": lower} | _tied(purchases)
    return Loaded(
        tables={
            "members": members_seen(_facts_of_members(kept), _SINCE, consent=True),
            "products": products_seen(_facts_of_products(kept), programme),
            "purchases": purchases,
        },
        rejected=rejected,
        counts=counts,
        rules={**border.RULES, **RULES},
        notes=_notes(programme),
    )


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise BorderError(f"{path}: no such file or folder; check the path.")
    found = [path] if path.is_file() else sorted(p for p in path.iterdir() if _FILE.fullmatch(p.name))
    if not found:
        raise BorderError(f"{path.name}: no .xlsx, .csv or .parquet file in it; give the folder of Online Retail.")
    return found


def _read(file: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The typed lines of a file with the column `file`, and the rejected ones."""
    frame = files.read(file, files.TextFormat(encodings=_ENCODINGS)).rename(columns=_OTHER_NAMES)
    border.require_columns(list(frame.columns), _CONTENT, file.name, "Give the file as UCI publishes it (id 352).")
    frame = frame[_CONTENT].assign(
        row=np.arange(len(frame)),
        InvoiceDate=_read_times(frame["InvoiceDate"], file.name),
        CustomerID=frame["CustomerID"].astype("object").astype("string").str.removesuffix(".0"),
    )
    lines, rejected = border.check(frame, _LINES, file=file.name, timezone=_TIMEZONE)
    return lines.assign(file=file.name), rejected


def _read_times(given: pd.Series[Any], file: str) -> pd.Series[Any]:
    """Texts read in the format that fits most of them; those that do not fit stay as they are."""
    if pd.api.types.is_datetime64_any_dtype(given.dtype):
        return given
    tried = [pd.to_datetime(given, format=form, errors="coerce") for form in _TIME_FORMATS]
    best = max(tried, key=lambda times: int(times.notna().sum()))
    for times in tried:
        if times.notna().sum() == best.notna().sum() > 0 and not times.equals(best):
            raise BorderError(
                f"{file}: InvoiceDate such as {given[best.notna()].iloc[0]} can be read with the day or the month "
                "first, and no line decides it. Write dates as YYYY-MM-DD HH:MM."
            )
    return best if best.notna().all() else best.astype("object").where(best.notna(), given)


def _clean(lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines that are purchases of members, and the rejected ones."""
    rule = pd.Series(_first_rule(lines), index=lines.index)
    aside = [
        border.reject(str(file), rows.set_index("row"), _SET_ASIDE_BY[str(code)], str(code))
        for (file, code), rows in lines[rule != ""].groupby(["file", rule[rule != ""]], sort=True)
    ]
    return lines[rule == ""], all_rejected(aside)


def _first_rule(lines: pd.DataFrame) -> Any:
    cancelled = lines["InvoiceNo"].str.upper().str.startswith("C")
    voucher = lines["Description"].str.upper().str.contains("GIFT VOUCHER", na=False, regex=False)
    met = {
        "DUPLICATE": lines.duplicated(_CONTENT),
        "NOT_A_PRODUCT": ~lines["StockCode"].str.fullmatch(_PRODUCT) | voucher,
        "NEGATIVE_PRICE": lines["UnitPrice"] < 0,
        "ZERO_PRICE": lines["UnitPrice"] == 0,
        "WRONG_SIGN": (lines["Quantity"] * np.where(cancelled, -1, 1)) <= 0,
        "NO_MEMBER": lines["CustomerID"].isna(),
    }
    return np.select(list(met.values()), list(met), default="")


def _purchases(lines: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "purchase_id": content_ids(lines, ["InvoiceNo", "StockCode"], _CONTENT),
            "basket_id": lines["InvoiceNo"],
            "member_id": lines["CustomerID"],
            "product_id": lines["StockCode"],
            "quantity": lines["Quantity"],
            "unit_price": lines["UnitPrice"],
            "discount": 0.0,
            "amount": (lines["Quantity"] * lines["UnitPrice"]).round(6),
            "channel": "web",
            "occurred_at": lines["InvoiceDate"],
            "known_at": lines["InvoiceDate"],
        }
    )
    return typed("purchases", rows)


def _tied(purchases: pd.DataFrame) -> dict[str, int]:
    """How many returns find their sale. The tie itself is made when the history is merged, over all of it."""
    tied = len(returns.tie(purchases))
    return {"RETURN_TIED": tied, "RETURN_ALONE": int((purchases["quantity"] < 0).sum()) - tied}


def _facts_of_members(lines: pd.DataFrame) -> pd.DataFrame:
    facts = {"CustomerID": "member_id", "InvoiceDate": "occurred_at", "Country": "region"}
    return lines[list(facts)].rename(columns=facts)


def _facts_of_products(lines: pd.DataFrame) -> pd.DataFrame:
    facts = {"StockCode": "product_id", "InvoiceDate": "occurred_at", "UnitPrice": "unit_price", "Description": "name"}
    rows = lines[list(facts)].rename(columns=facts)
    known = {name: category(name) for name in rows["name"].dropna().unique()}
    return rows.assign(category=rows["name"].map(known).fillna("other"))


def _notes(programme: Programme) -> tuple[str, ...]:
    return (
        "Consents: the source has none; all are assumed given, so that a demonstration can run. Do not do this live.",
        "Members: enrolled with their first line; the region is the country of that line.",
        f"Margins: assumed, {programme.default_margin_rate:.0%} of the price at the product's first sale.",
        "Categories: derived from words of the description; the source has none.",
        f"Times: the source writes local time ({_TIMEZONE}); known_at is occurred_at, for it says nothing else.",
        "Tiers and points: by the programme's rules from the purchases; offers: none, so decisions rest on priors.",
    )
