"""The service as a process of its own, for tests that talk to it over a socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from serving.access import issue

ROOT = Path(__file__).parents[2]
START = (
    "import sys; from serving.address import listen; from serving.service import run;"
    " run(listen('127.0.0.1', int(sys.argv[1])))"
)


@dataclass(frozen=True)
class Running:
    """A service that answers at `url`; the key opens everything."""

    url: str
    home: Path
    key: str
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def http(self, key: str | None = None) -> httpx.Client:
        """A client; nothing is encrypted, so it does not load the machine's certificates."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=10, verify=False)

    def until_ready(self, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, "the service ended"
            time.sleep(0.03)
        raise AssertionError(f"not ready after {seconds} s")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def start(home: Path, environment: Mapping[str, str] | None = None, port: int | None = None) -> Running:
    """Start it; `until_ready` waits until it answers."""
    at = port or free_port()
    key = issue(home / "keys.json", "tests", ["admin"], os.urandom(32))
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(at)],
        cwd=ROOT,
        env={**os.environ, "TESSERA_HOME": str(home), **(environment or {})},
    )
    return Running(f"http://127.0.0.1:{at}", home, key, process)


@contextmanager
def served(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A service that is ready, and stops at the end."""
    running = start(home, environment)
    try:
        running.until_ready()
        yield running
    finally:
        running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(15)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
            raise


def eventually(check: object, seconds: float) -> float:
    """Wait until a check holds; how long it took. The check is a function of nothing."""
    assert callable(check)
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, f"still not so after {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began
