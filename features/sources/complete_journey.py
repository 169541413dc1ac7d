"""dunnhumby "The Complete Journey": a grocer's loyalty programme with campaigns, coupons and redemptions.

A household holds one card, so it is one member. Days are counted; day 1 is 2016-03-23, which is what the dates of the
R edition (bradleyboehmke/completejourney) and the day numbers of the original agree on for 23 of 27 campaigns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from features import border, returns
from features.border import BorderError
from features.entities import Programme
from features.sources import files
from features.sources.journey_campaigns import Campaigns, catalogue_entries, offer_events, offers, read_campaigns
from features.sources.journey_days import noon, start_of_day
from features.sources.loaded import (
    Loaded,
    all_rejected,
    content_ids,
    members_seen,
    products_seen,
    rule_counts,
    typed,
)
from features.tables import HOUSEHOLDS, Column, Table

DESCRIPTION = (
    "dunnhumby The Complete Journey: the folder with transaction_data.csv (or transactions_no_discount_baskets), "
    "product.csv, and where they are there campaign_desc, campaign_table, coupon, coupon_redempt, hh_demographic"
)

RULES = {
    "DUPLICATE": "the same line once more, alike in every column: one is kept",
    "ZERO_QUANTITY": "nothing was bought (QUANTITY 0): set aside",
    "ZERO_PRICE": "the shelf price is zero or less: set aside",
    "UNKNOWN_PRODUCT": "the product file does not say what the product is: kept, in the category `unknown`",
    "VOLUME": "QUANTITY counts a volume (100 or more, as fuel does): taken as one purchase of the same amount",
    "TIME_UNKNOWN": "the line has a day and no time of day: noon is taken",
}
"""What is done about each kind of dirt; a line is set aside by the first rule that it meets, in this order."""

_FULL = ("transaction_data.parquet", "transaction_data.csv", "transaction_data.csv.zip")
_PARTIAL = tuple(f"transactions_no_discount_baskets.{kind}" for kind in ("parquet", "csv", "csv.zip"))
_PRODUCT = ("product.parquet", "product.csv", "product.csv.zip")
_DEMOGRAPHIC = ("hh_demographic.parquet", "hh_demographic.csv", "hh_demographic.csv.zip")
_SET_ASIDE_BY = {"DUPLICATE": "BASKET_ID", "ZERO_QUANTITY": "QUANTITY", "ZERO_PRICE": "SALES_VALUE"}
_VOLUME_FROM = 100
_LAST_DAY = 5000

_LINES = Table(
    "transactions",
    ("row",),
    (
        Column("row", "whole"),
        Column("household_key", "text"),
        Column("BASKET_ID", "text"),
        Column("DAY", "whole", at_least=1, at_most=_LAST_DAY),
        Column("PRODUCT_ID", "text"),
        Column("QUANTITY", "number", at_least=0.0),
        Column("SALES_VALUE", "money"),
        Column("STORE_ID", "text", required=False),
        Column("RETAIL_DISC", "money"),
        Column("TRANS_TIME", "whole", required=False, at_least=0, at_most=2359),
        Column("COUPON_DISC", "money"),
        Column("COUPON_MATCH_DISC", "money"),
    ),
)
_CONTENT = [column.name for column in _LINES.columns if column.name != "row"]


def load(path: Path, programme: Programme, mapping: Path | None = None) -> Loaded:
    """Read purchases, products, households, campaigns and redemptions.

    The full `transaction_data` is used where it is there; else the file of all lines of the baskets without discount.
    That file covers the whole time evenly; the published sample of lines (R edition) covers days 285 to 650 only, with
    about one line of each basket, and mixing it in would make members seem to come more and then to stay away.

    Args:
        path: The folder of the files.
        programme: Its time zone (the source names none) and its default margin rate apply.
        mapping: Not used by this source.

    Raises:
        BorderError: A file is missing, unreadable, or not of this layout; or a map is given.
    """
    if mapping is not None:
        raise BorderError(f"{mapping.name}: complete_journey has a fixed layout; for a map use `--source folder`.")
    lines, broken, used = _read_lines(path)
    kept, aside = _clean(lines, used)
    volume = kept["QUANTITY"] >= _VOLUME_FROM
    kept = kept.assign(QUANTITY=kept["QUANTITY"].mask(volume, 1.0), occurred_at=_times(kept, programme.timezone))
    purchases = _purchases(kept)
    sold = _sold(path, purchases)
    campaigns = read_campaigns(path, programme.timezone)
    rejected = all_rejected([broken, aside, *campaigns.rejected])
    found = {
        "VOLUME": int(volume.sum()),
        "TIME_UNKNOWN": int(kept["TRANS_TIME"].isna().sum()),
        "UNKNOWN_PRODUCT": int((sold["category"] == "unknown").sum()),
    }
    return Loaded(
        tables={
            "members": _members(purchases, campaigns, programme.timezone),
            "households": _households(path, programme.timezone),
            "products": products_seen(sold, programme),
            "purchases": purchases,
            "offers": offers(campaigns),
            "offer_events": offer_events(campaigns),
        },
        rejected=rejected,
        counts=dict.fromkeys(RULES, 0) | rule_counts(rejected) | found | _tied(purchases),
        rules={**border.RULES, **RULES, **campaigns.rules},
        notes=_notes(used, programme),
        catalog_offers=catalogue_entries(campaigns),
    )


def _read_lines(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The typed lines, the rejected ones, and which file they are from."""
    file = files.find(path, (*_FULL, *_PARTIAL), "transactions of The Complete Journey")
    frame = _upper(files.read(file))
    wanted = [c.name for c in _LINES.columns if c.required and c.name != "row"]
    border.require_columns(list(frame.columns), wanted, file.name, "Give the file as dunnhumby publishes it.")
    lines, rejected = border.check(frame.assign(row=range(len(frame))), _LINES, file=file.name)
    return lines, rejected, file.name


