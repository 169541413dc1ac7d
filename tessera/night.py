"""The night's work, step by step: what a kill interrupted goes on where it was when the night is run again.

Every step gives the same result when it is run twice (rows are merged by key, features are recomputed, decisions of a
period are given again), so the ledger of finished steps only saves time.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from features.workspace import Workspace
from tessera import build, campaign, clock, harm, load, points, prices, tiers
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

_YEAR = 365.0


@dataclass
class Night:
    """Which steps of one night are done; written to disk after each."""

    path: Path
    of: date
    done: list[str] = field(default_factory=list)

    def finish(self, step: str) -> None:
        """Remember on disk that a step is done."""
        self.done.append(step)
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps({"of": self.of.isoformat(), "done": self.done}))
        draft.replace(self.path)


def open_night(ws: Workspace, of: date) -> Night:
    """The night of a date: what is left of it if it was interrupted, a fresh one otherwise."""
    path = ws.root / "nightly.json"
    try:
        before = json.loads(path.read_text())
        if before["of"] == of.isoformat():
            return Night(path, of, list(before["done"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # the ledger only saves time: without it every step is done once more, to the same result
    return Night(path, of)


@contextmanager
def alone(ws: Workspace) -> Iterator[None]:
    """Hold the night's lock; two nights at once are refused. The lock goes with the process, however it ends."""
    with (ws.root / "nightly.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"another night is running in {ws.root}: wait for it, or stop it first") from None
        yield


def run(ws: Workspace, channel: str, out: Path | None) -> int:
    """Run what is left of tonight.

    Returns:
        0 when every step is done; 3 when all is done but a challenger was refused by the gate.
    """
    needs_tables(ws)
    steps = Steps()
    refused = 0

    def gate() -> None:
        nonlocal refused
        refused = build.promote(ws, None, None, rollback=False)

    def where_possible(job: Callable[[], object]) -> None:
        try:
            job()
        except RefusedError as reason:
            steps.note(f"left out: {reason}")

    with alone(ws):
        today = clock.now(ws).date()
        night = open_night(ws, today)
        target = out or ws.reports / f"campaign-{today.isoformat()}.csv"
        work: tuple[tuple[str, Callable[[], object]], ...] = (
            ("ingest", lambda: load.from_journal(ws)),
            ("features", lambda: build.features(ws)),
            ("points", lambda: where_possible(lambda: points.run(ws, _YEAR, None, seed=0))),
            ("tiers", lambda: where_possible(lambda: tiers.fit(ws))),
            ("train", lambda: build.train(ws, None)),
            ("gate", gate),
            ("harm", lambda: harm.watch(ws)),
            ("prices", lambda: prices.run(ws, channel)),
            ("export", lambda: campaign.outbound(ws, "offers", channel, target)),
        )
        for name, job in work:
            if name in night.done:
                steps.note(f"{name}: done already tonight")
                continue
            with steps.step(name):
                job()
            night.finish(name)
    return 3 if refused else 0
