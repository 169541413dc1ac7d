"""Everything in one go: a history, features, models, the service, and one real call with its answer per endpoint."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from features import history
from features.workspace import Workspace
from tessera import build, clock, load
from tessera.progress import Steps
from tessera.setup import RefusedError, locate

MARK = "made-by-demo"
WAIT_S = 60.0
WIDTH = 150
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/next-best-action", {"channel": "app"}),
    ("/v1/offers", {"channel": "app", "placements": [{"id": "home_hero", "count": 1}, {"id": "wallet", "count": 2}]}),
    ("/v1/benefits", {"channel": "app", "placements": [{"id": "card", "count": 2}]}),
    ("/v1/recommendations", {"channel": "app", "placements": [{"id": "next_basket", "count": 3}]}),
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demonstration shows."""

    source: str
    path: Path | None
    mapping: Path | None
    members: int
    products: int
    world: str
    seed: int
    port: int
    once: bool


def run(ws: Workspace, of: Demo) -> int:
    """Run the demonstration in a folder of its own; with `once`, stop after printing.

    Returns:
        0 if every answer came from champion models, was not degraded, not empty, is in the journal and re-executes to
        itself; 1 otherwise.

    Raises:
        RefusedError: The folder holds something that no demonstration made, or the port is taken.
    """
    _clear(ws)
    if not ws.config_folder.is_dir():  # it lay in the folder that an earlier demonstration had made
        ws = locate(ws.root, None)
    _free(of.port)
    steps = Steps()
    given = load.History(of.source, of.path, of.mapping, of.members, of.products, of.world, of.seed)
    ws = load.run(ws, given, append=False)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as aside:
        taste = aside.submit(_fit, ws, "taste")
        build.features(ws)
        with _served(ws, of.port) as url:
            rest = aside.submit(_fit, ws, "churn", "lifetime", "response")
            who = _somebody(ws)
            taste.result()
            _wait_for(url, {"taste"})
            faults = _show(url, "/v1/offers", {"member_id": who, "channel": "app"}, complete=False)
            print(f"\nFirst decision after {steps.seconds:.1f} s. The other models follow.", flush=True)
            rest.result()
            _wait_for(url, set(registered(ws)))
            faults += _show_all(url, who)
            print(f"\nAll of it after {steps.seconds:.1f} s.", flush=True)
            if not of.once:
                _stay(url)
    faults += _replayed(ws)
    for fault in faults:
        print(f"NOT AS IT SHOULD BE: {fault}", file=sys.stderr)
    return int(bool(faults))


def registered(ws: Workspace) -> Mapping[str, str]:
    """Model → version that serves."""
    found: dict[str, str] = json.loads(ws.champions.read_text())
    return found


def _clear(ws: Workspace) -> None:
    if ws.root.exists() and any(ws.root.iterdir()) and not (ws.root / MARK).exists():
        raise RefusedError(f"{ws.root} is not empty and no demonstration made it: choose another folder with --home")
    shutil.rmtree(ws.root, ignore_errors=True)
    ws.root.mkdir(parents=True)
    (ws.root / MARK).touch()