def _upper(frame: pd.DataFrame) -> pd.DataFrame:
    """Column names as published: in capitals, but for the household's."""
    return frame.rename(columns=lambda name: "household_key" if name.lower() == "household_key" else name.upper())


def _clean(lines: pd.DataFrame, file: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines that are purchases, and the rejected ones."""
    lines = lines.assign(discount=_discount(lines))
    met = {
        "DUPLICATE": lines.duplicated(_CONTENT),
        "ZERO_QUANTITY": lines["QUANTITY"] == 0,
        "ZERO_PRICE": lines["SALES_VALUE"] + lines["discount"] <= 0,
    }
    aside, left = [], pd.Series(data=True, index=lines.index)
    for code, meets in met.items():
        rows = lines[left & meets].set_index("row")
        aside.append(border.reject(file, rows, _SET_ASIDE_BY[code], code))
        left &= ~meets
    return lines[left], all_rejected(aside)


def _discount(lines: pd.DataFrame) -> pd.Series[Any]:
    """What the shop gave off the shelf price, as money ≥ 0; the source writes it as a negative amount.

    A manufacturer's coupon (COUPON_DISC) is not in it: the shop is paid that part by the manufacturer.
    """
    return (-(lines["RETAIL_DISC"] + lines["COUPON_MATCH_DISC"])).clip(lower=0.0) + 0.0  # never -0.0


def _times(lines: pd.DataFrame, timezone: str) -> pd.Series[Any]:
    clock = lines["TRANS_TIME"].astype("Float64")
    hours = (clock // 100 + (clock % 100) / 60).fillna(12.0).astype("float64")
    return start_of_day(lines["DAY"], timezone) + pd.to_timedelta((hours * 60).round(), unit="min")


def _purchases(lines: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "purchase_id": content_ids(lines, ["BASKET_ID", "PRODUCT_ID"], _CONTENT),
            "basket_id": lines["BASKET_ID"],
            "member_id": lines["household_key"],
            "product_id": lines["PRODUCT_ID"],
            "quantity": lines["QUANTITY"],
            "unit_price": ((lines["SALES_VALUE"] + lines["discount"]) / lines["QUANTITY"]).round(6),
            "discount": lines["discount"].round(6),
            "amount": lines["SALES_VALUE"].round(6),
            "store_id": lines["STORE_ID"],
            "channel": "till",
            "occurred_at": lines["occurred_at"],
            "known_at": lines["occurred_at"],
        }
    )
    return typed("purchases", rows)


def _sold(path: Path, purchases: pd.DataFrame) -> pd.DataFrame:
    """What was sold, with what the product file says about it."""
    file = files.find(path, _PRODUCT, "the products of The Complete Journey")
    frame = _upper(files.read(file))
    wanted = ("PRODUCT_ID", "DEPARTMENT", "BRAND", "COMMODITY_DESC", "SUB_COMMODITY_DESC", "CURR_SIZE_OF_PRODUCT")
    border.require_columns(list(frame.columns), wanted, file.name, "Give the file as dunnhumby publishes it.")
    words = {name: _words(frame[name]) for name in wanted}
    known = pd.DataFrame(
        {
            "product_id": words["PRODUCT_ID"],
            "category": words["COMMODITY_DESC"].fillna(words["DEPARTMENT"]).str.lower(),
            "name": words["SUB_COMMODITY_DESC"].str.cat(words["CURR_SIZE_OF_PRODUCT"].fillna(""), sep=" ").str.strip(),
            "brand": words["BRAND"],
        }
    ).drop_duplicates("product_id")
    sold = purchases[["product_id", "unit_price", "occurred_at"]].merge(known, on="product_id", how="left")
    return sold.assign(category=sold["category"].fillna("unknown"))


def _words(values: pd.Series[Any]) -> pd.Series[Any]:
    """Texts, missing where the source writes that it knows nothing."""
    text = values.astype("string").str.strip()
    return text.mask((text == "") | text.str.contains("DESCRIPTION", na=False, regex=False))


def _members(purchases: pd.DataFrame, campaigns: Campaigns, timezone: str) -> pd.DataFrame:
    facts = pd.concat([purchases[["member_id", "occurred_at"]], campaigns.sent[["member_id", "occurred_at"]]])
    first = facts.groupby("member_id")["occurred_at"].min().reset_index()
    return members_seen(first.assign(household_id=first["member_id"]), _since(timezone), consent=True)


def _households(path: Path, timezone: str) -> pd.DataFrame:
    file = files.look_for(path, _DEMOGRAPHIC) if path.is_dir() else None
    if file is None:
        return border.empty(HOUSEHOLDS)
    frame = _upper(files.read(file))
    wanted = ("household_key", "INCOME_DESC", "HOUSEHOLD_SIZE_DESC", "HH_COMP_DESC")
    border.require_columns(list(frame.columns), wanted, file.name, "Give the file as dunnhumby publishes it.")
    size = frame["HOUSEHOLD_SIZE_DESC"].astype("string").str.extract(r"(\d+)", expand=False)
    rows = pd.DataFrame(
        {
            "household_id": frame["household_key"],
            "size": pd.to_numeric(size),
            "income_band": frame["INCOME_DESC"],
            "composition": frame["HH_COMP_DESC"],
            "occurred_at": _since(timezone),
            "known_at": _since(timezone),
        }
    )
    return typed("households", rows)


def _since(timezone: str) -> pd.Timestamp:
    return pd.Timestamp(noon(pd.Series([0]), timezone).iloc[0])


def _tied(purchases: pd.DataFrame) -> dict[str, int]:
    negative = int((purchases["quantity"] < 0).sum())
    return {"RETURN_ALONE": negative - len(returns.tie(purchases))} if negative else {}


def _notes(used: str, programme: Programme) -> tuple[str, ...]:
    partial = () if used in _FULL else (f"Purchases: {used}, all lines of the baskets without any discount; not all.",)
    return (
        *partial,
        "Consents: the source has none; all are assumed given, so that a demonstration can run. Do not do this live.",
        "Members: one for each household, enrolled with its first purchase or campaign.",
        f"Times: day 1 is 2016-03-23, in {programme.timezone}; known_at is occurred_at, for nothing else is said.",
        "Households: demographics (801 of 2,500) are taken as known from the beginning.",
        f"Margins: assumed, {programme.default_margin_rate:.0%} of the shelf price at the product's first sale.",
        "Products: those that were sold, in the category of their commodity, else of their department.",
        "Offers: campaigns; a coupon's value is not in the source, 1.00 is assumed (the median of the R edition's).",
        "Campaigns were not sent at random: what their receivers did is no measure of what a campaign caused.",
    )
