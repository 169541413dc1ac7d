from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest

from features import catalog
from features.catalog import CatalogError
from features.entities import Budget

EXAMPLE = Path(__file__).parents[2] / "configs" / "catalog"


def written(tmp_path: Path, *entries: str) -> Path:
    folder = tmp_path / "catalog"
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    text = "budgets:" + "".join(f"\n  - {{{entry}}}" for entry in entries)
    (folder / "budgets.yaml").write_text(text, encoding="utf-8")
    return folder


def test_the_example_has_money_points_messages_and_a_stock() -> None:
    units = {one.unit for one in catalog.load(EXAMPLE).budgets}
    assert units == {"money", "points", "messages", "units"}


def test_a_budget_comes_as_it_was_written(tmp_path: Path) -> None:
    folder = written(tmp_path, "id: b, name: B, unit: money, amount: 10, types: [gift], starts: 2026-01-01, hard: true")
    (found, *seats) = catalog.load(folder).budgets
    assert found.starts is not None
    assert found == Budget("b", "B", "money", 10.0, starts=found.starts, types=("gift",), hard=True)
    assert catalog.from_json(catalog.to_json(catalog.load(folder))).budgets == (found, *seats)


def test_a_catalogue_kept_before_there_were_budgets_has_none(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "budgets.yaml").unlink()
    text = orjson.loads(catalog.to_json(catalog.load(folder)))
    del text["budgets"]
    assert catalog.from_json(orjson.dumps(text)).budgets == ()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("candidates: [surprise-gifts]", 'candidates names the unknown candidate "surprise-gifts"; did you mean "surp'),
        ("families: [offers]", 'families names the unknown family "offers"; did you mean "offer"?'),
        ("tiers: [golden]", 'tiers names the unknown tier "golden"; did you mean "gold"?'),
        ("unit: messages, channels: [app]", 'channels names the unknown outbound channel "app"'),
        ("amount: 0", "amount 0: it should be greater than 0; change it"),
        ("unit: units, amount: 2.5", "amount 2.5 of units is not whole; write a whole number"),
        ("starts: 2026-02-01, ends: 2026-01-01", "before it starts"),
        ("unit: points, types: [free_shipping]", "pays for nothing: free-shipping give no points"),
        ("types: [gift], families: [action]", "pays for nothing: no candidate fits all its lists together"),
        ("types: [tier_nudge]", "pays for nothing: next-tier cost no money"),
        ("ammount: 3", 'unknown key "ammount"; did you mean "amount"?'),
        ("overspend: 0.5", "overspend 0.5: it should be less than or equal to 0.2"),
    ],
)
def test_a_mistake_is_named_with_its_way_out(tmp_path: Path, entry: str, sentence: str) -> None:
    fields = {"id": "b", "name": "B", "unit": "money", "amount": "10"}
    asked = dict(part.split(": ", 1) for part in entry.split(", ") if part.split(": ")[0] in fields)
    whole = ", ".join(f"{key}: {value}" for key, value in {**fields, **asked}.items())
    rest = ", ".join(part for part in entry.split(", ") if part.split(": ")[0] not in fields)
    with pytest.raises(CatalogError) as caught:
        catalog.load(written(tmp_path, whole + (f", {rest}" if rest else "")))
    assert any(one.startswith('budgets.yaml: budget "b": ') and sentence in one for one in caught.value.errors), (
        caught.value.errors
    )


def test_two_budgets_with_one_id_are_refused(tmp_path: Path) -> None:
    same = "id: b, name: B, unit: money, amount: 10"
    with pytest.raises(CatalogError, match="written twice"):
        catalog.load(written(tmp_path, same, same))
