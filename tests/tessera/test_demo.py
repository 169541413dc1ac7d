"""The demonstration: everything in one command, and an exit code that tells."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
from pathlib import Path

import pytest

from features.workspace import Workspace
from serving.journal import Journal
from tessera import demo
from tests import whole
from tests.conftest import Demonstrated
from tests.serving.running import eventually, free_port
from training import registry

ENDPOINTS = (
    "/v1/offers",
    "/v1/next-best-action",
    "/v1/benefits",
    "/v1/recommendations",
    "/v1/events",
    "/v1/members/",
)


def test_the_demonstration_shows_every_endpoint_and_every_answer_holds(demonstrated: Demonstrated) -> None:
    said = demonstrated.said
    assert said.returncode == 0, said.stderr
    for endpoint in ENDPOINTS:
        assert f"{endpoint}" in said.stdout
    assert "5 of 5 decisions in the journal re-execute to themselves." in said.stdout
    assert "NOT AS IT SHOULD BE" not in said.stderr
    assert set(demo.registered(Workspace(demonstrated.home))) == {"taste", "churn", "lifetime", "response"}


def test_every_call_that_is_shown_is_checked(demonstrated: Demonstrated, tmp_path: Path) -> None:
    """Without the bundle of a champion, and later without the online store, the same checks find fault."""
    ws = whole.copy(demonstrated.home, tmp_path / "home")
    shutil.rmtree(ws.bundles / "churn")
    with whole.served(ws) as service:
        who = service.get("/v1/members/M0000001")["member_id"]
        faults = demo._show_all(service.url, who)
        assert len([one for one in faults if "degraded, ['churn']" in one]) == len(demo.CALLS)
        assert len([one for one in faults if "not all champions had a say" in one]) == len(demo.CALLS)
        ws.online.unlink()
        eventually(lambda: "features" in service.ready()["degraded"], seconds=2.0)
        path, body = demo.CALLS[-1]
        assert any(
            "features" in one for one in demo._show(service.url, path, {"member_id": who, **body}, complete=True)
        )


def test_a_decision_that_does_not_run_again_to_itself_is_a_fault(demonstrated: Demonstrated, tmp_path: Path) -> None:
    ws = whole.copy(demonstrated.home, tmp_path / "home")
    assert demo._replayed(ws) == []
    shutil.rmtree(ws.bundles / "churn")
    (fault,) = demo._replayed(ws)
    assert fault.startswith("replay: ")


def test_a_folder_that_no_demonstration_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    said = whole.tessera(Workspace(tmp_path), "demo", "--once", "--port", str(free_port()))
    assert said.returncode == 2
    assert "choose another folder with --home" in said.stderr
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_port_in_use_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = whole.tessera(Workspace(tmp_path), "demo", "--once", "--port", str(taken.getsockname()[1]))
    assert said.returncode == 2
    assert "choose another with --port" in said.stderr
    assert not (tmp_path / "tables").exists()


@pytest.mark.slow
def test_the_demonstration_of_the_shipped_size_holds(tmp_path: Path) -> None:
    said = whole.tessera(Workspace(tmp_path / "home"), "demo", "--once", "--port", str(free_port()))
    assert said.returncode == 0, said.stderr


def test_a_decision_leads_back_to_data_code_and_settings_and_they_lead_forward_to_it(
    demonstrated: Demonstrated,
) -> None:
    ws = Workspace(demonstrated.home)
    journal = Journal(ws.journal)
    decision = journal.read_decisions(limit=1)[0]
    journal.close()
    back = whole.tessera(ws, "lineage", decision.decision_id).stdout
    taste = registry.get(ws, "taste", registry.champions(ws)["taste"])
    assert f"{decision.family} for {decision.member_id}" in back
    assert f"taste {taste.number}: {taste.record['form']}" in back
    assert f"data {taste.record['data_fingerprint'][:12]}, code {taste.record['code']}" in back
    assert "gate passed" in back
    assert re.search(r"^  code [0-9a-f]{12}$", back, re.MULTILINE)
    forward = whole.tessera(ws, "lineage", "--data", taste.record["data_fingerprint"][:12]).stdout
    (line,) = [line for line in forward.splitlines() if line.startswith(f"taste {taste.number}:")]
    assert "0 decisions" not in line and " decisions, from " in line
    missing = whole.tessera(ws, "lineage", "--model", "taste", "--version", "99")
    assert (missing.returncode, "no registered version fits" in missing.stderr) == (2, True)
