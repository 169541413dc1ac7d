"""A team's own folder: our columns, or theirs with a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from features import history
from features.border import BorderError
from features.entities import Programme
from features.sources import describe, load

PURCHASES = """\
purchase_id,basket_id,member_id,product_id,quantity,unit_price,occurred_at
1,b1,m1,p1,2,5.00,2026-07-01T12:00:00
2,b1,m1,p2,1,3.50,2026-07-01T12:00:00
3,b2,m2,p1,-1,5.00,2026-07-02T09:00:00Z
"""
MEMBERS = """\
member_id,enrolled_at,consent_personalisation,consent_email,consent_sms,consent_push,consent_call,occurred_at
m1,2026-01-01,yes,no,no,no,no,2026-01-01
m2,2026-01-01,yes,no,no,no,no,2026-01-01
"""
PRODUCTS = """\
product_id,category,unit_price,unit_margin,occurred_at
p1,tea,5.00,2.00,2026-01-01
p2,cake,4.00,,2026-01-01
"""
OWN_NAMES = """\
Datum;Bon;Kunde;Artikel;Menge;Preis
01.07.2026 12:00;b1;Jürgen;p1;2;5,00
01.07.2026 12:00;b1;Jürgen;p2;1;3,50
"""
MAP = """\
timezone: Europe/Berlin
derive: [members, products]
tables:
  purchases:
    file: kasse.csv
    separator: ";"
    decimal: ","
    encoding: cp1252
    time_format: "%d.%m.%Y %H:%M"
    columns: {occurred_at: Datum, basket_id: Bon, member_id: Kunde, product_id: Artikel, quantity: Menge,
              unit_price: Preis}
    constants: {channel: till, discount: 0.5}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name, text in (("purchases", PURCHASES), ("members", MEMBERS), ("products", PRODUCTS)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    (tmp_path / "kasse.csv").write_bytes(OWN_NAMES.encode("cp1252"))
    (tmp_path / "map.yaml").write_text(MAP)
    return tmp_path


def test_a_folder_in_our_columns_needs_no_map(own: Path, programme: Programme) -> None:
    loaded: Any = load("folder", own, programme)
    assert loaded.rejected.empty
    rows = loaded.tables["purchases"]
    assert rows["amount"].tolist() == [10.0, 3.5, -5.0]
    assert rows["occurred_at"].dt.hour.tolist() == [10, 10, 9]  # noon in Rome; the third has its offset
    assert loaded.tables["products"]["unit_margin"].tolist() == [2.0, 1.0]
    assert loaded.tables["products"]["margin_basis"].tolist() == ["given", "assumed"]
    assert loaded.tables["members"]["consent_email"].tolist() == [False, False]
    said = {rule: count for rule, count in loaded.counts.items() if count}
    assert said == {"KNOWN_AT_ASSUMED": 7, "AMOUNT_COMPUTED": 3, "DISCOUNT_ZERO": 3, "MARGIN_ASSUMED": 1}


def test_a_map_names_a_teams_own_files_columns_and_ways_of_writing(theirs: Path, programme: Programme) -> None:
    loaded: Any = load("folder", theirs, programme)
    assert loaded.rejected.empty
    rows = loaded.tables["purchases"]
    assert rows["member_id"].tolist() == ["Jürgen", "Jürgen"]
    assert rows["amount"].tolist() == [9.5, 3.0]
    assert rows["channel"].tolist() == ["till", "till"]
    assert rows["occurred_at"].tolist() == [pd.Timestamp("2026-07-01T10:00Z")] * 2
    assert rows["purchase_id"].is_unique


def test_members_that_are_derived_have_given_no_consent(theirs: Path, programme: Programme) -> None:
    tables: Any = load("folder", theirs, programme).tables
    (member,) = tables["members"].to_dict("records")
    assert not any(value for name, value in member.items() if name.startswith("consent_"))
    assert tables["products"]["category"].tolist() == ["unknown", "unknown"]


def test_parquet_does_as_well_as_csv(own: Path, programme: Programme) -> None:
    plain = load("folder", own, programme).tables["purchases"]
    frame = pd.read_csv(own / "purchases.csv")
    (own / "purchases.csv").unlink()
    frame.to_parquet(own / "purchases.parquet")
    pd.testing.assert_frame_equal(load("folder", own, programme).tables["purchases"], plain)


def test_deliveries_in_another_order_with_rows_twice_give_the_same_files(own: Path, programme: Programme) -> None:
    history.merge(own / "tidy", load("folder", own, programme).tables)
    head, *lines = PURCHASES.splitlines()
    for part in (lines[1:], lines[:2], lines[::-1]):
        (own / "purchases.csv").write_text("\n".join([head, *part]))
        history.merge(own / "messy", load("folder", own, programme).tables)
    for file in sorted(path for path in (own / "tidy").rglob("*") if path.is_file()):
        assert (own / "messy" / file.relative_to(own / "tidy")).read_bytes() == file.read_bytes(), file.name


def test_purchases_of_members_that_are_not_delivered_are_told(own: Path, programme: Programme) -> None:
    (own / "members.csv").write_text("\n".join(MEMBERS.splitlines()[:2]))
    notes = load("folder", own, programme).notes
    assert any("1 purchases name members that are not in this delivery" in note for note in notes)


def test_a_bad_row_is_set_aside_with_its_file_row_and_column(own: Path, programme: Programme) -> None:
    (own / "purchases.csv").write_text(PURCHASES.replace("2,b1,m1,p2,1,3.50", "2,b1,m1,p2,one,3.50"))
    loaded: Any = load("folder", own, programme)
    (fault,) = loaded.rejected.drop_duplicates("row").to_dict("records")
    assert (fault["file"], fault["row"], fault["column"]) == ("purchases.csv", 2, "quantity")
    assert len(loaded.tables["purchases"]) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("purchases.csv", PURCHASES.replace("member_id", "customer"), r"purchases\.csv: column member_id is missing"),
        ("purchases.csv", PURCHASES.splitlines()[0], r"purchases\.csv: the history is empty"),
        ("purchases.csv", "", r"purchases\.csv: not readable as text"),
        (
            "members.csv",
            MEMBERS.replace("m2", "mü").encode("cp1252"),
            r"members\.csv: not encoded in UTF-8; save.*encoding: cp1252",
        ),
        ("map.yaml", "tables: {sales: {file: a.csv}}", r'map\.yaml: .*table "sales" is unknown'),
        ("map.yaml", "tables: {purchases: {file: a.csv}}", r"not found; looked for a\.csv"),
        ("map.yaml", "tables: {members: {file: members.csv, colums: {}}}", r'unknown key .*colums.*"columns"'),
        (
            "map.yaml",
            "tables: {members: {file: members.csv, columns: {member_id: id}}}",
            r"members\.csv: column id is missing; .*Correct the name in map\.yaml \(",
        ),
        (
            "map.yaml",
            "tables: {members: {file: members.csv, columns: {member: member_id}}}",
            r'column "member" is unknown; did you mean "member_id"',
        ),
        (
            "map.yaml",
            "tables: {members: {file: members.csv, encoding: latin-99}}",
            r"members\.csv: 'latin-99' is no encoding; write one such as",
        ),
        ("map.yaml", "timezone: Mars/Olympus", r"Mars/Olympus.*no time zone"),
        ("map.yaml", "tables: [", r"map\.yaml: line 1"),
    ],
)
def test_what_cannot_be_used_is_refused_with_file_rule_and_way_out(
    own: Path, programme: Programme, name: str, content: str | bytes, message: str
) -> None:
    (own / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BorderError, match=message):
        load("folder", own, programme)


