"""The programme clock: real time, or the end of a history that stopped in the past and ticks on from there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from features.workspace import Workspace

STALE_AFTER = timedelta(days=2)


def offset(ws: Workspace) -> timedelta:
    """How far the programme clock is from real time; zero where nobody set it."""
    if not ws.clock.exists():
        return timedelta(0)
    try:
        return timedelta(seconds=float(json.loads(ws.clock.read_text())["offset_seconds"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{ws.clock.name}: is not what was written ({error}); `tessera clock --live` or `--at` writes it again"
        ) from error


def now(ws: Workspace) -> datetime:
    """The programme's present, UTC."""
    return datetime.now(UTC) + offset(ws)


def set_to(ws: Workspace, at: datetime | None) -> None:
    """Let the programme clock read `at` now and tick on; None returns to real time."""
    seconds = 0.0 if at is None else (at - datetime.now(UTC)).total_seconds()
    ws.root.mkdir(parents=True, exist_ok=True)
    draft = ws.clock.with_suffix(".tmp")
    draft.write_text(json.dumps({"offset_seconds": seconds}))
    draft.replace(ws.clock)


def follow(ws: Workspace, ends: datetime) -> str:
    """Set the clock after a load: to the end of a history that stopped, to real time for one that still runs.

    Returns:
        A sentence that says what the clock now reads and why.
    """
    behind = datetime.now(UTC) - ends
    if abs(behind) < STALE_AFTER:
        set_to(ws, None)
        return "The programme clock is real time: the history reaches to the present."
    set_to(ws, ends + timedelta(seconds=1))
    return (
        f"The programme clock starts at {ends:%Y-%m-%d %H:%M} UTC, where the history ends, and ticks on "
        "(`tessera clock --live` returns to real time)."
    )
