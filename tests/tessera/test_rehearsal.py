"""A month rehearsed through the API: accounts that agree with the service's, budgets that hold, the same twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from experiments.rehearsal import comparing
from experiments.rehearsal.month import Month
from features import catalog
from features.workspace import Workspace
from tessera.rehearsal import ground, play, report, run
from tessera.rehearsal.ground import Ground
from tessera.rehearsal.play import Nights, Played
from tessera.rehearsal.policies import OURS, POLICIES, with_prices
from tessera.rehearsal.report import BudgetUse, Outcome
from tests.tessera.commands import CONFIGS, Tessera

DAYS = 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A small world in which nothing was learned: priors decide, with budgets that bind."""
    folder = tmp_path_factory.mktemp("rehearsal")
    shutil.copytree(CONFIGS, folder / "configs")
    quick = {"response": {"enough": 100_000}, "effects": {"enough": 100_000}}
    (folder / "configs" / "training.yaml").write_text(yaml.safe_dump(quick))
    path = folder / "configs" / "catalog" / "budgets.yaml"
    rows = yaml.safe_load(path.read_text())["budgets"]
    for one in rows:
        one["amount"] = one["amount"] / 3
    path.write_text(yaml.safe_dump({"budgets": rows}))
    return ground.simulated(
        folder / "ground", folder / "configs", "strong", members=120, products=50, days=DAYS, seed=3
    )


def a_month(base: Ground, to: Path, name: str) -> tuple[Workspace, Played]:
    ws = ground.copy(base, to, name)
    of = Month(base.truth, base.world, 3, base.starts, DAYS, base.active)
    return ws, play.month(ws, of, base.tariff, Nights(with_prices(name)), 3)


@pytest.fixture(scope="module")
def months(base: Ground, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Workspace, Played]]:
    folder = tmp_path_factory.mktemp("months")
    return {name: a_month(base, folder / name, name) for name in ("random", "response", OURS)}


def test_the_service_books_what_the_accounts_say_and_no_budget_is_overspent(
    base: Ground, months: dict[str, tuple[Workspace, Played]]
) -> None:
    amounts = {one.id: one.amount for one in catalog.load(base.ws.catalog).budgets}
    for name, (_, found) in months.items():
        booked = {budget: 0.0 for budget, _ in found.spent}
        for (budget, _), spent in found.spent.items():
            assert spent <= amounts[budget] + 1e-9, (name, budget)
            booked[budget] += spent
        totals = found.accounts.sum()
        assert booked["offers-money"] == pytest.approx(totals["money"], abs=0.01)
        assert booked["bonus-points"] == pytest.approx(totals["points"], abs=0.01)
        assert booked["email-quota"] == totals["messages"]
        assert totals["given"] > 20, name
        assert totals["answered"] > 0, name
    assert any(spent > 0.9 * amounts[budget] for _, one in months.values() for (budget, _), spent in one.spent.items())


def test_the_same_seed_gives_the_same_month_to_the_cent(
    base: Ground, months: dict[str, tuple[Workspace, Played]], tmp_path: Path
) -> None:
    _, again = a_month(base, tmp_path / OURS, OURS)
    _, first = months[OURS]
    pd.testing.assert_frame_equal(again.accounts, first.accounts)
    assert again.spent == first.spent


def test_policies_differ_by_configuration_alone_and_decide_differently(
    base: Ground, months: dict[str, tuple[Workspace, Played]]
) -> None:
    before = yaml.safe_load(base.ws.policy.read_text())
    for name, (ws, _) in months.items():
        after = json.loads(ws.policy.read_text())
        assert after["holdout"] == before["holdout"]
        assert after["salt"] == before["salt"]
        assert after["families"]["offer"]["do_nothing_floor"] == before["families"]["offer"]["do_nothing_floor"], name
    assert "bill" not in json.loads(months[OURS][0].policy.read_text())
    assert months[OURS][0].prices.exists()
    assert not months["random"][0].prices.exists()
    given = {name: one.accounts["given"].to_list() for name, (_, one) in months.items()}
    assert given["random"] != given[OURS] != given["response"]


def test_what_is_reported_names_the_best_baseline_what_is_assumed_and_what_was_overspent(
    months: dict[str, tuple[Workspace, Played]], tmp_path: Path
) -> None:
    accounts = {name: months[name if name in months else OURS][1].accounts for name in POLICIES}
    accounts = {**accounts, "effect": accounts[OURS].assign(earned=accounts[OURS]["earned"] + 1.0)}
    used = BudgetUse("offers-money", "money", 0, 1.0, {**dict.fromkeys(POLICIES, 0.5), "random": 2.0})
    of = Outcome("a real one", "EUR", len(accounts[OURS]), DAYS, dict.fromkeys(POLICIES, 9), accounts, [used], {"x": 1})
    text = "\n".join(report.lines(of, 1))
    assert "ANSWERS ARE ASSUMED" in text
    assert "effect, hard caps: -120 (-120 to -120) EUR: BEHIND" in text
    assert "OVERSPENT offers-money (random eligible)" in text
    said = json.loads(report.as_json([of], 1, {"days": DAYS}))["rehearsals"][0]
    assert said["assumed"] == {"x": 1}
    assert said["best_baseline"] == "effect"
    assert said["gain_over_best_baseline"]["high"] == pytest.approx(-120.0)
    assert said["policies"]["random"]["earned"]["value"] == pytest.approx(accounts["random"]["earned"].sum())
    assert report.picture([of, of], 1, tmp_path / "x.png").stat().st_size > 10_000


def test_the_command_refuses_plainly(tessera: Tessera, tmp_path: Path) -> None:
    code, _, err = tessera("rehearse", "--world", "mars", home=tmp_path)
    assert code == 2
    assert "--world mars: there is none, weak, strong" in err
    code, _, err = tessera("rehearse", "--source", "home", home=tmp_path)
    assert code == 2
    assert "no history" in err
    code, _, err = tessera("rehearse", "--days", "2.5", home=tmp_path)
    assert code == 2
    assert "whole days" in err


@pytest.mark.slow
def test_ours_is_ahead_of_random_and_of_response_in_the_strong_world(tmp_path: Path) -> None:
    asked = run.Rehearsal(("strong",), members=800, products=150, days=28, seed=5)
    (found,) = run.run(Workspace(tmp_path, CONFIGS), asked, tmp_path / "out")
    for name in ("random", "response"):
        assert comparing.gain(found.accounts, OURS, name, 5).low > 0, name
    assert all(x <= one.amount for one in found.budgets for x in one.spent.values())
    assert json.loads((tmp_path / "out" / "rehearsal.json").read_text())["rehearsals"][0]["members"] == found.members
