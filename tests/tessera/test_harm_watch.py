from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from features.workspace import Workspace
from serving import rulebook
from tessera import clock, harm
from tests.training.turning import after, programme

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A programme in which `ten` turned bad, and a clock that reads the morning after."""
    found = Workspace(tmp_path / "home")
    programme(found.tables, effect=-0.6, turns=2, windows=6)
    shutil.copytree(CONFIGS, found.config_folder)
    clock.set_to(found, after(7))
    return found


def pausing(ws: Workspace) -> None:
    text = ws.policy.read_text()
    assert "pause_when_harmful: false" in text
    ws.policy.write_text(text.replace("pause_when_harmful: false", "pause_when_harmful: true"))


def test_what_does_harm_is_said_and_goes_on_where_the_policy_does_not_let_it_pause(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [one.candidate_id for one in harm.watch(ws)] == ["ten"]
    assert "ten drives purchases away" in capsys.readouterr().out
    assert not rulebook.controls(ws.controls).paused


def test_what_does_harm_pauses_itself_with_its_reason_and_a_human_may_let_it_go_on(ws: Workspace) -> None:
    pausing(ws)
    harm.watch(ws)
    switched = rulebook.controls(ws.controls)
    assert switched.paused == {"ten"}
    assert "drives purchases away" in switched.reasons["ten"]
    rulebook.switch(ws.controls, "ten", paused=False)
    assert harm.watch(ws) == ()
    assert rulebook.controls(ws.controls) == rulebook.Controls()
