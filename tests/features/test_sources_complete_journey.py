"""The Complete Journey: purchases with discounts, campaigns as offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from features import history
from features.border import BorderError
from features.entities import Programme
from features.sources import load

FILES = {
    "transaction_data.csv": """\
household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,TRANS_TIME,WEEK_NO,COUPON_DISC,COUPON_MATCH_DISC
1,100,1,10,2,3.00,364,-0.80,1631,1,0,-0.20
1,100,1,11,1,2.50,364,0,1631,1,-1.00,0
1,100,1,11,1,2.50,364,0,1631,1,-1.00,0
1,101,300,12,15000,20.00,364,0,5,43,0,0
2,102,301,10,0,0,364,0,1200,43,0,0
2,102,301,10,1,0,364,0,1200,43,0,0
2,103,302,99,1,1.00,364,0.10,,43,0,0
2,104,-3,10,1,1.00,364,0,1200,43,0,0
""",
    "product.csv": """\
PRODUCT_ID,MANUFACTURER,DEPARTMENT,BRAND,COMMODITY_DESC,SUB_COMMODITY_DESC,CURR_SIZE_OF_PRODUCT
10,1,GROCERY,National,SOFT DRINKS,COLA,12 OZ
11,1,PRODUCE,Private,NO COMMODITY DESCRIPTION,NO SUBCOMMODITY DESCRIPTION,
12,1,KIOSK-GAS,Private,FUEL,GASOLINE,
""",
    "campaign_desc.csv": "DESCRIPTION,CAMPAIGN,START_DAY,END_DAY\nTypeA,8,224,264\nTypeB,9,300,320\n",
    "campaign_table.csv": "DESCRIPTION,household_key,CAMPAIGN\nTypeA,1,8\nTypeA,3,8\nTypeB,1,9\nTypeB,1,77\n",
    "coupon.csv": "COUPON_UPC,PRODUCT_ID,CAMPAIGN\n5,10,8\n5,12,8\n6,11,8\n7,10,9\n7,10,9\n",
    "coupon_redempt.csv": "household_key,DAY,COUPON_UPC,CAMPAIGN\n1,230,5,8\n1,231,6,8\n",
    "hh_demographic.csv": """\
AGE_DESC,MARITAL_STATUS_CODE,INCOME_DESC,HOMEOWNER_DESC,HH_COMP_DESC,HOUSEHOLD_SIZE_DESC,KID_CATEGORY_DESC,household_key
65+,A,35-49K,Homeowner,2 Adults No Kids,5+,None/Unknown,1
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_line_keeps_what_was_paid_and_what_the_shop_gave_off(folder: Path, programme: Programme) -> None:
    rows: Any = load("complete_journey", folder, programme).tables["purchases"]
    first = rows[rows["product_id"] == "10"].iloc[0]
    assert (first["quantity"], first["unit_price"], first["discount"], first["amount"]) == (2, 2.0, 1.0, 3.0)
    coupon = rows[rows["product_id"] == "11"].iloc[0]
    assert (coupon["unit_price"], coupon["discount"], coupon["amount"]) == (2.5, 0.0, 2.5)
    owed = rows["quantity"] * rows["unit_price"] - rows["discount"]
    assert owed.tolist() == pytest.approx(rows["amount"].tolist())


def test_days_are_counted_from_the_declared_day_in_the_programmes_time_zone(folder: Path, programme: Programme) -> None:
    rows: Any = load("complete_journey", folder, programme).tables["purchases"].set_index("basket_id")
    assert rows.loc["100", "occurred_at"].tolist() == [pd.Timestamp("2016-03-23T15:31Z")] * 2  # 16:31 in Rome
    assert rows.loc["101", "occurred_at"] == pd.Timestamp("2017-01-15T23:05Z")  # five past midnight on the 16th
    assert rows.loc["103", "occurred_at"] == pd.Timestamp("2017-01-18T11:00Z")  # no time: noon


def test_every_kind_of_dirt_meets_its_rule_and_is_counted(folder: Path, programme: Programme) -> None:
    loaded: Any = load("complete_journey", folder, programme)
    aside = loaded.rejected.sort_values(["file", "row"])
    assert list(zip(aside["file"], aside["row"], aside["rule"], strict=True)) == [
        ("campaign_table", 4, "UNKNOWN_CAMPAIGN"),
        ("transaction_data.csv", 3, "DUPLICATE"),
        ("transaction_data.csv", 5, "ZERO_QUANTITY"),
        ("transaction_data.csv", 6, "ZERO_PRICE"),
        ("transaction_data.csv", 8, "TOO_SMALL"),
    ]
    assert {rule: loaded.counts[rule] for rule in ("VOLUME", "TIME_UNKNOWN", "UNKNOWN_PRODUCT")} == {
        "VOLUME": 1,
        "TIME_UNKNOWN": 1,
        "UNKNOWN_PRODUCT": 1,
    }
    assert set(loaded.counts) <= set(loaded.rules)


def test_fuel_by_volume_is_one_purchase_of_the_same_money(folder: Path, programme: Programme) -> None:
    rows: Any = load("complete_journey", folder, programme).tables["purchases"].set_index("basket_id")
    assert rows.loc["101", ["quantity", "unit_price", "amount"]].tolist() == [1.0, 20.0, 20.0]


def test_products_have_the_category_of_their_commodity_or_else_of_their_department(
    folder: Path, programme: Programme
) -> None:
    products: Any = load("complete_journey", folder, programme).tables["products"].set_index("product_id")
    assert products["category"].to_dict() == {"10": "soft drinks", "11": "produce", "12": "fuel", "99": "unknown"}
    assert products.loc["10", "name"] == "COLA 12 OZ"


