"""The service over a socket: what it answers, how it refuses, and what it takes up while it runs."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from experiments.replay import Versions, read, replay
from features import catalog
from features.workspace import Workspace
from serving import assignment, policy, versions
from serving.access import issue
from serving.contract import PATHS, DecisionAnswer
from serving.journal import Journal
from serving.members import Finish, Stored
from tests.serving.running import ROOT, START, Running, free_port, served

ENDPOINTS = sorted(PATHS.values())
JSON = {"content-type": "application/json"}
_numbers = itertools.count(1)


def fresh_member() -> str:
    """A member no other test has asked about."""
    return f"M{next(_numbers):07d}"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_answers_from_champions_and_the_journal_has_it(service: Running, path: str) -> None:
    with service.http() as http:
        sent = {"member_id": fresh_member(), "channel": "app", "explain": "full", "request_id": f"first-{path[4:]}"}
        found = http.post(path, json=sent)
        answer = DecisionAnswer.model_validate(found.json())
        again = http.get(f"/v1/decisions/{answer.decision_id}").json()
        explained = http.get(f"/v1/decisions/{answer.decision_id}/explain").json()
    assert found.status_code == 200
    assert answer.results
    assert answer.meta.models == {"taste": "1", "churn": "1"}
    assert answer.meta.degraded == []
    assert not answer.meta.cold_start
    given = found.json()["results"]
    assert all(one.pop("explanation")["why"] for one in given)
    assert again["results"] == given
    for chances in explained["chances"]:
        assert sum(chances["probabilities"].values()) == pytest.approx(1)
    for result in answer.results:
        assert result.value.net == pytest.approx(sum(result.value.bill.model_dump().values()))
        assert result.value.effect_interval is None
        assert result.value.assumed


def test_every_logged_decision_runs_again_to_itself(service: Running) -> None:
    with service.http() as http:
        for path in ENDPOINTS:
            http.post(path, json={"member_id": fresh_member(), "channel": "email", "context": {"basket_value": 80}})
        http.post("/v1/offers", json={"member_id": "nobody-knows"})
    ws = Workspace(service.home)
    kept: dict[str, Any] = {}

    def book(version: str) -> Any:
        return kept.setdefault(version, catalog.from_json(versions.find(ws.versions, "catalog", version)))

    journal = Journal(ws.journal)
    rows = journal.read_decisions(limit=10_000)
    journal.close()
    finish = Finish(catalog.load(ws.catalog).programme)

    def features(state: bytes, at: float) -> Any:
        member = finish(Stored(state), at)
        return member.features if member else {}

    report = replay(
        [read(row.payload, features) for row in rows],
        Versions(
            book,
            lambda version: policy.parse(versions.find(ws.versions, "policy", version)),
            lambda version: assignment.from_json(versions.find(ws.versions, "experiments", version)),
        ),
    )
    assert report.total >= 5
    assert report.same, report


def test_a_request_id_gives_the_same_answer_and_refuses_another_body(service: Running) -> None:
    sent = {"member_id": fresh_member(), "request_id": "r-once"}
    with service.http() as http:
        first, again = http.post("/v1/offers", json=sent), http.post("/v1/offers", json=sent)
        other = http.post("/v1/offers", json={**sent, "channel": "web"})
        elsewhere = http.post("/v1/benefits", json=sent)
    ours, theirs = first.json(), again.json()
    ours["meta"].pop("took_ms"), theirs["meta"].pop("took_ms")
    assert ours == theirs
    assert (other.status_code, elsewhere.status_code) == (409, 409)
    assert other.headers["content-type"] == "application/problem+json"
    assert other.json()["errors"][0]["field"] == "request_id"


def test_fifty_callers_at_once_get_one_decision(service: Running) -> None:
    sent = {"member_id": fresh_member(), "request_id": "r-fifty"}
    with service.http() as http, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/offers", json=sent), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    kept = {answer.json()["decision_id"] for answer in answers if answer.json()["policy"]["mode"] != "fallback"}
    assert len(kept) == 1


def test_the_first_decision_of_a_period_is_given_again_and_counts_once(service: Running) -> None:
    member = fresh_member()
    with service.http() as http:
        answers = [http.post("/v1/offers", json={"member_id": member, "request_id": f"p{k}"}).json() for k in range(3)]
    assert len({answer["decision_id"] for answer in answers}) == 1
    assert [answer["meta"]["repeated"] for answer in answers] == [False, True, True]
    assert [answer["request_id"] for answer in answers] == ["p0", "p1", "p2"]
    journal = Journal(service.home / "journal.db")
    given = [one for one in answers[0]["results"] if one["id"] != "do_nothing"]
    assert len(journal.memory(member, 0).contacts) == len(given)
    journal.close()


def test_a_dry_run_leaves_no_trace(service: Running) -> None:
    member = fresh_member()
    with service.http() as http:
        dry = http.post("/v1/offers", json={"member_id": member, "dry_run": True, "request_id": "r-dry"}).json()
        assert http.get(f"/v1/decisions/{dry['decision_id']}").status_code == 404
        wet = http.post("/v1/offers", json={"member_id": member, "request_id": "r-dry"})
    assert wet.status_code == 200
    assert wet.json()["results"][0]["id"] == dry["results"][0]["id"]


def test_an_unknown_member_gets_a_cold_start_answer_marked_so(service: Running) -> None:
    with service.http() as http:
        known = http.post("/v1/recommendations", json={"member_id": "somebody-new"}).json()
        visitor = http.post("/v1/next-best-action", json={"anonymous_id": "cookie-1"}).json()
        assert http.get("/v1/members/somebody-new").status_code == 404
    for answer in (known, visitor):
        assert answer["results"]
        assert answer["meta"]["cold_start"]
        assert answer["meta"]["feature_age_s"] is None
        assert answer["meta"]["degraded"] == []
    assert visitor["member_id"] == "~cookie-1"


def test_a_batch_answers_for_each_member_in_order(service: Running) -> None:
    members = [fresh_member() for _ in range(12)]
    with service.http() as http:
        sent = {"family": "offer", "member_ids": members, "request_id": "batch-1", "channel": "email"}
        first, again = (http.post("/v1/decisions/batch", json=sent).json() for _ in range(2))
        single = http.post("/v1/offers", json={"member_id": members[0], "channel": "email"}).json()
    assert [answer["member_id"] for answer in first["answers"]] == members
    ids = [answer["decision_id"] for answer in first["answers"]]
    assert [answer["decision_id"] for answer in again["answers"]] == ids
    assert single["decision_id"] == ids[0]


def test_a_filter_narrows_products_and_a_bad_one_is_named(service: Running) -> None:
    ask = {"member_id": fresh_member(), "placements": [{"id": "list", "count": 5}]}
    with service.http() as http:
        everything = http.post("/v1/recommendations", json=ask).json()["results"]
        assert len(everything) == 5
        wanted = {"filter": "id in ($a, $b)", "filter_values": {"a": everything[3]["id"], "b": everything[1]["id"]}}
        narrowed = http.post("/v1/recommendations", json=ask | wanted).json()["results"]
        without = http.post("/v1/recommendations", json=ask | {"exclude": [everything[0]["id"]]}).json()["results"]
        bad = http.post("/v1/recommendations", json=ask | {"filter": "price >"})
    assert [one["id"] for one in narrowed] == [everything[1]["id"], everything[3]["id"]]
    assert [one["id"] for one in without[:4]] == [one["id"] for one in everything[1:]]
    assert everything[0]["content"]["title"]
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["field"] == "filter"


def test_a_member_is_shown_with_segment_tier_points_and_churn(service: Running) -> None:
    with service.http() as http:
        found = http.get("/v1/members/M0000001").json()
    assert found["segment"]["lifecycle"] in ("new", "active", "at-risk", "lapsed")
    assert found["segment"]["why"]
    assert found["tier"]["id"] in ("bronze", "silver", "gold", "platinum")
    assert 0 < found["churn"]["probability"] < 1
    assert found["churn"]["reasons"]
    soonest, latest = found["next_purchase"]["interval"]
    assert found["as_of"] < soonest < found["next_purchase"]["median"]
    assert latest is None or found["next_purchase"]["median"] < latest
    assert found["points"]["balance"] == sum(lot["points"] for lot in found["points"]["by_expiry"])
    assert set(found["consents"]) == {"personalisation", "email", "sms", "push", "call"}


def test_an_objection_counts_from_the_next_decision(service: Running) -> None:
    member = next(one for one in (fresh_member() for _ in range(50)) if consents(service, one)["email"])
    event = {"event_id": "bye", "type": "unsubscribe", "member_id": member, "properties": {"channel": "email"}}
    with service.http() as http:
        assert http.post("/v1/events", json={"events": [event]}).status_code == 202
        after = consents(service, member)
        answer = http.post("/v1/offers", json={"member_id": member, "channel": "email"}).json()
    assert not after["email"]
    assert {one["code"] for one in answer["suppressed"]} >= {"NO_CONSENT_EMAIL"}
    assert [one["id"] for one in answer["results"]] == ["do_nothing"]


def consents(service: Running, member: str) -> dict[str, bool]:
    with service.http() as http:
        found: dict[str, bool] = http.get(f"/v1/members/{member}").json()["consents"]
        return found


def test_events_are_on_disk_before_their_answer_and_counted_once(service: Running) -> None:
    events = [{"event_id": f"ev{k}", "type": "check_in", "member_id": "M0000001"} for k in range(3)]
    bad = {"event_id": "ev9", "type": "purchase", "member_id": "M0000001"}
    with service.http() as http:
        first = http.post("/v1/events", json={"events": [*events[:2], bad]})
        second = http.post("/v1/events", json={"events": events})
    assert (first.status_code, second.status_code) == (202, 202)
    assert (first.json()["accepted"], first.json()["duplicates"]) == (2, 0)
    assert [(one["index"], one["code"]) for one in first.json()["rejected"]] == [(2, "MISSING_FIELD")]
    assert (second.json()["accepted"], second.json()["duplicates"]) == (1, 2)
    journal = Journal(service.home / "journal.db")
    assert [row.event_id for row in journal.events_of(["M0000001"])] == ["ev0", "ev1", "ev2"]
    journal.close()


MATRIX = {
    ("POST", "/v1/offers", '{"member_id": "M0000009"}'): {"caller", "admin"},
    ("POST", "/v1/offers", '{"member_id": "M0000009", "dry_run": true}'): {"caller", "marketer", "admin"},
    ("POST", "/v1/decisions/batch", '{"member_ids": ["M0000009"]}'): {"caller", "admin"},
    ("POST", "/v1/events", '{"events": []}'): {"caller", "admin"},
    ("GET", "/v1/members/M0000009", ""): {"caller", "marketer", "admin"},
    ("GET", "/v1/decisions/d-none", ""): {"caller", "marketer", "admin"},
    ("GET", "/v1/decisions/d-none/explain", ""): {"caller", "marketer", "admin"},
}


def test_every_route_opens_to_its_scopes_and_to_nobody_else(service: Running) -> None:
    keys = {
        scope: issue(service.home / "keys.json", scope, [scope], os.urandom(32)) for scope in ("caller", "marketer")
    }
    keys["admin"] = service.key
    time.sleep(0.6)
    with httpx.Client(base_url=service.url) as http:
        for (method, path, body), opens in MATRIX.items():
            for scope, key in keys.items():
                found = http.request(method, path, content=body, headers={**JSON, "X-API-Key": key})
                assert (found.status_code != 403) == (scope in opens), (path, scope, found.text)
                assert found.status_code != 401
            for headers in ({}, {"X-API-Key": "tk_wrong"}, {"Authorization": "Basic Og=="}):
                found = http.request(method, path, content=body, headers={**JSON, **headers})
                assert found.status_code == 401, (path, found.text)
                assert found.headers["www-authenticate"] == "ApiKey"
        for path in ("/", "/docs", "/livez", "/readyz", "/metrics", "/openapi.json"):
            assert http.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "content", "headers", "expected"),
    [
        ("/v1/offers", b'{"member_id": "m"}', {"content-type": "application/vnd.bentoml+pickle"}, 415),
        ("/v1/offers", b"x" * 70_000, JSON, 413),
        ("/v1/events", b"x" * 1_100_000, JSON, 413),
        ("/v1/offers", b"[" * 60_000, JSON, 400),
        ("/v1/offers", b'{"member_id": "\\ud800"}', JSON, 400),
        ("/v1/offers", b'{"member_id": "m", "context": {"a": NaN}}', JSON, 400),
        ("/v1/offers", b'{"member_id": "m", "x": 1}', JSON, 422),
        ("/v1/offers/", b"{}", JSON, 404),
        ("/v2/offers", b"{}", JSON, 404),
        ("/v1/members/a/b", b"{}", JSON, 404),
        ("/docs.json", b"{}", JSON, 404),
        ("/v1/members/x", b"{}", JSON, 405),
        ("/readyz", b"{}", JSON, 405),
    ],
)
def test_bad_requests_get_a_problem_and_never_a_500(
    service: Running, path: str, content: bytes, headers: dict[str, str], expected: int
) -> None:
    with service.http() as http:
        found = http.post(path, content=content, headers=headers)
    assert found.status_code == expected
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["status"] == expected
    if expected == 405:
        assert found.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "path", ["/v1/members/%00", "/v1/members/%ED%A0%80", "/v1/members/" + "m" * 65, "/v1/decisions/%FF"]
)
def test_malformed_ids_in_a_path_are_refused(service: Running, path: str) -> None:
    with service.http() as http:
        assert http.get(path).status_code in (400, 422)


def test_slow_senders_hurt_only_themselves(service: Running) -> None:
    head = f"POST /v1/offers HTTP/1.1\r\nHost: x\r\nX-API-Key: {service.key}\r\nContent-Type: application/json\r\n"
    slow = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(100)]
    for one in slow:
        one.sendall((head + "Content-Length: 100\r\n\r\n{").encode())
    with service.http() as http:
        took = []
        for _ in range(40):
            began = time.monotonic()
            assert http.post("/v1/offers", json={"member_id": "M0000010"}).status_code == 200
            took.append(time.monotonic() - began)
    assert sorted(took)[20] < 0.5
    slow[0].settimeout(10)
    assert b" 408 " in slow[0].recv(1000).split(b"\r\n")[0]
    for one in slow:
        one.close()


def test_pages_and_document_need_nothing_from_another_host(service: Running) -> None:
    with service.http() as http:
        for path in ("/", "/docs", "/static_content/swagger-ui.css", "/static_content/swagger-ui-bundle.js"):
            assert http.get(path).status_code == 200
        for path in ("/", "/docs"):
            assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", http.get(path).text)


def test_metrics_count_by_template_and_hold_no_member(service: Running) -> None:
    with service.http() as http:
        for number in range(5):
            http.get(f"/v1/members/M000002{number}")
            http.get(f"/probe/{number}")
        text = http.get("/metrics").text
    assert 'route="/v1/members/{member_id}"' in text
    assert 'route="(none)"' in text
    assert "M000002" not in text
    assert "/probe" not in text


def test_the_service_imports_no_training_library() -> None:
    heavy = ("feast", "mlflow", "lightgbm", "implicit", "sklearn", "scipy", "optuna", "matplotlib", "pandera")
    script = f"import sys, serving.service; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"


def test_a_port_in_use_is_said_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        script = "import sys; from serving.address import listen; listen('127.0.0.1', int(sys.argv[1]))"
        command = [sys.executable, "-c", script, str(taken.getsockname()[1])]
        found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.returncode == 1
    assert "Address already in use; stop what has it, or take another with --port" in found.stderr


def test_an_empty_home_is_alive_but_not_ready_and_says_why(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", START]
    empty = {"TESSERA_HOME": str(tmp_path), "TESSERA_CONFIGS": str(tmp_path / "configs")}
    process = subprocess.Popen([*command, str(port)], cwd=ROOT, env={**os.environ, **empty})
    try:
        found = None
        for _ in range(300):
            try:
                found = httpx.get(f"http://127.0.0.1:{port}/readyz")
                if "refused" in found.json():
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        assert found is not None
        assert found.status_code == 503
        assert "tiers.yaml" in found.text
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    finally:
        process.terminate()
        process.wait(20)


def test_open_doors_are_only_for_those_who_ask_for_them(ws: Workspace) -> None:
    with served(ws.root, {"TESSERA_OPEN": "1"}) as running, httpx.Client(base_url=running.url) as http:
        assert http.post("/v1/offers", json={"member_id": "M0000001"}).status_code == 200
        assert "security" not in orjson.loads(http.get("/openapi.json").content)


def test_a_service_that_fell_behind_sheds_what_waits_and_says_when_to_come_back(service: Running) -> None:
    def ask(number: int) -> httpx.Response:
        with service.http() as http:
            return http.post("/v1/offers", json={"member_id": f"shed-{number}"})

    service.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(ask, number) for number in range(8)]
            time.sleep(0.6)
            service.process.send_signal(signal.SIGCONT)
            answers = [one.result() for one in waiting]
    finally:
        service.process.send_signal(signal.SIGCONT)
    shed = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert shed
    assert {answer.headers["retry-after"] for answer in shed} == {"1"}
    assert "too many requests" in shed[0].json()["title"] + str(shed[0].json())
    time.sleep(0.2)
    with service.http() as http:
        assert ask(9).status_code == 200
        (counted,) = re.findall(r"^tessera_shed_total (\S+)", http.get("/metrics").text, re.MULTILINE)
    assert float(counted) >= len(shed)
