"""kill -9 under load: nothing acknowledged is missing, nothing is there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import apsw
import pytest

from serving.journal import Journal

ROOT = Path(__file__).parents[2]


def test_a_few_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    check_journal_kills(tmp_path / "journal.db", cycles=4)


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    check_journal_kills(tmp_path / "journal.db", cycles=50)


def check_journal_kills(path: Path, cycles: int) -> None:
    rng = random.Random(7)
    acknowledged: Counter[str] = Counter()
    for cycle in range(cycles):
        acknowledged.update(run_and_kill(path, cycle, rng.uniform(0.05, 0.35)))
    journal = Journal(path)
    stored = Counter(f"event {row.event_id}" for row in journal.read_events(limit=10_000_000))
    stored.update(f"decision {row.decision_id}" for row in journal.read_decisions(limit=10_000_000))
    journal.close()
    assert len(acknowledged) > 100 * cycles
    assert not set(acknowledged) - set(stored)
    assert max(stored.values()) == 1
    connection = apsw.Connection(str(path))
    assert connection.pragma("integrity_check") == "ok"


def run_and_kill(path: Path, cycle: int, after: float) -> list[str]:
    """Start a victim, kill it `after` seconds from its first acknowledgement; return all it acknowledged."""
    command = [sys.executable, "-m", "tests.serving.journal_victim", str(path), str(cycle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as victim:
        assert victim.stdout is not None
        first = victim.stdout.readline().decode()
        assert first, "the victim died before its first acknowledgement"
        timer = threading.Timer(after, os.kill, (victim.pid, signal.SIGKILL))
        timer.start()
        rest = victim.stdout.read().decode()
        timer.join()
    complete = (first + rest).rsplit("\n", 1)[0]
    return complete.splitlines()
