"""Explanations over HTTP and at the terminal, from the journal of a real service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.client import CallError, Client
from tessera import why
from tests.serving import small_programme
from tests.serving.running import served


@pytest.mark.slow
def test_every_candidate_of_a_logged_decision_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ws = small_programme.build(tmp_path / "home")
    with served(ws.root) as running, Client(running.url, running.key) as client:
        answer = client.offers("m000007", channel="app", explain="full")
        first = answer.results[0]
        assert first.explanation is not None
        assert first.explanation.why
        plain = client.offers("m000008", channel="app")
        assert plain.results[0].explanation is None
        found: dict[str, Any] = client.explain(answer.decision_id, first.id) if first.id != "do_nothing" else {}
        assert not found or found["explanation"]["outcome"] == "given"
        for dropped in answer.suppressed:
            said = client.explain(answer.decision_id, dropped.id)["explanation"]
            assert (said["why_not"]["stage"], said["why_not"]["code"]) == (dropped.stage, dropped.code)
            assert said["changes"] or said["none_found"]
        with pytest.raises(CallError, match="404"):
            client.explain(answer.decision_id, "nothing-such")
        with pytest.raises(CallError, match="422"):
            client.explain(answer.decision_id, "not an id")
    assert why.run(ws, answer.decision_id, None) == 0
    assert why.run(ws, answer.decision_id, answer.suppressed[0].id) == 0
    assert "for the member" in capsys.readouterr().out
    assert why.run(ws, "d-0", None) == 1
