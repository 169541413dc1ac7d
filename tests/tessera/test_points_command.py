"""The report on points, on a simulated history."""

from __future__ import annotations

import pytest

from experiments import rule_change
from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import history
from features.ledger import outlook
from features.workspace import Workspace
from tessera import points, rehearse
from tessera.load import SIMULATED_END
from tests.tessera.commands import CONFIGS


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = Workspace(tmp_path_factory.mktemp("points"), CONFIGS)
    world = WORLDS["strong"]
    history.merge(found.tables, simulate(world, members=400, products=60, days=730, ends_at=SIMULATED_END, seed=3))
    return found


def test_the_report_obeys_the_law_by_tier_and_in_all_and_keeps_its_model(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = points.run(ws, 365, None, 1)
    table = found.by_tier
    moved = table["opening"] + table["issued"] - table["redeemed"] - table["expired"] - table["reversed"]
    assert moved.tolist() == table["closing"].tolist()
    sums = table.drop(index="all").sum()
    for name in (*points.MOVEMENTS, "will_be_redeemed", "liability"):
        assert sums[name] == pytest.approx(table[name].iloc[-1])
    assert (table["liability_low"] <= table["liability"]).all()
    assert (table["liability"] <= table["liability_high"]).all()
    assert table["liability"].iloc[-1] == pytest.approx(0.01 * found.whole.redeemed.value)
    assert 0 < found.recognised.value < found.allocated
    model, about = outlook.from_json(ws.liability.read_bytes())
    assert outlook.to_json(model) == outlook.to_json(found.model)
    assert about["as_of"].startswith("2026-06")
    folder = next(ws.reports.iterdir())
    assert (folder / "liability.png").stat().st_size > 10_000
    assert "IFRS 15" in capsys.readouterr().out


def test_other_rules_are_compared_by_segment_with_a_picture(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (ws.root / "new.yaml").write_text("points: {expiry_days: 180}\n")
    found = rehearse.rules(ws, ws.root / "new.yaml", 365, None, 1)
    whole = rule_change.row(found.tables["same points"])
    assert whole["expired_new"] > whole["expired_now"]
    assert whole["margin_low"] <= whole["margin"] <= whole["margin_high"]
    assert set(found.tables["same points"].index.get_level_values("by")) == {"all", "tier", "value", "lifecycle"}
    assert found.mix.to_numpy().sum() == found.mix.to_numpy().trace()
    assert (ws.reports / "rehearse-rules" / "rules.png").stat().st_size > 10_000
    assert "tiers: 0 members change" in capsys.readouterr().out
