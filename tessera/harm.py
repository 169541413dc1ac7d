"""Candidates that drive purchases away: said every night, and paused where the policy lets them pause themselves."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from features import history
from features.workspace import Workspace
from serving import policy, rulebook
from tessera import clock
from training import settings
from training.effects.harm import Harm, harms


def watch(ws: Workspace) -> tuple[Harm, ...]:
    """Flag what does harm, print it, and pause it where `pause_when_harmful` is true in policy.yaml.

    What was flagged is written down: who lets it go on starts its evidence anew.

    Returns:
        What was flagged now.
    """
    config = settings.read(ws.training)
    known = _known(ws)
    at = min(clock.now(ws), history.ends_at(ws.tables))
    found = harms(ws.tables, at, config.response.window_days, config.harm, known)
    pauses = policy.load(ws.policy).pause_when_harmful
    already = rulebook.controls(ws.controls).paused
    flagged = tuple(one for one in found if one.flagged and one.candidate_id not in already)
    for one in flagged:
        if pauses:
            rulebook.switch(ws.controls, one.candidate_id, paused=True, reason=one.reason)
        end = "paused; `tessera pause --resume` lets it go on" if pauses else "`tessera pause` would stop it"
        print(f"{one.candidate_id} {one.reason}: {end}")
    if pauses and flagged:
        _write(ws, known | {one.candidate_id: at for one in flagged})
    if not flagged:
        print(f"no candidate of {len(found)} drawn by lot drives purchases away")
    return flagged


def _file(ws: Workspace) -> Path:
    return ws.root / "harm.json"


def _known(ws: Workspace) -> dict[str, datetime]:
    try:
        return {one: datetime.fromisoformat(when) for one, when in json.loads(_file(ws).read_text()).items()}
    except FileNotFoundError:
        return {}


def _write(ws: Workspace, known: dict[str, datetime]) -> None:
    draft = _file(ws).with_suffix(".tmp")
    draft.write_text(json.dumps({one: when.isoformat() for one, when in known.items()}, indent=1))
    draft.replace(_file(ws))
