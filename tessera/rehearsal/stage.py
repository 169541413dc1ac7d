"""The service in a process of its own with a clock that stands.

It is the same API over a real socket, and nothing that happens there hangs on how quick the machine is, so that a month
can be played twice to the cent.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from features.workspace import Workspace
from tessera.setup import RefusedError

READY_S = 120.0
PATIENCE_S = 60.0
"""A busy machine must not turn answers into static ones."""
EVENTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Stage:
    """A service that answers over HTTP, and its clock."""

    http: httpx.Client
    _clock: Any

    def at(self, moment: datetime) -> None:
        """Let the clock stand at a moment."""
        self._clock.value = moment.timestamp()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a call that must succeed.

        Raises:
            RefusedError: it did not; the text is what the service said.
        """
        reply = self.http.post(path, json=body)
        if not reply.is_success:
            raise RefusedError(f"rehearsal: {path} answered {reply.status_code}: {reply.text}")
        answer: dict[str, Any] = reply.json()
        return answer

    def report(self, events: list[dict[str, Any]]) -> None:
        """Tell the service what members did.

        Raises:
            RefusedError: it did not take every event.
        """
        for first in range(0, len(events), EVENTS_AT_ONCE):
            said = self.post("/v1/events", {"events": events[first : first + EVENTS_AT_ONCE]})
            if said["rejected"]:
                raise RefusedError(f"rehearsal: an event was rejected: {said['rejected'][0]}")


@contextmanager
def staged(ws: Workspace, seed: int) -> Iterator[Stage]:
    """The service on a workspace, until the end of the block."""
    context = multiprocessing.get_context("spawn")
    clock, port = context.Value("d", 0.0), context.Value("i", 0)
    process = context.Process(target=_serve, args=(ws.root, ws.config_folder, seed, clock, port), daemon=True)
    process.start()
    try:
        with httpx.Client(timeout=60.0, trust_env=False) as http:
            http.base_url = httpx.URL(_ready(process, port))
            yield Stage(http, clock)
    finally:
        process.terminate()
        process.join(30)


def _ready(process: Any, port: Any) -> str:
    import time

    ends = time.monotonic() + READY_S
    while not port.value:
        if not process.is_alive() or time.monotonic() > ends:
            raise RefusedError("rehearsal: the service did not come up; `tessera check` says what is wrong")
        time.sleep(0.02)
    return f"http://127.0.0.1:{port.value}"


def _serve(root: Path, configs: Path, seed: int, clock: Any, port: Any) -> None:
    """In the child: serve until SIGTERM, and whatever happens not longer than the parent lives."""
    os.environ.update(BENTOML_DO_NOT_TRACK="True", OTEL_SDK_DISABLED="true")
    import asyncio

    import uvicorn

    from serving.address import listen
    from serving.api import Api
    from serving.house import open_house

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    house = open_house(
        Workspace(root, configs), random.Random(seed).randbytes, clock=lambda: clock.value, open_door=True, patient=True
    )
    house.journal.patience = PATIENCE_S
    house.watch.stop()  # it is looked at with every request instead, wherever the real time stands
    api = Api()
    api.house = house

    async def app(scope: Any, receive: Any, send: Any) -> None:
        house.watch.look()
        await api(scope, receive, send)

    listening = listen("127.0.0.1", 0)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer's second part waits 40 ms
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False)
    port.value = listening.getsockname()[1]
    try:
        asyncio.run(_until_orphaned(uvicorn.Server(config), listening))
    finally:
        house.close()


async def _until_orphaned(server: Any, listening: Any) -> None:
    import asyncio

    parent = os.getppid()

    async def watch() -> None:
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
        server.should_exit = True

    watching = asyncio.create_task(watch())
    await server.serve(sockets=[listening])
    watching.cancel()
