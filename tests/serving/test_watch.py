"""What the running service takes up by itself, what it refuses, and how it answers when a part is gone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from features.learned import load
from features.workspace import Workspace
from serving.journal import Journal
from serving.rulebook import switch
from tests.serving import small_programme
from tests.serving.running import Running, eventually, served


@pytest.fixture(scope="module")
def running(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose files these tests change and put back."""
    import shutil

    home = tmp_path_factory.mktemp("changing") / "home"
    shutil.copytree(built_home, home)
    with served(home) as found:
        yield found


def ask(running: Running, path: str = "/v1/offers", **sent: Any) -> dict[str, Any]:
    with running.http() as http:
        found = http.post(path, json=sent)
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def ready(running: Running) -> dict[str, Any]:
    with running.http() as http:
        found: dict[str, Any] = http.get("/readyz").json()
    return found


def refused(running: Running, words: str) -> Callable[[], bool]:
    return lambda: any(words in sentence for sentence in ready(running)["refused"])


def test_a_paused_offer_is_gone_within_two_seconds_and_its_decision_is_made_again(running: Running) -> None:
    ws = Workspace(running.home)
    given = next(
        answer
        for answer in (ask(running, member_id=f"M{k:07d}") for k in range(1, 60))
        if answer["results"][0]["id"] != "do_nothing"
    )
    offer, member = given["results"][0]["id"], given["member_id"]
    switch(ws.controls, offer, paused=True)
    took = eventually(lambda: ask(running, member_id=member)["results"][0]["id"] != offer, seconds=2.0)
    assert took < 2.0
    again = ask(running, member_id=member)
    assert again["decision_id"] != given["decision_id"]
    assert {"id": offer, "stage": "control", "code": "PAUSED", "until": None} in again["suppressed"]
    with running.http() as http:
        flags = http.get(f"/v1/decisions/{again['decision_id']}/explain").json()["flags"]
        first = http.get(f"/v1/decisions/{given['decision_id']}").json()
    assert flags == {"learnable": False, "redecided": True, "replaces": given["decision_id"]}
    assert first["results"][0]["id"] == offer
    switch(ws.controls, offer, paused=False)
    eventually(lambda: not paused(ask(running, member_id=member, dry_run=True)), 2.0)


def paused(answer: dict[str, Any]) -> bool:
    return any(one["code"] == "PAUSED" for one in answer["suppressed"])


def test_a_good_catalogue_is_taken_up_and_a_bad_one_is_not(running: Running) -> None:
    ws = Workspace(running.home)
    path, before = ws.catalog / "offers.yaml", (ws.catalog / "offers.yaml").read_text()
    version = ready(running)["versions"]["catalog"]
    path.write_text(before.replace("5 % off one basket this week.", "5 % off, only now."))
    eventually(lambda: ready(running)["versions"]["catalog"] != version, 2.0)
    good = ready(running)["versions"]["catalog"]
    path.write_text(before.replace("discount: 0.05", "discount: five"))
    eventually(refused(running, 'offers.yaml: offer "basket-5"'), 2.0)
    assert ready(running)["versions"]["catalog"] == good
    assert ready(running)["status"] == "ready"
    assert ask(running, member_id="M0000100")["results"]
    with running.http() as http:
        assert 'tessera_refused_files{source="rulebook"} 1.0' in http.get("/metrics").text
    path.write_text(before)
    eventually(lambda: ready(running)["versions"]["catalog"] == version, 2.0)
    assert ready(running)["refused"] == []


def test_a_bad_policy_switch_file_or_key_file_leaves_the_last_good_one(running: Running) -> None:
    ws = Workspace(running.home)
    policy = ws.policy.read_text()
    ws.policy.write_text(policy.replace("delta: 1.0", "delta: yes please"))
    eventually(refused(running, "policy.yaml"), 2.0)
    ws.policy.write_text(policy)
    ws.controls.write_text('{"paused": "everything"}')
    eventually(refused(running, "controls.json: paused must be a list"), 2.0)
    ws.controls.unlink()
    keys = ws.keys.read_bytes()
    ws.keys.write_text("{")
    eventually(refused(running, "keys.json"), 2.0)
    assert ask(running, member_id="M0000101")["results"]
    ws.keys.write_bytes(keys)
    eventually(lambda: ready(running)["refused"] == [], 2.0)