def _free(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RefusedError(f"port {port}: {error.strerror}; choose another with --port") from error


def _fit(ws: Workspace, *models: str) -> None:
    """Train and promote in a process of its own, so that both cores work; quickly, for somebody waits."""
    build.train(ws, models, quick=True)
    build.promote(ws, None, None, rollback=False)


@contextlib.contextmanager
def _served(ws: Workspace, port: int) -> Iterator[str]:
    """The service in a process of its own; gone at the end."""
    places = ["--home", str(ws.root), "--configs", str(ws.config_folder), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tessera.cli", "serve", "--open", *places], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RefusedError(f"the service did not come up on {url}: run `tessera serve --open` to see why")
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=1.0).status_code == 200
    except httpx.HTTPError:
        return False


def _somebody(ws: Workspace) -> str:
    """A member worth showing: consents to personalisation, bought often and lately, and is not in the holdout."""
    from features import behavior, catalog
    from serving import assignment, policy

    rules, now = policy.load(ws.policy), clock.now(ws)
    members = history.read(ws.tables, "members", ["member_id", "consent_personalisation"])
    pool = members.loc[members["consent_personalisation"], "member_id"].drop_duplicates().head(400)
    pairs = pool.to_frame().assign(at=now)
    pairs["at"] = pairs["at"].astype("datetime64[us, UTC]")
    found = behavior.historical(ws.tables, pairs, catalog.load(ws.catalog).programme)
    free = [not assignment.held_out(member, now.timestamp(), rules) for member in found["member_id"]]
    shown = found[free].sort_values(["baskets_365d", "member_id"], ascending=[False, True])
    return str(shown["member_id"].iloc[len(shown) // 4])


def _wait_for(url: str, models: set[str]) -> None:
    """Until the running service has taken these champions up."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if models <= set(httpx.get(f"{url}/readyz", timeout=5.0).json().get("versions", {}).get("models", {})):
            return
        time.sleep(0.1)
    raise RefusedError(f"the service did not take up {', '.join(sorted(models))} within {WAIT_S:.0f} s")


def _show_all(url: str, who: str) -> list[str]:
    faults: list[str] = []
    for path, body in CALLS:
        faults += _show(url, path, {"member_id": who, **body}, complete=True)
    event = {"event_id": "demo-1", "type": "check_in", "member_id": who, "occurred_at": _moment(url)}
    reply = httpx.post(f"{url}/v1/events", json={"events": [event]}, timeout=5.0)
    _print_call(f"{url}/v1/events", {"events": [event]}, reply)
    if reply.status_code != 202 or reply.json()["accepted"] != 1:
        faults.append(f"/v1/events: {reply.text}")
    reply = httpx.get(f"{url}/v1/members/{who}", timeout=5.0)
    print(f"\n$ curl {url}/v1/members/{who}\n{_pretty(reply.json())}", flush=True)
    if reply.status_code != 200:
        faults.append(f"/v1/members: {reply.text}")
    return faults


def _show(url: str, path: str, body: dict[str, Any], *, complete: bool) -> list[str]:
    """Make one call, print it with its answer, and say what is wrong with the answer."""
    reply = httpx.post(f"{url}{path}", json=body, timeout=5.0)
    _print_call(f"{url}{path}", body, reply)
    if reply.status_code != 200:
        return [f"{path}: {reply.status_code} {reply.text}"]
    answer = reply.json()
    found = httpx.get(f"{url}/v1/decisions/{answer['decision_id']}", timeout=5.0)
    faults = []
    if not answer["results"]:
        faults.append(f"{path}: the answer is empty")
    if complete and answer["meta"]["degraded"]:
        faults.append(f"{path}: degraded, {answer['meta']['degraded']}")
    if complete and not {"taste", "churn"} <= set(answer["meta"]["models"]):
        faults.append(f"{path}: not all champions had a say: {answer['meta']['models']}")
    if found.status_code != 200 or found.json()["results"] != answer["results"]:
        faults.append(f"{path}: decision {answer['decision_id']} is not in the journal as answered")
    return faults


def _print_call(url: str, body: dict[str, Any], reply: httpx.Response) -> None:
    head = "-H 'content-type: application/json'"
    print(f"\n$ curl {url} {head} -d '{json.dumps(body)}'\n{_pretty(_shortened(reply.json()))}", flush=True)


def _shortened(answer: Any) -> Any:
    """An answer with its long list of suppressed candidates cut, for reading."""
    if not isinstance(answer, dict) or len(answer.get("suppressed", [])) <= 2:
        return answer
    rest = len(answer["suppressed"]) - 2
    return {**answer, "suppressed": [*answer["suppressed"][:2], f"… and {rest} more, each with its reason"]}


def _pretty(value: Any) -> str:
    """JSON for people: short parts on one line."""
    return _laid_out(value, 0)


def _laid_out(value: Any, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + 2 * depth <= WIDTH or not isinstance(value, (dict, list)) or not value:
        return flat
    pad, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, list):
        return "[\n" + ",\n".join(pad + _laid_out(one, depth + 1) for one in value) + f"\n{end}]"
    parts = (f"{pad}{json.dumps(key)}: {_laid_out(one, depth + 1)}" for key, one in value.items())
    return "{\n" + ",\n".join(parts) + f"\n{end}}}"


def _moment(url: str) -> str:
    """The programme's present, as the service tells it."""
    return str(httpx.get(f"{url}/readyz", timeout=5.0).json()["at"])


def _replayed(ws: Workspace) -> list[str]:
    from experiments import journal_replay

    report = journal_replay.run(ws)
    print(f"{report.equal} of {report.total} decisions in the journal re-execute to themselves.", flush=True)
    if report.same and report.total and not report.static:
        return []
    return [f"replay: {report.different} came out different, {report.static} were static, {dict(report.failed)}"]


def _stay(url: str) -> None:
    print(f"\nServing on {url} (documentation: {url}/docs). Ctrl-C ends it.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.sigwait({signal.SIGINT, signal.SIGTERM}) if os.name == "posix" else time.sleep(1e9)
