"""kill -9 under load, of the journal's process and of the whole service: nothing acknowledged is missing or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import apsw
import httpx
import pytest

from features.workspace import Workspace
from serving.journal import Journal
from tests.serving.running import Running, free_port, start

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


def test_killing_the_service_under_load_loses_nothing(ws: Workspace) -> None:
    check_service_kills(ws, cycles=2)


@pytest.mark.slow
def test_fifty_kills_of_the_service_under_load_lose_nothing(ws: Workspace) -> None:
    check_service_kills(ws, cycles=50)


def check_service_kills(ws: Workspace, cycles: int) -> None:
    """Callers send again, with the same ids, what they got no answer for, as clients do."""
    rng = random.Random(13)
    port = free_port()
    callers = [Caller(number) for number in range(4)]
    for _ in range(cycles):
        running = start(ws.root, port=port)
        running.until_ready()
        threads = [threading.Thread(target=caller.call, args=(running,)) for caller in callers]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.3, 0.9))
        running.process.kill()
        running.process.wait()
        for thread in threads:
            thread.join()
    journal = Journal(ws.journal)
    events = Counter(row.event_id for row in journal.read_events(limit=10_000_000))
    decisions = Counter(row.decision_id for row in journal.read_decisions(limit=10_000_000))
    for caller in callers:
        assert not set(caller.events) - set(events)
        assert not set(caller.decided.values()) - set(decisions)
        for request, decision in caller.decided.items():
            bound = journal.find_request(request, 0)
            assert bound is not None
            assert bound[1] == decision
    journal.close()
    assert sum(len(caller.events) for caller in callers) > 20 * cycles
    assert sum(len(caller.decided) for caller in callers) > 20 * cycles
    assert max(events.values()) == max(decisions.values()) == 1


class Caller:
    """One client that remembers what was acknowledged, over all lives of the service."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.turn = 0
        self.events: list[str] = []
        self.decided: dict[str, str] = {}

    def call(self, running: Running) -> None:
        """Call until the service is gone; the turn that failed is taken again in its next life."""
        with running.http() as http:
            while True:
                try:
                    self.take_turn(http)
                except httpx.TransportError:
                    return
                self.turn += 1

    def take_turn(self, http: httpx.Client) -> None:
        name = f"{self.number}-{self.turn}"
        member = f"M{(self.number * 70 + self.turn % 70) + 1:07d}"
        ids = [f"e-{name}-{k}" for k in range(3)]
        sent = [{"event_id": one, "type": "check_in", "member_id": member} for one in ids]
        found = http.post("/v1/events", json={"events": sent})
        if found.status_code == 202:
            self.events += ids
        asked = {"member_id": member, "request_id": f"r-{name}", "context": {"basket_value": self.turn}}
        answer = http.post("/v1/offers", json=asked).json()
        if answer["policy"]["mode"] != "fallback":
            self.decided[f"r-{name}"] = answer["decision_id"]
