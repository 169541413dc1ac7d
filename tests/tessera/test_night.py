"""A night that is killed at any moment and run again ends as if nothing had happened."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from features import history
from features.workspace import Workspace
from serving import access, events
from serving.journal import Journal
from tessera import campaign, checks, night
from tests import whole
from tests.conftest import Demonstrated

CAMPAIGN = f"campaign-{whole.NOON:%Y-%m-%d}.csv"
DECIDED = ("member_id", "channel", "id", "kind")
"""What the clock, which ticks on between two runs, has no part in."""
PLAIN = {**whole.QUICK, "taste": {"recipes": {"popularity": {}, "repeat": {}}}}


@dataclass(frozen=True)
class Reference:
    """An evening with accepted events, and how the night after it ends if nobody disturbs it."""

    evening: Path
    ws: Workspace
    seconds: float


def evening(of: Path, to: Path) -> Workspace:
    """A copy in which the night has something to do."""
    ws = whole.copy(of, to)
    ws.training.write_text(yaml.safe_dump(PLAIN))
    return ws


@pytest.fixture(scope="module")
def reference(demonstrated: Demonstrated, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    place = tmp_path_factory.mktemp("nights")
    ws = evening(demonstrated.home, place / "evening")
    report(ws)
    access.issue(ws.keys, "tests", ["admin"], bytes(32))
    undisturbed = evening_again(place / "evening", place / "undisturbed")
    began = time.monotonic()
    said = whole.tessera(undisturbed, "nightly")
    assert said.returncode == 0, said.stderr
    return Reference(place / "evening", undisturbed, time.monotonic() - began)


def evening_again(of: Path, to: Path) -> Workspace:
    ws = Workspace(to)
    whole.copy_whole(of, to)
    return ws


def report(ws: Workspace) -> None:
    """Events of the day, accepted as the service accepts them."""
    hours = [whole.NOON - timedelta(hours=hour) for hour in range(1, 4)]
    kinds: list[dict[str, Any]] = [
        {"type": "purchase", "product_id": "P00001", "quantity": 1, "unit_price": 5.0},
        {"type": "check_in"},
        {"type": "points_earn", "value": 10},
    ]
    sent = [
        {"event_id": f"N-{member}-{number}", "member_id": f"M{member:07d}", "occurred_at": at.isoformat(), **what}
        for member in range(1, 60)
        for number, (at, what) in enumerate(zip(hours, kinds, strict=True))
    ]
    asked = events.EventsRequest.model_validate({"events": sent})
    found = events.sort(asked.events, sent, whole.NOON, "EUR")
    assert not found.rejected
    journal = Journal(ws.journal)
    journal.append_events(found.rows)
    journal.close()


def test_a_night_killed_a_few_times_ends_as_an_undisturbed_one(reference: Reference, tmp_path: Path) -> None:
    check_kills(reference, tmp_path / "victim", random.Random(5), kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_nights_killed_twenty_times_and_more_end_as_undisturbed_ones(
    reference: Reference, tmp_path: Path, seed: int
) -> None:
    check_kills(reference, tmp_path / "victim", random.Random(seed), kills=4)


def check_kills(reference: Reference, home: Path, rng: random.Random, kills: int) -> None:
    ws = evening_again(reference.evening, home)
    before = decided(ws)
    killed = [run_and_kill(ws, rng.uniform(0.3, 0.9) * reference.seconds) for _ in range(kills)]
    assert any(killed), "no kill came before the end of its night"
    assert whole.tessera(ws, "nightly").returncode == 0
    assert digests(ws) == digests(reference.ws)
    assert rows(ws) == rows(reference.ws)
    members = Counter(member for decision, member in decided(ws).items() if decision not in before)
    assert set(members) == set(history.read(ws.tables, "members")["member_id"])
    assert set(members.values()) == {1}
    again = home / "again.csv"
    campaign.outbound(ws, "offers", "email", again)
    assert again.read_bytes() == (ws.reports / CAMPAIGN).read_bytes()
    assert checks.run(ws) == 0


def run_and_kill(ws: Workspace, after: float) -> bool:
    """Start a night and kill it; whether it was still at work."""
    with subprocess.Popen(
        whole.command(ws, "nightly"), cwd=whole.ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as victim:
        try:
            victim.wait(after)
        except subprocess.TimeoutExpired:
            os.kill(victim.pid, signal.SIGKILL)
            return True
    return False


def digests(ws: Workspace) -> dict[str, str]:
    """Every file of the tables."""
    files = [path for path in ws.tables.iterdir() if path.suffix in (".parquet", ".json")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(ws: Workspace) -> list[tuple[str, ...]]:
    with (ws.reports / CAMPAIGN).open(newline="") as file:
        return [tuple(row[name] for name in DECIDED) for row in csv.DictReader(file)]


def decided(ws: Workspace) -> dict[str, str]:
    """Decision → member, all that are in the journal."""
    journal = Journal(ws.journal)
    found = {row.decision_id: row.member_id for row in journal.read_decisions(limit=100_000)}
    journal.close()
    return found


def test_nothing_accepted_is_lost_or_counted_twice_by_a_night(reference: Reference) -> None:
    purchases, engagements, points = (
        history.read(reference.ws.tables, name) for name in ("purchases", "engagements", "points")
    )
    for ids, number in (
        (purchases["purchase_id"], 0),
        (engagements["engagement_id"], 1),
        (points["entry_id"], 2),
    ):
        mine = ids[ids.str.startswith("N-") & ids.str.endswith(f"-{number}")]
        assert sorted(mine) == sorted(f"N-{member}-{number}" for member in range(1, 60))
    assert orjson.loads((reference.ws.root / "nightly.json").read_bytes())["done"] == [
        "ingest",
        "features",
        "points",
        "tiers",
        "train",
        "gate",
        "harm",
        "prices",
        "export",
    ]


@pytest.fixture
def busy(reference: Reference) -> Iterator[Workspace]:
    with night.alone(reference.ws):
        yield reference.ws


def test_a_second_night_at_the_same_time_is_refused(busy: Workspace) -> None:
    said = whole.tessera(busy, "nightly")
    assert said.returncode == 2
    assert "another night is running" in said.stderr
    assert "Traceback" not in said.stderr
