"""Two machines with one PostgreSQL of budgets: nothing is given twice, and every crash between the two stores heals."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.client import CallError, Client
from serving.journal_rows import DecisionRow
from serving.reservations.contract import Claim
from tests.serving import small_programme
from tests.serving.reservation_stores import NO_POSTGRES, claim, private_postgres, units
from tests.serving.running import eventually, served

psycopg = pytest.importorskip("psycopg", reason="install the extra: tessera[postgres]")

STOCK = 5
OFFERS = """offers:
  - {id: gift, type: gift, name: A gift, economics: {cost: 0.1, response: 0.9, effect_share: 1}}
  - {id: free, type: gift, name: Advice, economics: {cost: 0.01, response: 0.1, effect_share: 1}}
"""
BUDGETS = f"budgets:\n  - {{id: stock, name: Gifts, unit: units, amount: {STOCK}, candidates: [gift]}}\n"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    if not (shutil.which("initdb") and shutil.which("postgres")):
        pytest.skip(NO_POSTGRES)
    with private_postgres() as url:
        yield url


def test_two_machines_share_a_stock_and_answer_without_it(postgres: str, tmp_path: Path) -> None:
    first = small_programme.build(tmp_path / "first")
    for path in first.experiments.glob("*.yaml"):
        path.unlink()
    (first.catalog / "offers.yaml").write_text(OFFERS)
    (first.catalog / "budgets.yaml").write_text(BUDGETS)
    shutil.copytree(first.root, tmp_path / "second")
    shared = {"TESSERA_RESERVATIONS": postgres}
    with (
        served(first.root, shared) as one, served(tmp_path / "second", shared) as two,
        Client(one.url, one.key) as here, Client(two.url, two.key) as there,
    ):  # fmt: skip
        eventually(lambda: bool(budget(there)), 5)
        given: list[str | None] = []
        n = 0
        while len(given) < STOCK and n < 200:  # a busy machine may be late now and then
            n += 1
            found = (here, there)[n % 2].offers(f"M{n:07d}", channel="app")
            given += [result.reservation_id for result in found.results if result.id == "gift"]
        for n in range(201, 231):
            found = (here, there)[n % 2].offers(f"M{n:07d}", channel="app")
            given += [result.reservation_id for result in found.results if result.id == "gift"]
        assert len(given) == STOCK
        for client in (here, there):
            eventually(lambda: budget(client) == (0.0, 0.0, STOCK), 5)  # noqa: B023
        assert there.commit(str(given[0])).state == "committed"
        assert here.validate(str(given[0])).state == "committed"
        assert here.release(str(given[1])).state == "released"
        eventually(lambda: budget(there) == (1.0, 1.0, STOCK - 2), 5)

        with psycopg.connect(postgres.replace("/postgres?", "/template1?"), autocommit=True) as root:
            root.execute("alter database postgres allow_connections false")
            root.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'postgres'")
            eventually(lambda: "budgets" in here.offers("M0000240", channel="app", dry_run=True).meta.degraded, 9)
            answers = [here.offers(f"M{n:07d}", channel="app") for n in range(241, 261)]
            assert not any(result.id == "gift" for answer in answers for result in answer.results)
            assert any(result.id == "free" for answer in answers for result in answer.results)
            why = here.explain(answers[0].decision_id)["suppressed"]
            assert "BUDGET_UNKNOWN" in {one["code"] for one in why if one["id"] == "gift"} or not answers[0].results
            with pytest.raises(CallError) as caught:
                here.commit(str(given[2]))
            assert caught.value.status == 503
            event = {"event_id": "r1", "type": "redeem", "id": "gift", "member_id": "nobody", "discount": 0.5}
            assert here.report([event]).accepted == 1
            root.execute("alter database postgres allow_connections true")
        eventually(lambda: not here.offers("M0000240", channel="app", dry_run=True).meta.degraded, 9)
        assert here.commit(str(given[2])).state == "committed"


def budget(client: Client) -> tuple[float, float, int] | None:
    try:
        (found,) = [one for one in client.budgets() if one.id == "stock"]
    except CallError:
        return None
    return found.spent, found.left, found.open


def row(one: Claim, period_key: str | None = None) -> DecisionRow:
    return DecisionRow(one.decision_id, one.member_id, "offer", one.at, b"", claim=one, period_key=period_key)


def test_what_a_crash_leaves_between_the_two_is_given_back(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving import shared_journal
    from serving.journal_rows import EventRow
    from serving.reservations.postgres import PostgresReservations

    monkeypatch.setattr(shared_journal, "UNSURE_S", 0.5)
    journal = shared_journal.SharedJournal(tmp_path / "journal.db", postgres)
    claims = [claim(n, units(budget="between"), member=f"m{n}", at=10) for n in range(900, 904)]
    (kept,) = journal.append_decisions([row(claims[0], "p")])
    assert kept.how == "stored"
    (again,) = journal.append_decisions([row(claims[1], "p")])  # reserved, but the period is taken
    assert again.how == "repeat"
    store = PostgresReservations(postgres, journal._keeper)
    eventually(lambda: store.find("r-901").state == "released", 3)
    store.reserve([claims[2]])  # and then the process is killed before its journal has the decision
    time.sleep(0.6)
    eventually(lambda: journal.submit_sweep(20) and store.find("r-902").state == "released", 5)
    assert store.find("r-900").state == "open"
    told = b'{"event_id":"t","type":"redeem","member_id":"m900","decision_id":"d-900","id":"c"}'
    journal.append_events([EventRow("t", "m900", 15, told)])
    eventually(lambda: store.find("r-900").state == "committed", 3)
    store.close()
    journal.close()
