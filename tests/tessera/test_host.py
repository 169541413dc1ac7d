"""`tessera serve` takes its updater with it, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.serving.running import free_port

ROOT = Path(__file__).parents[2]


def updaters_of(parent: int) -> list[int]:
    """Process ids of updaters that were told to end with this parent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if "updater" in words and str(parent) in words:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc, which this system has not")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_the_updater_ends_with_the_service(tmp_path: Path, number: signal.Signals, status: int) -> None:
    port = free_port()
    command = [sys.executable, "-m", "tessera.cli", "serve", "--open", "--home", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        within(30, lambda: answers(port) and bool(updaters_of(process.pid)))
        process.send_signal(number)
        assert process.wait(20) == status
        within(20, lambda: not updaters_of(process.pid))
    finally:
        process.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def within(seconds: float, holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