def test_campaigns_become_offers_and_what_became_of_them_their_events(folder: Path, programme: Programme) -> None:
    tables: Any = load("complete_journey", folder, programme).tables
    offers = tables["offers"].set_index("offer_id")
    assert offers["category"].to_dict() == {"campaign-8": None, "campaign-9": "grocery"}
    assert offers.loc["campaign-8", "starts"] == pd.Timestamp("2016-10-31T23:00Z")  # midnight of 1 November in Rome
    assert offers.loc["campaign-8", "ends"] == pd.Timestamp("2016-12-11T23:00Z")  # day 264 is the last that counts
    events = tables["offer_events"]
    assert sorted(events["event_id"]) == [
        "redeem-campaign-8-1-5-230",
        "redeem-campaign-8-1-6-231",
        "sent-campaign-8-1",
        "sent-campaign-8-3",
        "sent-campaign-9-1",
    ]
    sent = events[events["type"] == "sent"].set_index("event_id")["occurred_at"]
    assert sent["sent-campaign-8-3"] == pd.Timestamp("2016-11-01T11:00Z")


def test_a_household_is_a_member_from_its_first_purchase_or_campaign(folder: Path, programme: Programme) -> None:
    tables: Any = load("complete_journey", folder, programme).tables
    enrolled = tables["members"].set_index("member_id")["enrolled_at"]
    assert enrolled.to_dict() == {
        "1": pd.Timestamp("2016-03-23T15:31Z"),
        "2": pd.Timestamp("2017-01-18T11:00Z"),
        "3": pd.Timestamp("2016-11-01T11:00Z"),
    }
    (household,) = tables["households"].to_dict("records")
    assert (household["household_id"], household["size"], household["income_band"]) == ("1", 5, "35-49K")


def test_the_kinds_of_campaign_become_entries_that_a_catalogue_takes(folder: Path, programme: Programme) -> None:
    entries = load("complete_journey", folder, programme).catalog_offers
    assert [(entry["id"], entry["economics"]) for entry in entries] == [
        ("coupons-typea", {"discount": 1.0, "response": 0.5}),
        ("coupons-typeb", {"discount": 1.0, "response": 0.0}),
    ]
    configs = Path(__file__).parents[2] / "configs" / "catalog"
    if configs.is_dir():
        from features import catalog

        for file in configs.iterdir():
            if file.name == "budgets.yaml":  # it names offers of the shipped catalogue
                continue
            (folder / file.name).write_text(file.read_text())
        (folder / "offers.yaml").write_text(yaml.safe_dump({"offers": [dict(entry) for entry in entries]}))
        assert {offer.id for offer in catalog.load(folder).offers} == {"coupons-typea", "coupons-typeb"}


def test_the_baskets_without_discount_serve_where_the_full_file_is_not_there(
    folder: Path, programme: Programme
) -> None:
    columns = ["household_key", "BASKET_ID", "DAY", "PRODUCT_ID", "QUANTITY", "SALES_VALUE", "RETAIL_DISC"]
    frame = pd.DataFrame([[1, 100, 1, 10, 1, 2.0, 0.0]], columns=columns)
    frame.assign(COUPON_DISC=0.0, COUPON_MATCH_DISC=0.0).to_parquet(folder / "transactions_no_discount_baskets.parquet")
    (folder / "transaction_data.csv").unlink()
    loaded: Any = load("complete_journey", folder, programme)
    assert len(loaded.tables["purchases"]) == 1
    assert "not all" in loaded.notes[0]


def test_only_transactions_and_products_are_needed(folder: Path, programme: Programme) -> None:
    for name in FILES:
        if name not in ("transaction_data.csv", "product.csv"):
            (folder / name).unlink()
    tables: Any = load("complete_journey", folder, programme).tables
    assert tables["offers"].empty
    assert tables["households"].empty
    assert set(tables["members"]["member_id"]) == {"1", "2"}


def test_loading_in_another_order_gives_the_same_files(folder: Path, programme: Programme) -> None:
    history.merge(folder / "tidy", load("complete_journey", folder, programme).tables)
    head, *lines = FILES["transaction_data.csv"].splitlines()
    (folder / "transaction_data.csv").write_text("\n".join([head, *lines[::-1], lines[0]]))
    for _ in range(2):
        history.merge(folder / "messy", load("complete_journey", folder, programme).tables)
    for file in sorted(path for path in (folder / "tidy").rglob("*") if path.is_file()):
        assert (folder / "messy" / file.relative_to(folder / "tidy")).read_bytes() == file.read_bytes(), file.name


def test_a_folder_without_the_transactions_says_what_it_looked_for(tmp_path: Path, programme: Programme) -> None:
    with pytest.raises(BorderError, match=r"transactions of The Complete Journey not found; .*transaction_data\.csv"):
        load("complete_journey", tmp_path, programme)


@pytest.mark.data
def test_the_published_history_is_loaded_with_its_published_counts(
    public_data: Path, tmp_path: Path, programme: Programme
) -> None:
    loaded: Any = load("complete_journey", public_data / "complete_journey", programme)
    tables, counts = loaded.tables, loaded.counts
    assert len(tables["purchases"]) + counts["ZERO_QUANTITY"] + counts["ZERO_PRICE"] == 96_240
    assert counts["ZERO_QUANTITY"] == 1_674
    assert len(tables["offers"]) == 30
    events = tables["offer_events"]
    assert events["type"].value_counts().to_dict() == {"sent": 7_208, "redeem": 2_318}
    assert events.groupby("type")["member_id"].nunique().to_dict() == {"sent": 1_584, "redeem": 434}
    assert len(tables["households"]) == 801
    assert history.merge(tmp_path, tables).rejected.empty