def test_a_champion_is_swapped_under_load_and_no_answer_mixes_two(running: Running) -> None:
    ws = Workspace(running.home)
    products = load(ws.bundles / "taste" / "1").product_ids.tolist()  # type: ignore[union-attr]
    small_programme.put_taste(ws, "2", products, seed=2)
    answers: list[dict[str, Any]] = []

    def keep_asking(number: int) -> None:
        members = [f"M{number * 40 + turn + 1:07d}" for turn in range(40)]
        answers.extend(ask(running, "/v1/recommendations", member_id=member) for member in members)

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(keep_asking, number) for number in range(4)]
        time.sleep(0.1)
        small_programme.crown(ws, taste="2", churn="1")
        for one in work:
            one.result()
    eventually(lambda: ready(running)["versions"]["models"]["taste"] == "2", 1.0)
    assert ask(running, "/v1/recommendations", member_id="M0000001")["meta"]["models"] == {"taste": "2", "churn": "1"}
    assert {answer["meta"]["models"]["taste"] for answer in answers} <= {"1", "2"}
    assert all(answer["results"] for answer in answers)
    assert {part for answer in answers for part in answer["meta"]["degraded"]} <= {"journal"}


def test_a_damaged_bundle_is_refused_and_the_last_good_one_serves(running: Running) -> None:
    ws = Workspace(running.home)
    serving = ready(running)["versions"]["models"]["taste"]
    products = load(ws.bundles / "taste" / "1").product_ids.tolist()  # type: ignore[union-attr]
    arrays = small_programme.put_taste(ws, "9", products) / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:-100])
    small_programme.crown(ws, taste="9", churn="1")
    eventually(refused(running, "taste 9: arrays.npz differs from its SHA-256"), 2.0)
    answer = ask(running, "/v1/recommendations", member_id="M0000001")
    assert answer["meta"]["models"]["taste"] == serving
    small_programme.crown(ws, taste="1", churn="1")
    eventually(lambda: ready(running)["versions"]["models"]["taste"] == "1", 2.0)


def test_without_the_online_store_the_next_rung_answers_and_says_so(running: Running) -> None:
    ws = Workspace(running.home)
    away = ws.online.with_suffix(".away")
    ws.online.rename(away)
    eventually(lambda: "features" in ready(running)["degraded"], 2.0)
    answer = ask(running, "/v1/recommendations", member_id="M0000150")
    assert answer["results"]
    assert answer["meta"]["degraded"] == ["features"]
    assert not answer["meta"]["cold_start"]
    assert ask(running, "/v1/next-best-action", member_id="M0000150")["meta"]["degraded"] == ["features"]
    away.rename(ws.online)
    eventually(lambda: ask(running, "/v1/offers", member_id="M0000151", dry_run=True)["meta"]["degraded"] == [], 2.0)


def test_with_the_journal_held_up_answers_come_static_and_in_time_and_nothing_is_claimed(running: Running) -> None:
    held = os.open(running.home / "journal.db.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        took, answers = [], []
        for number in range(200, 215):
            began = time.monotonic()
            sent = {"member_id": f"M{number:07d}", "request_id": f"late-{number}"}
            answers.append(ask(running, "/v1/next-best-action", **sent))
            took.append(time.monotonic() - began)
        benefits = ask(running, "/v1/benefits", member_id="M0000200")
        products = ask(running, "/v1/recommendations", member_id="M0000200")
    finally:
        fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)
    assert sorted(took)[len(took) // 2] < 0.2
    for answer in (*answers, benefits, products):
        assert answer["policy"]["mode"] == "fallback"
        assert "journal" in answer["meta"]["degraded"]
    assert products["results"]
    members = [answer["member_id"] for answer in answers]
    again = [ask(running, "/v1/next-best-action", member_id=one, request_id=f"late-{int(one[1:])}") for one in members]
    assert {answer["policy"]["mode"] for answer in again} <= {"exploit", "explore", "holdout"}
    journal = Journal(running.home / "journal.db")
    try:
        logged = [row for one in members for row in journal.decisions_of(one)]
        learnable = {row.decision_id for row in logged if row.learnable and row.family == "action"}
        assert learnable == {answer["decision_id"] for answer in again}
    finally:
        journal.close()


def test_events_wait_for_a_journal_that_is_held_up_and_are_not_lost(running: Running) -> None:
    held = os.open(running.home / "journal.db.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    event = {"event_id": "patient", "type": "check_in", "member_id": "M0000001"}
    with running.http() as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.post, "/v1/events", json={"events": [event]})
        time.sleep(0.3)
        assert not waiting.done()
        fcntl.flock(held, fcntl.LOCK_UN)
        assert waiting.result(5).json()["accepted"] == 1
    os.close(held)
