"""Both stores of reservations behind one face, for tests that hold for each; and a PostgreSQL of our own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from serving.reservations import settling, sqlite
from serving.reservations.contract import Balance, Cap, Claim, Draw, Given, Hold, Settled, Swept

AMOUNT = 1_000
NO_POSTGRES = "initdb and postgres are not installed; `apt-get install postgresql` brings them"


class SqliteStore:
    """The functions over a journal's connection, each in a transaction of its own."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        sqlite.prepare(self._connection)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connection:
            yield

    def reserve(self, claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]:
        with self._transaction():
            return sqlite.reserve(self._connection, claims)

    def commit(self, reservation_id: str, at: int, given: Given, *, fact: bool = False) -> Settled:
        with self._transaction():
            return settling.commit(self._connection, reservation_id, at, given, fact=fact)

    def release(self, reservation_id: str, at: int) -> Settled:
        with self._transaction():
            return settling.release(self._connection, reservation_id, at)

    def sweep(self, at: int, limit: int = 1000) -> Swept:
        with self._transaction():
            return settling.sweep(self._connection, at, limit)

    def balances(self) -> list[Balance]:
        return settling.balances(self._connection)


def claim(n: int, *draws: Draw, member: str = "m", at: int = 10, caps: tuple[Cap, ...] = (), **more: Any) -> Claim:
    """A decision for one candidate."""
    hold = Hold(f"r-{n}", "c", more.pop("expires_at", at + 100), draws, caps, **more)
    return Claim(f"d-{n}", member, at, (hold,))


def units(count: int = 1, amount: int = AMOUNT, budget: str = "b", period: int = 0, **more: Any) -> Draw:
    """Pieces of a stock."""
    return Draw(budget, period, amount, 0, count, "units", count, **more)


@contextmanager
def private_postgres() -> Iterator[str]:
    """A PostgreSQL of our own on a socket in a folder of its own; its URL."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # initdb refuses to run as root
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    data = folder / "data"
    made = ["initdb", "-D", str(data), "-U", "tessera", "-A", "trust", "--no-sync"]
    subprocess.run(made, check=True, timeout=60, **quiet, **user)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "max_connections=40"]
    server = subprocess.Popen(["postgres", "-D", str(data), *settings], **quiet, **user)
    try:
        _until_it_listens(folder / ".s.PGSQL.5432", server)
        yield f"postgresql://tessera@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _until_it_listens(path: Path, server: subprocess.Popen[bytes]) -> None:
    ready = path.parent / "data" / "postmaster.pid"
    for _ in range(600):
        with socket.socket(socket.AF_UNIX) as probe:
            if path.exists() and probe.connect_ex(str(path)) == 0 and b"ready" in ready.read_bytes():
                return
        assert server.poll() is None, "PostgreSQL ended"
        time.sleep(0.05)
    raise AssertionError("PostgreSQL does not listen")
