"""The campaigns of The Complete Journey: offers, to whom they went, and what was redeemed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from features import border
from features.sources import files
from features.sources.journey_days import noon, start_of_day
from features.sources.loaded import typed
from features.tables import Column, Table

COUPON_VALUE = 1.0
"""What a coupon is assumed to be worth: the median of COUPON_DISC, where it is above zero, in the R edition's lines."""

OFFER_TYPE = "discount_amount"

_KINDS = ("parquet", "csv", "csv.zip")
_MAIN_SHARE = 0.5
_RULES = {"UNKNOWN_CAMPAIGN": "the campaign is not in campaign_desc: set aside"}

_CAMPAIGN = Table(
    "campaign_desc",
    ("CAMPAIGN",),
    (
        Column("CAMPAIGN", "text"),
        Column("DESCRIPTION", "text"),
        Column("START_DAY", "whole", at_least=1),
        Column("END_DAY", "whole", at_least=1),
    ),
)
_SENT = Table("campaign_table", ("CAMPAIGN",), (Column("CAMPAIGN", "text"), Column("household_key", "text")))
_REDEEMED = Table(
    "coupon_redempt",
    ("CAMPAIGN",),
    (
        Column("CAMPAIGN", "text"),
        Column("household_key", "text"),
        Column("DAY", "whole", at_least=1),
        Column("COUPON_UPC", "text"),
    ),
)
_COUPON = Table("coupon", ("CAMPAIGN",), (Column("CAMPAIGN", "text"), Column("PRODUCT_ID", "text")))


@dataclass(frozen=True, slots=True)
class Campaigns:
    """What the source knows of its campaigns; all frames are empty where their file is absent."""

    described: pd.DataFrame
    """`offer_id, kind, starts, ends, category` (the department most coupons are for, where it has half of them)."""
    sent: pd.DataFrame
    """`offer_id, member_id, occurred_at`: at noon of the campaign's first day."""
    redeemed: pd.DataFrame
    """`offer_id, member_id, coupon, day, occurred_at`."""
    rejected: tuple[pd.DataFrame, ...]
    rules: Mapping[str, str]


def read_campaigns(folder: Path, timezone: str) -> Campaigns:
    """Read campaign_desc, campaign_table, coupon and coupon_redempt, as far as they are in the folder."""
    described, broken = _read(folder, _CAMPAIGN)
    described = described.drop_duplicates("CAMPAIGN")
    sent, sent_broken = _read(folder, _SENT)
    redeemed, redeemed_broken = _read(folder, _REDEEMED)
    sent, sent_aside = _of_known(sent, described, "campaign_table")
    redeemed, redeemed_aside = _of_known(redeemed, described, "coupon_redempt")
    starts = noon(described["START_DAY"], timezone)
    starts.index = pd.Index(described["CAMPAIGN"])
    return Campaigns(
        described=pd.DataFrame(
            {
                "offer_id": _ids(described),
                "kind": described["DESCRIPTION"].str.replace(" ", ""),
                "starts": start_of_day(described["START_DAY"], timezone),
                "ends": start_of_day(described["END_DAY"] + 1, timezone),
                "category": described["CAMPAIGN"].map(_main_departments(folder)),
                "known_at": starts.to_numpy(),
            }
        ),
        sent=pd.DataFrame(
            {"offer_id": _ids(sent), "member_id": sent["household_key"], "occurred_at": sent["CAMPAIGN"].map(starts)}
        ).drop_duplicates(),
        redeemed=pd.DataFrame(
            {
                "offer_id": _ids(redeemed),
                "member_id": redeemed["household_key"],
                "coupon": redeemed["COUPON_UPC"],
                "day": redeemed["DAY"],
                "occurred_at": noon(redeemed["DAY"], timezone),
            }
        ).drop_duplicates(),
        rejected=(broken, sent_broken, redeemed_broken, sent_aside, redeemed_aside),
        rules=_RULES,
    )


def offers(campaigns: Campaigns) -> pd.DataFrame:
    """The campaigns as the table of offers."""
    rows = campaigns.described.assign(
        name="Campaign "
        + campaigns.described["offer_id"].str.removeprefix("campaign-")
        + ", "
        + campaigns.described["kind"],
        type=OFFER_TYPE,
        discount=COUPON_VALUE,
        points=0.0,
        occurred_at=campaigns.described["known_at"],
    )
    return typed("offers", rows)


