"""Serving: throughput and latency of `/v1/next-best-action`, what each stage costs, and the obvious stack beside it.

One server at a time, with one worker on one core; the load comes from another process on the other core. Throughput is
what 32 connections get out of it; latency is measured at half of that with requests that arrive at random, on time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from serving.address import listen
from tessera.bench import stages
from tessera.bench.ground import FACTORS, LEAVES, MEMBERS, PRODUCTS, SIMULATED, TREES, Ground, prepare

PATH = "/v1/next-best-action"
STACKS = {
    "no-op route": "noop",
    "Tessera": "tessera",
    "obvious stack": "obvious",
    "obvious stack, our store": "obvious_rows",
}
CONNECTIONS, SECONDS = 32, 8.0
ROOT = Path(__file__).parents[2]
_OURS = """
import sys
from serving.address import listen
from serving.service import run
run(listen("127.0.0.1", int(sys.argv[1])))
"""


def run() -> None:
    """Measure and print; `TESSERA_BENCH_HOME` keeps the ground for the next time."""
    console = Console()
    kept = os.environ.get("TESSERA_BENCH_HOME")
    with tempfile.TemporaryDirectory(prefix="tessera-bench-") as scratch:
        ground = Ground(Path(kept or scratch) / "serve")
        _lay(ground, console)
        console.print(
            f"{PRODUCTS:,} products, {MEMBERS:,} members ({SIMULATED:,} simulated, under many ids), ALS with {FACTORS} "
            f"factors, {TREES} trees of {LEAVES} leaves; {os.cpu_count()} cores"
        )
        _print_stages(ground, console)
        _print_stacks({name: _measure(kind, ground) for name, kind in STACKS.items()}, console)
        console.print(stages.syncs(ground))


def _lay(ground: Ground, console: Console) -> None:
    if (ground.rivals / "feast").exists():
        return
    for step in prepare(ground.home):
        console.print(f"[dim]{step}[/dim]")
    from tessera.bench.stacks import fill_feast

    fill_feast(ground)


def _print_stages(ground: Ground, console: Console) -> None:
    table = Table("stage", "µs, median", "µs, p99", title=f"one {PATH}, stage by stage")
    for name, seconds in stages.measure(ground).items():
        table.add_row(name, f"{np.median(seconds) * 1e6:,.0f}", f"{np.percentile(seconds, 99) * 1e6:,.0f}")
    console.print(table)


def _print_stacks(found: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table(
        "stack", "req/s", "of the no-op", "at half load: p50", "p99", "max", "not 200", "degraded",
        title="one worker each, same shell, same tuning",
    )  # fmt: skip
    base = found["no-op route"]["most"]["per_second"]
    for name, one in found.items():
        most, half = one["most"], one["half"]
        table.add_row(
            name, f"{most['per_second']:,.0f}", f"{most['per_second'] / base:.0%}", f"{half['p50_ms']:.2f} ms",
            f"{half['p99_ms']:.2f} ms", f"{half['max_ms']:.1f} ms", str(half["refused"]), str(half["degraded"]),
        )  # fmt: skip
    console.print(table)
    ours = found["Tessera"]["most"]["per_second"]
    for name in ("obvious stack", "obvious stack, our store"):
        console.print(f"Tessera / {name}: {ours / found[name]['most']['per_second']:.1f} ×")


def _measure(kind: str, ground: Ground) -> dict[str, Any]:
    with _server(kind, ground) as port:
        _load(port, 4, 0, 1.5, seed=1)
        most = _load(port, CONNECTIONS, 0, SECONDS, seed=2)
        half = _load(port, CONNECTIONS, most["per_second"] / 2, SECONDS, seed=3)
    return {"most": most, "half": half}


def _load(port: int, connections: int, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    numbers = [str(one) for one in (connections, rate, seconds, seed, 1)]
    command = [sys.executable, "-m", "tessera.bench.load", str(port), PATH, *numbers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _server(kind: str, ground: Ground) -> Iterator[int]:
    with listen("127.0.0.1", 0) as found:
        port: int = found.getsockname()[1]
    command = [sys.executable, "-c", _OURS, str(port)]
    if kind != "tessera":
        command = [sys.executable, "-m", "tessera.bench.stacks", kind, str(ground.home), str(port)]
    environment = {
        **os.environ,
        "TESSERA_HOME": str(ground.home),
        "TESSERA_CONFIGS": str(ground.ws.config_folder),
        "TESSERA_OPEN": "1",
    }
    ground.ws.journal.unlink(missing_ok=True)
    server = subprocess.Popen(command, cwd=ROOT, env=environment, preexec_fn=_first_core)  # noqa: PLW1509 - one thread
    try:
        _until_ready(port, server.poll)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _first_core() -> None:
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {0})


def _until_ready(port: int, ended: Callable[[], int | None]) -> None:
    for _ in range(1200):
        if ended() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as found:
                if found.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server of this benchmark does not start; its output says why")
