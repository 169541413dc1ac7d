"""Everything a process needs to decide, opened and wired together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from features.workspace import Workspace
from serving import code
from serving.budget_keeper import Keeper
from serving.engine import Engine
from serving.journal import Journal
from serving.watch import Watch


@dataclass(frozen=True, slots=True)
class House:
    """One process's parts."""

    ws: Workspace
    watch: Watch
    journal: Journal
    engine: Engine
    clock: Callable[[], float]
    """Real time, epoch seconds."""
    new_id: Callable[[], str]
    """Of a decision; nobody can guess it."""

    def now(self) -> float:
        """The programme clock, epoch seconds."""
        return self.clock() + self.watch.offset

    def close(self) -> None:
        """Write and sync what waits, and stop."""
        self.watch.stop()
        self.journal.close()


def open_house(
    ws: Workspace,
    entropy: Callable[[int], bytes],
    *,
    clock: Callable[[], float] = time.time,
    open_door: bool = False,
    patient: bool = False,
    reservations: str | None = None,
) -> House:
    """Open the journal and take up what is there.

    Args:
        ws: where everything lies.
        entropy: `secrets.token_bytes`, for ids that nobody can guess.
        clock: real time, epoch seconds.
        open_door: let everybody in, without keys.
        patient: wait for an online store that is slow, where nobody waits for the answer.
        reservations: URL of the PostgreSQL that keeps budgets for many machines; None keeps them in the journal.

    Raises:
        JournalError: the journal cannot be opened.
    """
    code.version()  # of the files as they are now, which are those that run
    journal = Journal(ws.journal) if reservations is None else _shared(ws, reservations)
    watch = Watch(ws, open_door=open_door)
    keeper = Keeper(journal, clock)
    watch.spent_out = lambda budgets: keeper.spent_out(budgets, clock() + watch.offset)
    watch.start()

    def new_id() -> str:
        return f"d-{int(clock() * 1e6):014x}{entropy(5).hex()}"

    return House(ws, watch, journal, Engine(journal, watch.present, new_id, patient=patient), clock, new_id)


def _shared(ws: Workspace, url: str) -> Journal:
    from serving.shared_journal import SharedJournal  # needs the extra `tessera[postgres]`

    return SharedJournal(ws.journal, url)
