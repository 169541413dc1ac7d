"""The service under BentoML: the edge that reads the environment, asks the clock, and opens everything.

`bentoml serve serving.service:Tessera` starts it with BentoML's own process manager; `run` starts the same service in
this process, which is quicker. `TESSERA_HOME` says where everything lies, `TESSERA_CONFIGS` where the YAML lies if not
below it, `TESSERA_OPEN=1` lets everybody in, `TESSERA_RESERVATIONS` is the URL of the PostgreSQL that keeps budgets for
many machines.
"""

from __future__ import annotations

import os

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("OTEL_SDK_DISABLED", "true")
for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import asyncio  # noqa: E402 - the environment must stand before numpy and BentoML are imported
import gc  # noqa: E402
import secrets  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import bentoml  # noqa: E402
from starlette.types import ASGIApp, Receive, Scope, Send  # noqa: E402

from features.workspace import Workspace  # noqa: E402
from serving.api import Api  # noqa: E402
from serving.house import House, open_house  # noqa: E402

SWITCH_S = 0.0005
"""How long one thread may keep the interpreter: the journal's must not wait 5 ms behind the event loop."""
BEAT_S = 0.05
RESERVATIONS = os.environ.get("TESSERA_RESERVATIONS")
STATIC = "/static_content/"

api = Api()


class Front:
    """Answers everything but BentoML's static files, before BentoML looks at the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._bento = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the API, and what is no request to BentoML."""
        ours = scope["type"] == "http" and not scope["path"].startswith(STATIC)
        await (api if ours else self._bento)(scope, receive, send)


def workspace() -> Workspace:
    """Where everything lies, as the environment says; `configs` right here where the home has no configuration."""
    home = Path(os.environ.get("TESSERA_HOME", "var"))
    named = os.environ.get("TESSERA_CONFIGS")
    configs = Path(named) if named else None if (home / "configs").is_dir() else Path("configs").resolve()
    return Workspace(home, configs)


SETTINGS: dict[str, Any] = {
    "name": "tessera",
    "workers": int(os.environ.get("TESSERA_WORKERS", "1")),
    "traffic": {"timeout": 30},
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
}
"""BentoML's own metrics label by path and its log is per request: both are ours to do."""


@bentoml.service(**SETTINGS)
class Tessera:
    """The decision service."""

    def __init__(self) -> None:
        self._house: House | None = None
        self._beat: asyncio.Task[None] | None = None

    @bentoml.on_startup  # type: ignore[untyped-decorator, unused-ignore]
    async def open(self) -> None:
        """Open everything, then let requests in."""
        sys.setswitchinterval(SWITCH_S)
        open_door = os.environ.get("TESSERA_OPEN") == "1"
        self._house = open_house(workspace(), secrets.token_bytes, open_door=open_door, reservations=RESERVATIONS)
        self._beat = asyncio.create_task(_measure_lag())
        api.house = self._house
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator, unused-ignore]
    async def shut(self) -> None:
        """Let nobody in, write what waits, and close."""
        api.house = None
        if self._beat is not None:
            self._beat.cancel()
        if self._house is not None:
            await asyncio.to_thread(self._house.close)

    def __is_ready__(self) -> bool:
        return self._house is not None and self._house.watch.ready and self._house.journal.healthy


Tessera.add_asgi_middleware(Front)  # type: ignore[attr-defined]


async def _measure_lag() -> None:
    """How far the event loop is behind, as requests then see it."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT_S
        await asyncio.sleep(BEAT_S)
        api.lag = max(loop.time() - due, 0.0)


def run(listening: socket.socket, app: Any = None) -> None:
    """Serve in this process until SIGINT or SIGTERM.

    Args:
        listening: from `serving.address.listen`.
        app: another app in the same way, for comparison; None is the service itself. The environment says the rest.
    """
    import uvicorn

    served = app or Tessera.to_asgi()  # type: ignore[attr-defined]
    config = uvicorn.Config(served, log_config=None, server_header=False, timeout_graceful_shutdown=10, lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])
