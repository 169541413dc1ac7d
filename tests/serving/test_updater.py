"""An accepted event shows in the member's online features within two seconds, through the same definitions."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pandas as pd
import pytest

from features import catalog, identity, store
from features.behavior import historical
from features.border import finish
from features.history import merge
from features.tables import TABLES
from features.workspace import Workspace
from serving import export, updater
from serving.journal import EventRow, Journal
from serving.updater import update
from tests.serving.running import ROOT, Running, eventually, served

START = "import sys; from pathlib import Path; from serving.updater import run; run(Path(sys.argv[1]))"


@pytest.fixture
def updated(ws: Workspace) -> Iterator[Running]:
    """A service with its updater beside it."""
    store.apply(ws, catalog.load(ws.catalog).programme)
    with served(ws.root) as running:
        beside = subprocess.Popen([sys.executable, "-c", START, str(ws.root)], cwd=ROOT, env=dict(os.environ))
        yield running
        beside.send_signal(signal.SIGTERM)
        assert beside.wait(10) == 0


def spent(running: Running, member: str) -> float:
    with running.http() as http:
        answer = http.post("/v1/offers", json={"member_id": member}).json()
        explained = http.get(f"/v1/decisions/{answer['decision_id']}/explain").json()
    total: float = explained["inputs"]["features"]["lifetime_spend"]
    return total


def balance(running: Running, member: str) -> float:
    with running.http() as http:
        total: float = http.get(f"/v1/members/{member}").json()["points"]["balance"]
    return total


def test_an_accepted_event_shows_within_two_seconds_and_equals_the_nightly_truth(
    updated: Running, ws: Workspace
) -> None:
    programme = catalog.load(ws.catalog).programme
    with updated.http() as http:

        def points(name: str, value: float, member: str = "M0000001") -> None:
            event = {"event_id": name, "type": "points_earn", "member_id": member, "value": value}
            assert http.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1

        before = balance(updated, "M0000001")
        points("warm", 1)
        eventually(lambda: balance(updated, "M0000001") == before + 1, seconds=30)
        points("quick", 100)
        assert eventually(lambda: balance(updated, "M0000001") == before + 101, seconds=2.0) < 2.0
        points("other", 7, "M0000002")
        line = {"event_id": "buy", "type": "purchase", "member_id": "M0000003", "product_id": "P00001"}
        late = {"occurred_at": "2026-02-20T09:00:00Z", "quantity": 2, "unit_price": 10.0}
        assert http.post("/v1/events", json={"events": [line | late]}).json()["accepted"] == 1

        def bought() -> bool:
            found = http.post("/v1/offers", json={"member_id": "M0000003", "dry_run": True}).json()
            return bool(found["meta"]["feature_age_s"] < 30)

        eventually(bought, seconds=3.0)
    online = spent(updated, "M0000003")
    rows, position = export.since(ws.journal, 0, programme.points)
    merge(ws.tables, rows, watermark=position)
    now = datetime(2026, 3, 1, 1, tzinfo=UTC)
    pairs = pd.DataFrame({"member_id": ["M0000003"], "at": pd.to_datetime([now], utc=True).as_unit("us")})
    truth = historical(ws.tables, pairs, programme)["lifetime_spend"].iloc[0]
    assert online == pytest.approx(truth)


def test_what_a_visitor_did_shows_at_the_member_as_soon_as_an_event_says_who_it_was(ws: Workspace) -> None:
    now = datetime(2026, 3, 1, 1, tzinfo=UTC)
    refreshed: list[tuple[list[str], dict[str, pd.DataFrame]]] = []

    def refresh(_ws: Workspace, _programme: object, _at: datetime, rows: Any, members: list[str]) -> int:
        refreshed.append((members, rows))
        return len(members)

    journal = Journal(ws.journal)
    seen = {"type": "check_in", "occurred_at": "2026-02-28T09:00:00Z"}

    def report(name: str, member_id: str | None) -> None:
        event = {**seen, "event_id": name, "member_id": member_id, "anonymous_id": "cookie"}
        journal.append_events([EventRow(name, member_id or "~cookie", 1, orjson.dumps(event))])

    report("visit", None)
    position = updater.step(ws, journal, 0, now, refresh)
    assert refreshed == []
    report("login", "M0000004")
    updater.step(ws, journal, position, now, refresh)
    ((members, rows),) = refreshed
    assert members == ["M0000004"]
    assert rows["engagements"]["engagement_id"].tolist() == ["visit", "login"]
    assert set(rows["engagements"]["member_id"]) == {"M0000004"}
    journal.close()


def test_a_request_under_a_merged_card_is_about_its_member(ws: Workspace) -> None:
    store.apply(ws, catalog.load(ws.catalog).programme)
    with served(ws.root) as running, running.http() as http:
        ask = {"channel": "email", "request_id": None}
        http.post("/v1/offers", json={**ask, "member_id": "OLD-CARD"})
        event = {"event_id": "stop", "type": "unsubscribe", "member_id": "OLD-CARD", "properties": {"channel": "email"}}
        assert http.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
        identity_row = {"card_id": "OLD-CARD", "member_id": "M0000005"}
        moment = datetime(2026, 2, 28, tzinfo=UTC)
        rows = pd.DataFrame([{**identity_row, "occurred_at": moment, "known_at": moment}])
        merge(ws.tables, {"identities": finish(rows, TABLES["identities"])})
        identity.follow(ws.tables, ws.received)

        def joined() -> bool:
            return bool(
                http.post("/v1/offers", json={**ask, "member_id": "OLD-CARD"}).json()["member_id"] == "M0000005"
            )

        eventually(joined, seconds=3.0)
        assert http.get("/v1/members/OLD-CARD").json()["member_id"] == "M0000005"
        assert http.get("/v1/members/M0000005").json()["consents"]["email"] is False


def test_with_nothing_but_decisions_in_the_journal_the_updater_rests(ws: Workspace) -> None:
    with served(ws.root) as running, running.http() as http:
        for number in range(5):
            assert http.post("/v1/offers", json={"member_id": f"M{number:07d}"}).status_code == 200
        stop, looks = threading.Event(), itertools.count()

        def clock() -> float:
            if next(looks) >= 4:
                stop.set()
            return time.time()

        began = time.monotonic()
        update(ws, stop, clock, every=0.3)
        assert time.monotonic() - began >= 4 * 0.3
