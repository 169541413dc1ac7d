"""Online Retail: a declared rule for every kind of dirt."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features import history
from features.border import BorderError
from features.entities import Programme
from features.sources import load
from features.sources.gift_words import category

COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
LINES: list[list[Any]] = [
    ["536365", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 6, "2010-12-01 08:26", 2.55, "17850", "United Kingdom"],
    ["536365", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 6, "2010-12-01 08:26", 2.55, "17850", "United Kingdom"],
    ["536366", "85123a", "WHITE HANGING HEART T-LIGHT HOLDER", 4, "2011-07-01 12:00", 2.55, "17850", "United Kingdom"],
    ["536367", "POST", "POSTAGE", 1, "2010-12-02 10:00", 18.0, "17850", "United Kingdom"],
    ["536367", "22016", "Dotcomgiftshop Gift Voucher £100.00", 1, "2010-12-02 10:00", 83.0, "17850", "Eire"],
    ["A563186", "B", "Adjust bad debt", 1, "2011-08-12 14:51", -11062.06, "", "United Kingdom"],
    ["536368", "22423", "REGENCY CAKESTAND", 1, "2010-12-02 11:00", -1.0, "17850", "United Kingdom"],
    ["536369", "22423", "REGENCY CAKESTAND", 1, "2010-12-02 11:00", 0.0, "17850", "United Kingdom"],
    ["536370", "22423", "damaged", -5, "2010-12-02 11:00", 12.75, "", "United Kingdom"],
    ["536371", "22423", "REGENCY CAKESTAND", 2, "2010-12-02 11:00", 12.75, "", "United Kingdom"],
    ["C536400", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", -4, "2011-07-02 12:00", 2.55, "17850", "France"],
    ["C536401", "22423", "REGENCY CAKESTAND", -1, "2010-12-01 09:00", 12.75, "13047", "France"],
    ["536372", "22423", "REGENCY CAKESTAND", 3, "2011-01-25 09:00", 12.75, "13047", "France"],
]
SET_ASIDE = [
    (2, "InvoiceNo", "DUPLICATE"),
    (4, "StockCode", "NOT_A_PRODUCT"),
    (5, "StockCode", "NOT_A_PRODUCT"),
    (6, "StockCode", "NOT_A_PRODUCT"),
    (7, "UnitPrice", "NEGATIVE_PRICE"),
    (8, "UnitPrice", "ZERO_PRICE"),
    (9, "Quantity", "WRONG_SIGN"),
    (10, "CustomerID", "NO_MEMBER"),
]


def write(path: Path, lines: list[list[Any]] = LINES, **how: Any) -> Path:
    pd.DataFrame(lines, columns=COLUMNS).to_csv(path, index=False, **how)
    return path


def test_every_kind_of_dirt_meets_its_rule_and_is_counted(tmp_path: Path, programme: Programme) -> None:
    loaded: Any = load("online_retail", write(tmp_path / "shop.csv"), programme)
    aside = loaded.rejected.sort_values("row")
    assert list(zip(aside["row"], aside["column"], aside["rule"], strict=True)) == SET_ASIDE
    assert dict(loaded.counts) == {
        "DUPLICATE": 1,
        "NOT_A_PRODUCT": 3,
        "NEGATIVE_PRICE": 1,
        "ZERO_PRICE": 1,
        "WRONG_SIGN": 1,
        "NO_MEMBER": 1,
        "RETURN_TIED": 1,
        "RETURN_ALONE": 1,
        "CODE_CASE": 1,
    }
    assert set(loaded.counts) <= set(loaded.rules)
    assert len(loaded.tables["purchases"]) == len(LINES) - len(SET_ASIDE)


def test_cancellations_become_returns_tied_to_the_sale_they_take_back(tmp_path: Path, programme: Programme) -> None:
    loaded: Any = load("online_retail", write(tmp_path / "shop.csv"), programme)
    history.merge(tmp_path / "tables", loaded.tables)
    rows: Any = history.read(tmp_path / "tables", "purchases").set_index("basket_id")
    assert rows.loc["C536400", "reverses"] == rows.loc["536366", "purchase_id"]
    assert rows.loc["C536400", "amount"] == -10.2
    assert rows.loc["C536401", "reverses"] is None  # its sale was before the history began


def test_british_time_becomes_utc_in_winter_and_in_summer(tmp_path: Path, programme: Programme) -> None:
    rows: Any = (
        load("online_retail", write(tmp_path / "shop.csv"), programme).tables["purchases"].set_index("basket_id")
    )
    assert rows.loc["536365", "occurred_at"] == pd.Timestamp("2010-12-01T08:26Z")
    assert rows.loc["536366", "occurred_at"] == pd.Timestamp("2011-07-01T11:00Z")
    assert (rows["known_at"] == rows["occurred_at"]).all()


def test_members_and_products_are_as_they_were_first_seen(tmp_path: Path, programme: Programme) -> None:
    tables: Any = load("online_retail", write(tmp_path / "shop.csv"), programme).tables
    members = tables["members"].set_index("member_id")
    assert members["enrolled_at"].to_dict() == {
        "13047": pd.Timestamp("2010-12-01T09:00Z"),
        "17850": pd.Timestamp("2010-12-01T08:26Z"),
    }
    assert members["region"].to_dict() == {"13047": "France", "17850": "United Kingdom"}
    products = tables["products"].set_index("product_id")
    assert products["category"].to_dict() == {"22423": "kitchen", "85123A": "lights"}
    assert products["unit_margin"].to_dict() == pytest.approx({"22423": 12.75 / 4, "85123A": 2.55 / 4})
    assert set(products["margin_basis"]) == {"assumed"}


@pytest.mark.parametrize(
    ("date", "how"),
    [
        ("%Y-%m-%d %H:%M:%S", {}),
        ("%m/%d/%Y %H:%M", {"encoding": "cp1252"}),  # as on Kaggle
        ("%d/%m/%Y %H:%M", {"encoding": "utf-8-sig"}),
    ],
)
def test_the_spellings_in_circulation_give_the_same_tables(
    tmp_path: Path, programme: Programme, date: str, how: dict[str, str]
) -> None:
    plain = load("online_retail", write(tmp_path / "plain.csv"), programme)
    lines = [[*line[:4], pd.Timestamp(str(line[4])).strftime(date), *line[5:]] for line in LINES]
    other = load("online_retail", write(tmp_path / "other.csv", lines, **how), programme)
    for name, table in plain.tables.items():
        pd.testing.assert_frame_equal(other.tables[name], table)


def test_a_parquet_file_with_numbers_and_the_second_editions_names_give_the_same_tables(
    tmp_path: Path, programme: Programme
) -> None:
    plain = load("online_retail", write(tmp_path / "plain.csv"), programme)
    frame = pd.DataFrame(LINES, columns=COLUMNS)
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"])
    frame["CustomerID"] = pd.to_numeric(frame["CustomerID"])
    frame = frame.rename(columns={"InvoiceNo": "Invoice", "UnitPrice": "Price", "CustomerID": "Customer ID"})
    frame.to_parquet(tmp_path / "other.parquet")
    other = load("online_retail", tmp_path / "other.parquet", programme)
    for name, table in plain.tables.items():
        pd.testing.assert_frame_equal(other.tables[name], table)


def test_another_order_duplicates_and_late_files_give_the_same_files(tmp_path: Path, programme: Programme) -> None:
    tidy, messy = tmp_path / "tidy", tmp_path / "messy"
    history.merge(tidy, load("online_retail", write(tmp_path / "all.csv"), programme).tables)
    for name, lines in (("late.csv", LINES[:4:-1]), ("early.csv", LINES[5::-1] + LINES[:3]), ("all.csv", LINES)):
        history.merge(messy, load("online_retail", write(tmp_path / name, lines), programme).tables)
    for file in sorted(path for path in tidy.rglob("*") if path.is_file()):
        assert (messy / file.relative_to(tidy)).read_bytes() == file.read_bytes(), file.name


def test_a_broken_line_is_set_aside_and_the_rest_is_kept(tmp_path: Path, programme: Programme) -> None:
    broken = [*LINES[2][:4], "yesterday", *LINES[2][5:]]
    loaded: Any = load("online_retail", write(tmp_path / "shop.csv", [LINES[0], broken, LINES[12]]), programme)
    assert loaded.rejected.to_dict("records") == [
        {"file": "shop.csv", "row": 2, "column": "InvoiceDate", "rule": "NOT_A_TIME", "value": "yesterday"}
    ]
    assert len(loaded.tables["purchases"]) == 2


def test_dates_that_can_be_read_two_ways_are_not_guessed(tmp_path: Path, programme: Programme) -> None:
    ambiguous = [*LINES[0][:4], "03/04/2011 10:00", *LINES[0][5:]]
    with pytest.raises(BorderError, match=r"shop\.csv: InvoiceDate such as 03/04/2011 10:00 .* YYYY-MM-DD"):
        load("online_retail", write(tmp_path / "shop.csv", [ambiguous]), programme)


def test_files_that_cannot_be_used_say_why_and_what_to_do(tmp_path: Path, programme: Programme) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(BorderError, match=r"wrong\.csv: column InvoiceNo, .* is missing; the file has a, b"):
        load("online_retail", wrong, programme)
    (tmp_path / "empty.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(BorderError, match=r"empty\.csv: the history is empty"):
        load("online_retail", tmp_path / "empty.csv", programme)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(BorderError, match=r"torn\.parquet: not a readable Parquet file .*export it again"):
        load("online_retail", tmp_path / "torn.parquet", programme)
    with pytest.raises(BorderError, match="no such file or folder; check the path"):
        load("online_retail", tmp_path / "nowhere", programme)
    with pytest.raises(BorderError, match=r"map\.yaml: online_retail has a fixed layout"):
        load("online_retail", tmp_path, programme, tmp_path / "map.yaml")


def test_an_unknown_source_is_refused_with_the_ones_there_are(tmp_path: Path, programme: Programme) -> None:
    with pytest.raises(BorderError, match="till: no such source; the sources are online_retail, complete_journey"):
        load("till", tmp_path, programme)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACK OF 12 LONDON TISSUES", "stationery"),
        ("JUMBO BAG RED RETROSPOT", "bags"),
        ("VINTAGE CHRISTMAS PAPER GIFT BAG", "christmas"),
        ("DOGGY RUBBER", "other"),
        (None, "other"),
    ],
)
def test_a_category_comes_from_a_word_of_the_description(text: str | None, expected: str) -> None:
    assert category(text) == expected


@pytest.mark.data
def test_the_published_history_is_loaded_with_its_published_counts(
    public_data: Path, tmp_path: Path, programme: Programme
) -> None:
    started = time.perf_counter()
    loaded: Any = load("online_retail", public_data / "online_retail", programme)
    summary = history.merge(tmp_path, loaded.tables)
    seconds = time.perf_counter() - started
    counts = loaded.counts
    assert counts["DUPLICATE"] == 5_268  # the published number of exact duplicates
    purchases, rejected = loaded.tables["purchases"], loaded.rejected
    assert len(purchases) + len(rejected) == 541_909  # every published line is accounted for
    assert rejected["row"].is_unique
    lines = pd.read_parquet(public_data / "online_retail" / "online_retail.parquet")
    other = lines.loc[rejected.loc[rejected["rule"] == "NOT_A_PRODUCT", "row"] - 1]
    sold = other["CustomerID"].notna() & (other["Quantity"] > 0) & (other["UnitPrice"] > 0)
    sales = int((purchases["quantity"] > 0).sum())
    assert sales + int(sold.sum()) == 392_692  # sales to customers after cleaning, as commonly published
    assert len(loaded.tables["members"]) == 4_362  # of 4,372 customers; ten have nothing but postage and the like
    assert (summary.returns_tied, summary.returns_alone) == (counts["RETURN_TIED"], counts["RETURN_ALONE"])
    assert summary.rejected.empty
    assert seconds < 120


CELLS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
WORKBOOK = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType='
    '"application/xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{CELLS}" xmlns:r="{RELATIONS}"><sheets><sheet name="Online Retail" '
    'sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" '
    f'Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" '
    f'Type="{RELATIONS}/styles" Target="styles.xml"/></Relationships>',
    "xl/styles.xml": f'<styleSheet xmlns="{CELLS}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
    "</styleSheet>",
}


def cell(value: object) -> str:
    """A cell as Excel keeps it: numbers as numbers, times as days since 1899-12-30 in a date style."""
    if isinstance(value, pd.Timestamp):
        return f'<c s="1"><v>{(value - pd.Timestamp("1899-12-30")) / pd.Timedelta(days=1)!r}</v></c>'
    if isinstance(value, (int, float)):
        return f"<c><v>{value!r}</v></c>"
    return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if value else "<c/>"


def _as_in_excel(value: object) -> object:
    text = str(value)
    if text.isdigit():
        return int(text)
    return pd.Timestamp(text) if text.startswith("201") else value


def test_the_published_excel_file_gives_the_same_tables(tmp_path: Path, programme: Programme) -> None:
    plain = load("online_retail", write(tmp_path / "plain.csv"), programme)
    rows = [[cell(_as_in_excel(value)) for value in line] for line in ([*COLUMNS], *LINES)]
    sheet = "".join(f"<row>{''.join(row)}</row>" for row in rows)
    with zipfile.ZipFile(tmp_path / "Online Retail.xlsx", "w") as book:
        for name, text in WORKBOOK.items():
            book.writestr(name, text)
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{CELLS}"><sheetData>{sheet}</sheetData></worksheet>'
        )
    other = load("online_retail", tmp_path / "Online Retail.xlsx", programme)
    for name, table in plain.tables.items():
        pd.testing.assert_frame_equal(other.tables[name], table)
