"""Prices from a whole workspace: from its members to what the service decides with."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

import orjson
import pytest
import yaml

from serving.house import open_house
from tessera import campaign, prices
from tests import whole
from tests.conftest import Demonstrated


def test_prices_are_solved_taken_up_and_hold_a_campaign_inside_its_quota(
    demonstrated: Demonstrated, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ws = whole.copy(demonstrated.home, tmp_path / "home")
    quota = {
        "id": "quota",
        "name": "E-mails",
        "unit": "messages",
        "amount": 30,
        "every_days": 28,
        "channels": ["email"],
    }
    (ws.catalog / "budgets.yaml").write_text(yaml.safe_dump({"budgets": [quota]}))
    assert prices.run(ws, "email", 500) == 0
    said = orjson.loads(ws.prices.read_bytes())
    assert said["prices"]["quota"] > 0
    assert said["bottleneck"] == "quota"
    assert said["budgets"]["quota"]["forecast"] <= 30.0 + 1e-6
    assert said["rests_on"]["traffic"] == "assumed"
    assert "the next 2 messages would earn" in " ".join(capfd.readouterr().err.split())
    with closing(open_house(ws, secrets.token_bytes, open_door=True, patient=True)) as house:
        assert house.watch.present().prices == said["prices"]
        (ws.prices).write_text('{"prices": {"quota": 0.25}}')
        house.watch.look()
        assert house.watch.present().prices == {"quota": 0.25}
    assert campaign.outbound(ws, "offers", "email", tmp_path / "out.csv") <= 30
    prices.run(ws, "email", 500)
    assert orjson.loads(ws.prices.read_bytes())["rests_on"]["traffic"] == "journal"


def test_without_budgets_there_are_no_prices(demonstrated: Demonstrated, tmp_path: Path) -> None:
    ws = whole.copy(demonstrated.home, tmp_path / "home")
    (ws.catalog / "budgets.yaml").unlink(missing_ok=True)
    nothing = {"id": "do_nothing", "type": "do_nothing", "name": "Do nothing"}
    (ws.catalog / "actions.yaml").write_text(yaml.safe_dump({"actions": [nothing]}))  # an event's seats are a budget
    ws.prices.write_text('{"prices": {"old": 1.0}}')
    prices.run(ws, "email", 100)
    assert not ws.prices.exists()
