"""A whole small programme made from raw files, and the command line and the service as processes of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import yaml

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features.workspace import Workspace
from tessera import build, clock, load
from tests.serving.running import free_port

ROOT = Path(__file__).parents[1]
ENDS = datetime(2026, 6, 30, tzinfo=UTC)
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
"""What the programme clock reads when the programme has just been built: far from midnight."""
MEMBERS, PRODUCTS = 300, 60
QUICK: Mapping[str, Any] = {
    "seed": 7,
    "taste": {"recipes": {"popularity": {}, "repeat": {}, "als": {"factors": 8, "iterations": 3}}},
    "churn": {"trees": 30, "leaves": [4], "min_leaf": 20, "cut_offs": 2, "resamples": 20, "ablation": False},
    "response": {"window_days": 14, "enough": 20},
    "effects": {"enough": 100_000},
    "gate": {"resamples": 100},
}
"""training.yaml: the same models, trained in a moment."""
MAP = """
tables:
  purchases:
    file: sales.csv
    separator: ";"
    columns: {purchase_id: Line, basket_id: Receipt, member_id: Card, product_id: Article, quantity: Pieces,
              unit_price: Price, discount: Rebate, reverses: Returned, offer_id: Coupon, channel: Where,
              occurred_at: Sold, known_at: Booked}
"""


def raw_files(folder: Path) -> Mapping[str, pd.DataFrame]:
    """What a retailer would hand over: sales under names of their own, one line without an article, one line twice."""
    folder.mkdir(parents=True)
    tables = simulate(WORLDS["strong"], members=MEMBERS, products=PRODUCTS, days=400, ends_at=ENDS, seed=7)
    sales = tables["purchases"].drop(columns=["amount", "store_id"])
    sales = sales.rename(columns=dict(zip(sales.columns, _their_names(list(sales.columns)), strict=True)))
    bad = sales.head(1).assign(Line="L-bad", Article=None)
    pd.concat([sales, sales.head(1), bad]).to_csv(folder / "sales.csv", sep=";", index=False)
    (folder / "map.yaml").write_text(MAP)
    for name in ("members", "products", "points", "engagements", "offers", "offer_events", "decisions"):
        tables[name].to_parquet(folder / f"{name}.parquet", index=False)
    return tables


def _their_names(ours: list[str]) -> list[str]:
    named = yaml.safe_load(MAP)["tables"]["purchases"]["columns"]
    return [named[name] for name in ours]


def quick_configs(folder: Path) -> Path:
    """The shipped configuration with a quick `training.yaml`."""
    shutil.copytree(ROOT / "configs", folder)
    (folder / "training.yaml").write_text(yaml.safe_dump(dict(QUICK)))
    return folder


def demonstrate(home: Path, configs: Path) -> subprocess.CompletedProcess[str]:
    """`tessera demo --once` on a small simulated programme."""
    size = ("--members", str(MEMBERS), "--products", str(PRODUCTS), "--port", str(free_port()))
    return tessera(Workspace(home), "demo", "--once", *size, "--configs", str(configs))


def remake(ws: Workspace, raw: Path) -> None:
    """Replace the history by raw files, and go on to promoted models, by what the commands call."""
    load.run(ws, load.History("folder", raw), append=False)
    clock.set_to(ws, NOON)
    build.features(ws)
    build.train(ws, None)
    build.promote(ws, None, None, rollback=False)


def copy(of: Path, to: Path) -> Workspace:
    """A copy with a configuration of its own that a test may change; its clock reads noon."""
    copy_whole(of, to)
    quick_configs(to / "configs")
    ws = Workspace(to)
    clock.set_to(ws, NOON)
    return ws


def copy_whole(of: Path, to: Path) -> None:
    """A copy as it is. MLflow writes down where artefacts lie; the copy keeps its own."""
    shutil.copytree(of, to)
    with contextlib.closing(sqlite3.connect(to / "mlflow" / "mlflow.db")) as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", (of.as_uri(), to.as_uri()))
        database.commit()


def command(ws: Workspace, *arguments: str) -> list[str]:
    """A command line on this workspace."""
    return [sys.executable, "-m", "tessera.cli", *arguments, "--home", str(ws.root)]


def tessera(ws: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command(ws, *arguments), capture_output=True, text=True, cwd=ROOT, check=False)


@dataclass(frozen=True)
class Service:
    """A running `tessera serve --open`."""

    url: str
    ws: Workspace
    process: subprocess.Popen[bytes]

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a call that must succeed."""
        reply = httpx.post(f"{self.url}{path}", json=body, timeout=10)
        assert reply.is_success, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def get(self, path: str) -> dict[str, Any]:
        """The same for a look-up."""
        reply = httpx.get(f"{self.url}{path}", timeout=10)
        assert reply.status_code in (200, 503), reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def decide(self, path: str, **body: Any) -> dict[str, Any]:
        """A decision that is in the journal: on a machine this busy an answer may once be the static one."""
        for _ in range(20):
            answer = self.post(path, **body)
            if not {"journal", "features"} & set(answer["meta"]["degraded"]):
                return answer
            time.sleep(0.3)
        raise AssertionError(f"always degraded: {answer}")

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says."""
        return self.get("/readyz")


@contextmanager
def served(ws: Workspace, port: int | None = None) -> Iterator[Service]:
    """The service and its updater, ready, and gone at the end."""
    at = port or free_port()
    started = command(ws, "serve", "--open", "--port", str(at))
    process = subprocess.Popen(started, cwd=ROOT, env={**os.environ}, stderr=subprocess.DEVNULL)
    service = Service(f"http://127.0.0.1:{at}", ws, process)
    try:
        _until_ready(service)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _until_ready(service: Service) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert service.process.poll() is None, "the service ended"
        try:
            if httpx.get(f"{service.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready after 30 s")
