"""The budgets of a workspace, at the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.workspace import Workspace
from tessera import budgets
from tests.serving import small_programme


def test_budgets_are_printed_with_what_is_left_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ws: Workspace = small_programme.build(tmp_path / "home")
    written = "budgets:\n  - {id: cash, name: Cash, unit: money, amount: 2500, every_days: 28, families: [offer]}\n"
    (ws.catalog / "budgets.yaml").write_text(written)
    ws.prices.write_text('{"prices": {"cash": 0.25}}')
    assert budgets.run(ws) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("cash")]
    assert line.split()[:6] == ["cash", "2,500", "0.00", "0.00", "2,500.00", "0.2500"]
    assert "EUR; full again 2026-" in line
    assert line.endswith("over in at most 0.100% of periods")
