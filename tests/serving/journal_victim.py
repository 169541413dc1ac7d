"""Writes to a journal until it is killed, and prints what was acknowledged: run by the kill tests as a process."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from serving.journal import DecisionRow, EventRow, Journal


def say(kind: str, ids: list[str]) -> None:
    os.write(1, "".join(f"{kind} {name}\n" for name in ids).encode())


def write_events(journal: Journal, cycle: int, thread: int, size: int) -> None:
    """Batches overlap by half, as they do when a client sends again what it got no answer for."""
    number = 0
    while True:
        ids = [f"e-{thread}-{cycle // 2}-{number + k}" for k in range(size)]
        journal.append_events([EventRow(name, f"m{number % 7}", number, name.encode() * 20) for name in ids])
        say("event", ids)
        number += max(1, size // 2)


def write_decisions(journal: Journal, cycle: int) -> None:
    number = 0
    while True:
        name = f"d-{cycle}-{number}"
        row = DecisionRow(name, f"m{number % 7}", "offer", number, b"x" * 3000, period_key=f"p-{cycle}-{number}")
        journal.append_decisions([row])
        say("decision", [name])
        number += 1


def main(path: str, cycle: int) -> None:
    journal = Journal(Path(path))
    work = [
        threading.Thread(target=write_events, args=(journal, cycle, 0, 1), daemon=True),
        threading.Thread(target=write_events, args=(journal, cycle, 1, 20), daemon=True),
        threading.Thread(target=write_decisions, args=(journal, cycle), daemon=True),
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