def test_a_whole_export_in_its_own_way_of_writing_loses_nothing(tmp_path: Path, programme: Programme) -> None:
    (tmp_path / "lines.csv").write_text(
        "Bon;Kunde;Artikel;Menge;Preis;Rabatt;Zeit\n"
        "1;007;A1;2;1.234,50;;01.07.2026 12:00\n"
        "1;007;A2;1;3,50;0,35;01.07.2026 12:00\n"
        "1;007;A2;1;3,50;0,35;01.07.2026 12:00\n"
        "2;007;A2;-1;3,50;;03.07.2026 09:00\n"
        "3;007;A2;1;3.50;;04.07.2026 09:00\n"
    )
    (tmp_path / "people.csv").write_text("Nr;Seit;Mail\n007;01.01.2026;ja\n008;01.02.2026;\n")
    (tmp_path / "goods.csv").write_text("Nr;Gruppe;VK;EK\nA1;tea;1.234,50;1.000,00\nA2;cake;3,50;\n")
    form = {"separator": ";", "decimal": ","}
    (tmp_path / "map.yaml").write_text(
        yaml.safe_dump(
            {
                "tables": {
                    "members": {
                        **form,
                        "file": "people.csv",
                        "time_format": "%d.%m.%Y",
                        "columns": {"member_id": "Nr", "enrolled_at": "Seit", "consent_email": "Mail"},
                        "values": {"consent_email": {"Ja": True, "Nein": False}},
                        "constants": {"consent_personalisation": True},
                    },
                    "products": {
                        **form,
                        "file": "goods.csv",
                        "columns": {"product_id": "Nr", "category": "Gruppe", "unit_price": "VK", "unit_cost": "EK"},
                    },
                    "purchases": {
                        **form,
                        "file": "lines.csv",
                        "time_format": "%d.%m.%Y %H:%M",
                        "equal_rows": "each",
                        "columns": {
                            "basket_id": ["Bon", "Kunde"],
                            "member_id": "Kunde",
                            "product_id": "Artikel",
                            "quantity": "Menge",
                            "unit_price": "Preis",
                            "discount": "Rabatt",
                            "occurred_at": "Zeit",
                        },
                    },
                }
            }
        )
    )
    loaded: Any = load("folder", tmp_path, programme)
    purchases, members, products = (loaded.tables[name] for name in ("purchases", "members", "products"))
    assert purchases["amount"].tolist() == [2469.0, 3.15, 3.15, -3.5]
    assert purchases["purchase_id"].is_unique
    assert purchases["basket_id"].tolist() == ["1-007", "1-007", "1-007", "2-007"]
    assert members["consent_email"].tolist() == [True, False]
    assert members["consent_sms"].tolist() == [False, False]
    assert members["occurred_at"].tolist() == members["enrolled_at"].tolist()
    assert products["unit_margin"].tolist() == [234.5, pytest.approx(3.5 * programme.default_margin_rate)]
    assert products["margin_basis"].tolist() == ["given", "assumed"]
    (fault,) = loaded.rejected.to_dict("records")
    assert (fault["row"], fault["column"], fault["value"]) == (5, "unit_price", "(3.50) has no decimal comma")


