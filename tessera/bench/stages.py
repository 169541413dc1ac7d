"""What each stage of a decision costs, in this process, one member after the other; and what a sync costs."""

from __future__ import annotations

import os
import secrets
import time
from collections import defaultdict
from typing import Any

import numpy as np
import orjson
from threadpoolctl import threadpool_limits

from serving import engine, limits
from serving.contract import DecisionRequest
from serving.decide import seen_and_decided
from serving.house import House, open_house
from serving.journal import EventRow
from serving.snapshot import Learned
from tessera.bench.ground import COPIES, SIMULATED, Ground, alias

ROUNDS = 1_500


class _Laps:
    """A stop-watch with named laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._last = 0.0

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name].append(now - self._last)
        self._last = now


def measure(ground: Ground) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Stage → seconds for each of many members, and `all of it`."""
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (ground.home / name).unlink(missing_ok=True)
    house = open_house(ground.ws, secrets.token_bytes)
    try:
        with threadpool_limits(1):
            return _measured(house)
    finally:
        house.close()


def _measured(house: House) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    laps = _Laps()
    rng = np.random.default_rng(4)
    members = rng.permutation(SIMULATED * COPIES)[: ROUNDS + 200].tolist()
    for number in members:
        _one(house, alias(f"M{number // COPIES + 1:07d}", number % COPIES), laps)
    found = {name: np.array(seconds[200:]) for name, seconds in laps.seconds.items()}
    return {**found, "all of it": np.sum(list(found.values()), axis=0)}


def _one(house: House, member_id: str, laps: _Laps) -> None:
    """The stages of `Engine.plan` and `delivery.deliver`, one after the other."""
    present, at = house.watch.present(), house.now()
    book, journal = present.rulebook, house.journal
    body = b'{"member_id":"%s","channel":"app"}' % member_id.encode()
    laps.start()
    asked = DecisionRequest.model_validate(limits.parse(body))
    call = engine.call("action", member_id, asked, at, b"")
    laps.lap("read and check the request")
    stored = house.engine.fetch(member_id, present)
    laps.lap("features: read the online store")
    member = book.finish(stored, at) if stored else None
    laps.lap("features: finish at this moment")
    seen = house.engine.look(call, present)
    laps.start()
    champions = present.champions
    churn = champions.churn_of(member) if member else None
    laps.lap("churn")
    products = champions.products_for(member, at, 3)
    laps.lap("recommendation")
    learned = Learned(churn, products, champions.responses, versions=champions.versions)
    journal.find_period("nobody|has|this|key")
    journal.memory(member_id, 0)
    laps.lap("journal: what was decided before")
    decision, who = seen_and_decided(seen.snapshot, call.ask, learned, book.catalog, book.policy, book.experiments)
    laps.lap("decide: filter, price, draw")
    plan = house.engine.first(call, present, seen, learned, decision, f"bench|{member_id}", None, who)
    laps.lap("answer and payload")
    orjson.dumps(plan.answer)
    laps.lap("write JSON")
    if plan.row is not None:
        journal.append_decisions([plan.row])
    laps.lap("journal: commit (another thread)")


def syncs(ground: Ground) -> str:
    """A sentence on how long events wait for the disk."""
    house = open_house(ground.ws, secrets.token_bytes)
    try:
        waits = []
        for number in range(300):
            began = time.perf_counter()
            name = f"{os.getpid()}-{number}"
            house.journal.append_events([EventRow(name, "M1", number, b"x" * 200)])
            waits.append(time.perf_counter() - began)
        sync = np.array(house.journal.sync_seconds) * 1e3
        wait = np.array(waits) * 1e3
    finally:
        house.close()
    return (
        f"sync of the journal: p50 {np.median(sync):.2f} ms, p99 {np.percentile(sync, 99):.2f} ms; an event is on disk "
        f"after p50 {np.median(wait):.2f} ms, p99 {np.percentile(wait, 99):.2f} ms"
    )
