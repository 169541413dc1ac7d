"""Running the service on this machine: the process that answers, and beside it the one that keeps features fresh."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time

from features.workspace import Workspace
from serving import access
from serving.address import listen
from tessera.setup import RefusedError

RESTART_S = 1.0


def serve(ws: Workspace, host: str, port: int, *, needs_key: bool) -> int:
    """Answer until SIGINT or SIGTERM.

    Returns:
        0 after an orderly end.

    Raises:
        RefusedError: Nobody could call: keys are asked for and none was made.
        OSError: The address is taken.
    """
    if needs_key and not access.read(ws.keys).holders:
        raise RefusedError(
            "no API key was made yet: `tessera keys NAME --scope caller` makes one (or --open on localhost)"
        )
    os.environ["TESSERA_HOME"] = str(ws.root)
    os.environ["TESSERA_CONFIGS"] = str(ws.config_folder)
    os.environ["TESSERA_OPEN"] = "0" if needs_key else "1"
    from serving import service
    from serving.house import open_house

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)  # uvicorn raises the signal again when it has ended: that must not skip our end
    listening = listen(host, port)
    open_house(ws, secrets.token_bytes).close()  # what keeps it from opening is said plainly here, not by the server
    if not ws.champions.exists():
        print("no model serves yet, so answers come marked `degraded`: `tessera train`, `promote`", file=sys.stderr)
    ending = threading.Event()
    keeper = threading.Thread(target=_keep_fresh, args=(ws, ending), daemon=True)
    keeper.start()
    print(f"serving {ws.root} on http://{host}:{port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    try:
        service.run(listening)
    finally:
        ending.set()
        keeper.join(timeout=5)
    return 0


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _keep_fresh(ws: Workspace, ending: threading.Event) -> None:
    """Keep one updater alive; one that dies is started again."""
    places = ["--home", str(ws.root), "--configs", str(ws.config_folder)]
    command = [sys.executable, "-m", "tessera.cli", "updater", "--parent", str(os.getpid()), *places]
    while not ending.is_set():
        child = subprocess.Popen(command)
        while child.poll() is None and not ending.wait(0.2):
            pass
        if child.poll() is None:
            child.terminate()
            child.wait(timeout=5)
        elif not ending.is_set():
            print(f"updater ended with {child.returncode}; starting it again", file=sys.stderr, flush=True)
            time.sleep(RESTART_S)


def new_key(ws: Workspace, owner: str, scopes: list[str]) -> None:
    """Make an API key and print it, once."""
    ws.root.mkdir(parents=True, exist_ok=True)
    key = access.issue(ws.keys, owner, scopes, secrets.token_bytes(32))
    print(f"{key}\nIt is shown this once and stored hashed. Send it as X-API-Key.")