def test_amounts_alone_are_baskets_of_one_line(tmp_path: Path, programme: Programme) -> None:
    (tmp_path / "purchases.csv").write_text(
        "basket_id,member_id,amount,occurred_at\nb1,m1,30.00,2026-07-01\nb1,m1,-30.00,2026-07-05\n"
    )
    (tmp_path / "map.yaml").write_text(
        "derive: [members, products]\ntables: {purchases: {file: purchases.csv, constants: {product_id: basket}}}"
    )
    rows = load("folder", tmp_path, programme).tables["purchases"]
    assert rows["quantity"].tolist() == [1.0, -1.0]
    assert rows["unit_price"].tolist() == [30.0, 30.0]
    assert rows["amount"].tolist() == [30.0, -30.0]


def test_an_id_made_from_a_row_does_not_change_with_what_else_the_file_says(own: Path, programme: Programme) -> None:
    lines = [line.split(",", 1)[1] for line in PURCHASES.splitlines()]
    (own / "purchases.csv").write_text("\n".join(lines))
    before = load("folder", own, programme).tables["purchases"]["purchase_id"].tolist()
    (own / "purchases.csv").write_text("\n".join([f"{lines[0]},exported", *(f"{line},x" for line in lines[1:])]))
    assert load("folder", own, programme).tables["purchases"]["purchase_id"].tolist() == before


def test_a_folder_without_any_table_says_what_it_looked_for(tmp_path: Path, programme: Programme) -> None:
    with pytest.raises(BorderError, match=r"the history is empty: none of members\.csv.*map\.yaml"):
        load("folder", tmp_path, programme)
    with pytest.raises(BorderError, match="no such folder"):
        load("folder", tmp_path / "nowhere", programme)


def test_every_source_says_what_it_expects() -> None:
    assert set(describe()) == {"online_retail", "complete_journey", "movielens", "folder"}
    assert all(len(text) > 30 for text in describe().values())
