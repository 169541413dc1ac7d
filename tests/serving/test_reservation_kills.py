"""Many clients, kill -9 at any moment, clocks that jump: nothing is given twice, nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.serving.reservation_stores import NO_POSTGRES, private_postgres
from tests.serving.reservation_victim import CAP, QUOTA, STOCK, WEEK_S

ROOT = Path(__file__).parents[2]
AMOUNTS = {"quota": QUOTA, "stock": STOCK}
Query = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="install the extra: tessera[postgres]")
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip(NO_POSTGRES)
    with private_postgres() as url:
        yield url


def query_sqlite(path: Path) -> Query:
    connection = apsw.Connection(str(path))
    return lambda sql: list(connection.execute(sql))


def query_postgres(url: str) -> Query:
    import psycopg

    def ask(sql: str) -> list[Any]:
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[arg-type, unused-ignore]

    return ask


def test_eight_clients_of_one_journal_killed_now_and_then(tmp_path: Path) -> None:
    said, _ = run("sqlite", str(tmp_path / "journal.db"), claims=4_000, beside=1, kills=3)
    check(query_sqlite(tmp_path / "journal.db"), said)


@pytest.mark.slow
def test_eight_processes_on_postgres_killed_now_and_then(postgres: str) -> None:
    said, _ = run("postgres", postgres, claims=1_600, beside=8, kills=3)
    check(query_postgres(postgres), said)


@pytest.mark.slow
def test_a_million_reservations(tmp_path: Path, postgres: str) -> None:
    million = int(os.environ.get("TESSERA_RESERVATIONS", "1000000"))
    for kind, claims, beside in (("sqlite", million * 9 // 10, 1), ("postgres", million // 10, 8)):
        where = str(tmp_path / "journal.db") if kind == "sqlite" else postgres
        began = time.monotonic()
        said, killed = run(kind, where, claims, beside, kills=60)
        took = time.monotonic() - began
        found = check(query_sqlite(Path(where)) if kind == "sqlite" else query_postgres(where), said)
        print(f"\n{kind}: {found} in {took:,.0f} s, {killed} killed")


def run(kind: str, where: str, claims: int, beside: int, kills: int) -> tuple[list[str], int]:
    """Have victims ask for so many claims together, killing some; returns all they acknowledged."""
    rng = random.Random(11)
    files: list[Path] = []
    folder = Path(tempfile.mkdtemp())
    running: list[subprocess.Popen[bytes]] = []
    share, asked, killed, seed = max(claims // beside // 4, 200), 0, 0, 0
    try:
        while asked < claims:
            running = [one for one in running if one.poll() is None]
            while len(running) < beside:
                files.append(folder / f"{seed}")
                command = [sys.executable, "-m", "tests.serving.reservation_victim", kind, where, f"{seed}", f"{share}"]
                with files[-1].open("wb") as out:
                    running.append(subprocess.Popen(command, stdout=out, cwd=ROOT))
                seed += 1
            time.sleep(rng.uniform(0.2, 0.8))
            if killed < kills and files[-beside].stat().st_size:
                running[0].kill()
                killed += 1
            asked = sum(count(path) for path in files)
        for one in running:
            one.kill()
            one.wait()
        return [line for path in files for line in path.read_text().splitlines() if line], killed
    finally:
        for one in running:
            one.kill()
        shutil.rmtree(folder)


def count(path: Path) -> int:
    return sum(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("asked "))


def check(query: Query, said: list[str]) -> str:
    """Everything adds up: budgets to their reservations, acknowledgements to states, members to their caps."""
    states = dict(query("select reservation_id, state from reservations"))
    for line in said:
        kind, name = line.split()
        if kind == "granted":
            assert name in states, f"{name} was granted and is lost"
        elif kind in ("committed", "released", "expired"):
            assert states[name] == kind
    sums = {(budget, int(period)): rest for budget, period, *rest in query(_SUMS)}
    assert query("select sum(refused) from budget_use")[0][0] > 0, "nothing was ever scarce"
    uses = query("select budget_id, period, spent, open_count, open_most from budget_use")
    assert {budget for budget, *_ in uses} == set(AMOUNTS)
    for budget, period, spent, open_count, open_most in uses:
        assert spent + open_most <= AMOUNTS[budget]
        assert [spent, open_count, open_most] == [int(one) for one in sums.get((budget, int(period)), (0, 0, 0))]
    check_caps(query)
    asked = sum(int(line.split()[1]) for line in said if line.startswith("asked "))
    return (
        f"{asked:,} asked for, {len(states):,} granted, {sum(one == 'committed' for one in states.values()):,} redeemed"
    )


_SUMS = """select budget_id, period,
  sum(case when state = 'released' then 0 else sure end)
    + sum(case when state = 'committed' then coalesce(taken, 0) else 0 end),
  sum(case when state = 'open' then 1 else 0 end), sum(case when state = 'open' then most else 0 end)
  from draws join reservations using (reservation_id) group by budget_id, period"""


def check_caps(query: Query) -> None:
    times: dict[str, list[int]] = {}
    for member, at in query("select member_id, at from cap_uses"):
        times.setdefault(member, []).append(int(at))
    assert times
    for many in times.values():
        many.sort()
        for first, last in zip(many, many[CAP:], strict=False):
            assert last - first >= WEEK_S * 1_000_000