def offer_events(campaigns: Campaigns) -> pd.DataFrame:
    """To whom campaigns went (`sent`), and each coupon handed in (`redeem`)."""
    sent, redeemed = campaigns.sent, campaigns.redeemed
    sent = sent.assign(event_id="sent-" + sent["offer_id"] + "-" + sent["member_id"], type="sent")
    coupon = redeemed["coupon"] + "-" + redeemed["day"].astype(str)
    redeemed = redeemed.assign(
        event_id="redeem-" + redeemed["offer_id"] + "-" + redeemed["member_id"] + "-" + coupon, type="redeem"
    )
    rows = pd.concat([sent, redeemed], ignore_index=True)
    rows = rows.assign(offer_type=OFFER_TYPE, known_at=rows["occurred_at"])
    return typed("offer_events", rows.assign(channel=rows["type"].map({"sent": "mail", "redeem": "till"})))


def catalogue_entries(campaigns: Campaigns) -> tuple[Mapping[str, Any], ...]:
    """An entry for `offers.yaml` for each kind of campaign, its response as observed among those it went to."""
    return tuple(_entry(str(kind), campaigns) for kind in sorted(campaigns.described["kind"].unique()))


def _entry(kind: str, campaigns: Campaigns) -> Mapping[str, Any]:
    ids = campaigns.described.loc[campaigns.described["kind"] == kind, "offer_id"]
    pair = ["offer_id", "member_id"]
    sent = campaigns.sent[campaigns.sent["offer_id"].isin(ids)][pair].drop_duplicates()
    used = sent.merge(campaigns.redeemed[pair].drop_duplicates())
    entry: dict[str, Any] = {
        "id": f"coupons-{kind.lower()}",
        "type": OFFER_TYPE,
        "name": f"Coupons as in campaigns of {kind}",
        "limits": {"per_member": 1, "per_days": 30, "cooldown_days": 14},
        "economics": {"discount": COUPON_VALUE},
        "content": {"title": "Coupons for you", "text": "Coupons for products of your next basket."},
        "tags": ["complete-journey", "observed-not-randomised"],
    }
    if len(sent):
        entry["economics"] |= {"response": round(len(used) / len(sent), 3)}
    return entry


def _read(folder: Path, table: Table) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"{table.name}.{kind}" for kind in _KINDS]
    file = files.look_for(folder, names) if folder.is_dir() else None
    if file is None:
        return border.empty(table), border.no_rejects()
    frame = files.read(file)
    return border.check(frame.rename(columns={name: _published(name) for name in frame.columns}), table, file=file.name)


def _published(name: str) -> str:
    return "household_key" if name.lower() == "household_key" else name.upper()


def _of_known(rows: pd.DataFrame, described: pd.DataFrame, file: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    known = rows["CAMPAIGN"].isin(described["CAMPAIGN"])
    return rows[known], border.reject(file, rows[~known], "CAMPAIGN", "UNKNOWN_CAMPAIGN")


def _ids(rows: pd.DataFrame) -> pd.Series[Any]:
    return "campaign-" + rows["CAMPAIGN"]


def _main_departments(folder: Path) -> Mapping[str, str]:
    """By campaign the department that at least half of its coupons' products belong to."""
    coupons, _ = _read(folder, _COUPON)
    file = files.look_for(folder, [f"product.{kind}" for kind in _KINDS]) if folder.is_dir() else None
    if file is None or coupons.empty:
        return {}
    products = files.read(file).rename(columns=str.upper)[["PRODUCT_ID", "DEPARTMENT"]].astype(str)
    counted = coupons.drop_duplicates().merge(products, on="PRODUCT_ID").value_counts(["CAMPAIGN", "DEPARTMENT"])
    share = counted / counted.groupby(level="CAMPAIGN").transform("sum")
    main = share[share >= _MAIN_SHARE].reset_index()
    return dict(zip(main["CAMPAIGN"], main["DEPARTMENT"].str.lower(), strict=True))
