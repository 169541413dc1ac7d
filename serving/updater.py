"""Keeps online features fresh: a process beside the service that turns accepted events into new states.

It reads the journal, makes the states of the members concerned anew by the definitions of `features`, and pushes them.
It may be killed at any time: on its next start it makes anew the states of everybody of whom the journal has events
that the tables do not have.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pandas as pd

from features import catalog, history, identity
from features.entities import Programme
from features.workspace import Workspace
from serving import export
from serving.journal import Journal, JournalError, StoredEvent

EVERY_S = 0.2
AT_ONCE = 2_000
_LOG = logging.getLogger("tessera.updater")


def run(home: Path, configs: Path | None = None, parent: int | None = None) -> None:
    """Update until SIGINT or SIGTERM, or until the process that started it is gone.

    Args:
        home: the workspace's folder.
        configs: where the YAML lies, if not below it.
        parent: id of the process that started this one; it may be gone before this line is reached.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    update(Workspace(home, configs), stop, time.time, parent=parent or os.getppid())


def update(
    ws: Workspace, stop: threading.Event, clock: Callable[[], float], every: float = EVERY_S, parent: int | None = None
) -> None:
    """Update until `stop` is set or the parent process is gone; `clock` is real time in epoch seconds."""
    from features.feast_objects import feast
    from features.freshness import refresh

    feast()  # importing it takes more than a second, which the first event must not wait for
    journal = Journal(ws.journal)
    position = history.watermark(ws.tables) or 0
    while not stop.is_set() and parent in (None, os.getppid()):
        before = position
        try:
            position = step(ws, journal, position, _now(ws, clock), refresh)
        except (JournalError, OSError, ValueError) as error:
            _LOG.error("could not bring features up to date (%s: %s); trying again", type(error).__name__, error)
            stop.wait(1.0)
        if position == before:  # nothing new: not `last_seq`, which decisions move on too
            stop.wait(every)
    journal.close()


def step(ws: Workspace, journal: Journal, position: int, at: datetime, refresh: Callable[..., int]) -> int:
    """Bring the states of everybody up to date of whom there are events after `position`.

    Returns:
        The position reached.
    """
    events = journal.read_events(position, AT_ONCE)
    if not events:
        return position
    cards = {**identity.read(ws.tables), **_said(events)}
    owners = {cards.get(event.member_id, event.member_id) for event in events}
    members = sorted(owner for owner in owners if not owner.startswith(identity.ANONYMOUS))
    if members:
        programme = catalog.load(ws.catalog).programme
        refresh(ws, programme, at, fresh(ws, journal, programme, members, cards), members)
    return events[-1].seq


def _said(events: Sequence[StoredEvent]) -> dict[str, str]:
    """Anonymous visit → member, where an event names both."""
    found = {}
    for event in events:
        visit = orjson.loads(event.payload).get("anonymous_id")
        if visit and not event.member_id.startswith(identity.ANONYMOUS):
            found[identity.ANONYMOUS + visit] = event.member_id
    return found


def fresh(
    ws: Workspace, journal: Journal, programme: Programme, members: Sequence[str], cards: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """What the journal has of these members beyond the tables, as typed rows; what came from their cards as theirs."""
    wanted = set(members)
    ids = [*members, *(card for card, owner in cards.items() if owner in wanted)]
    events = journal.events_of(ids, history.watermark(ws.tables) or 0)
    found = export.tables(events, (), journal.find_decision, programme.points)
    found.pop("identities", None)
    return {name: rows.assign(member_id=rows["member_id"].replace(dict(cards))) for name, rows in found.items()}


def _now(ws: Workspace, clock: Callable[[], float]) -> datetime:
    offset = float(orjson.loads(ws.clock.read_bytes())["offset_seconds"]) if ws.clock.exists() else 0.0
    return datetime.fromtimestamp(clock() + offset, UTC)
