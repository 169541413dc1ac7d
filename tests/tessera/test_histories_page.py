"""The example of docs/histories.md is what it says: copied from the page, loaded by the command."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from features import border, history
from features.sources import filling, folder_map
from features.workspace import Workspace
from tessera import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "histories.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"`my-export/([\w.]+)`\n```\w+\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_loads_as_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "my-export"
    export.mkdir()
    for name, text in BLOCKS:
        (export / name).write_text(text, encoding="utf-8")
    home = tmp_path / "var"
    line = f"tessera ingest --source folder --path {export} --home {home} --configs {ROOT / 'configs'}"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 0, said
    shown = re.search(r"```console\n\$ tessera ingest.*?\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    for promised in shown.group(1).splitlines():
        assert promised.split(" in var/")[0].strip() in said
    rows = history.read(Workspace(home).tables, "purchases")
    assert sorted(rows["amount"]) == [-4.5, 4.5, 9.0, 1169.1]
    assert rows.loc[rows["quantity"] < 0, "reverses"].notna().all()  # the return found its sale
    products = history.read(Workspace(home).tables, "products").set_index("product_id")
    assert products["unit_margin"].tolist() == [2.4, 324.75]
    assert products["margin_basis"].tolist() == ["given", "assumed"]


def test_the_page_names_every_rule_and_every_key_of_a_table() -> None:
    assert [rule for rule in (*filling.RULES, *border.RULES) if f"`{rule}`" not in PAGE] == []
    written = yaml.safe_load(dict(BLOCKS)["map.yaml"])
    used = {key for table in written["tables"].values() for key in table}
    assert used == set(folder_map.TableMap.model_fields)
