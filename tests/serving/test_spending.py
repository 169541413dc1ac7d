"""Validate, redeem and roll back over HTTP, and what the budgets say of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.workspace import Workspace
from serving.access import issue
from serving.client import CallError, Client
from tests.serving import small_programme
from tests.serving.running import Running, served

OFFERS = "offers:\n  - {id: gift, type: gift, name: A gift, economics: {cost: 1, response: 0.9, effect_share: 1}}\n"
BUDGETS = """
budgets:
  - {id: stock, name: Gifts, unit: units, amount: 50, candidates: [gift]}
  - {id: cash, name: Cash, unit: money, amount: 30, hard: true, candidates: [gift]}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    ws: Workspace = small_programme.build(tmp_path_factory.mktemp("spending") / "home")
    for path in ws.experiments.glob("*.yaml"):
        path.unlink()
    (ws.catalog / "offers.yaml").write_text(OFFERS)
    (ws.catalog / "budgets.yaml").write_text(BUDGETS)
    (ws.prices).write_text('{"prices": {"cash": 0.01}}')
    with served(ws.root) as running:
        yield running


@pytest.fixture
def client(shop: Running) -> Iterator[Client]:
    with Client(shop.url, shop.key) as found:
        yield found


def reserved(client: Client, start: int) -> str:
    """A reservation of some member who gets the gift."""
    for n in range(start, start + 40):
        for result in client.offers(f"M{n:07d}", channel="app").results:
            if result.reservation_id is not None:
                return result.reservation_id
    raise AssertionError("nobody gets the gift")


def left(client: Client, budget: str) -> tuple[float, float, int]:
    (found,) = [one for one in client.budgets() if one.id == budget]
    return found.spent, found.left, found.open


def refusal(error: CallError) -> tuple[int, str]:
    return error.status, error.errors[0]["rule"]


def test_a_reservation_is_validated_redeemed_and_rolled_back(client: Client) -> None:
    name = reserved(client, 1)
    spent, free, waiting = left(client, "stock")
    assert client.validate(name).state == "open"
    for _ in range(2):
        assert client.commit(name, money=0.8).state == "committed"
    assert left(client, "stock") == (spent + 1, free, waiting - 1)
    assert left(client, "cash")[0] == pytest.approx(0.8)
    assert client.validate(name).state == "committed"
    for _ in range(2):
        assert client.release(name).state == "released"
    assert left(client, "stock") == (spent, free + 1, waiting - 1)
    assert left(client, "cash")[0] == 0.0
    with pytest.raises(CallError) as caught:
        client.commit(name)
    assert refusal(caught.value) == (409, "RELEASED")


def test_what_cannot_be_redeemed_says_why(client: Client) -> None:
    name = reserved(client, 50)
    with pytest.raises(CallError) as caught:
        client.commit(name, money=500.0)
    assert refusal(caught.value) == (409, "OVER_BUDGET")
    assert client.validate(name).state == "open"
    for step in (client.validate, client.commit, client.release):
        with pytest.raises(CallError) as caught:
            step("rsv-nobody")
        assert refusal(caught.value) == (404, "UNKNOWN")


def test_a_redeem_event_commits(client: Client) -> None:
    for n in range(100, 140):
        answer = client.offers(f"M{n:07d}", channel="app")
        if answer.results and answer.results[0].reservation_id:
            break
    event = {"event_id": "r1", "type": "redeem", "member_id": answer.member_id, "decision_id": answer.decision_id,
             "id": "gift", "discount": 0.5}  # fmt: skip
    before = left(client, "cash")[0]
    assert client.report([event]).accepted == 1
    assert client.report([event]).duplicates == 1
    assert left(client, "cash")[0] == pytest.approx(before + 0.5)
    assert client.validate(str(answer.results[0].reservation_id)).state == "committed"


def test_budgets_say_what_they_promise_and_what_one_more_would_earn(client: Client) -> None:
    found = {one.id: one for one in client.budgets()}
    assert (found["stock"].hard, found["stock"].overspend, found["stock"].price) == (True, 0.0, 0.0)
    assert (found["cash"].amount, found["cash"].price, found["cash"].live) == (30.0, 0.01, True)


def test_a_marketer_reads_budgets_and_redeems_nothing(shop: Running) -> None:
    key = issue(Path(shop.home) / "keys.json", "reader", ["marketer"], b"m" * 32)
    with Client(shop.url, key) as reader:
        for _ in range(50):  # the service looks at its keys five times a second
            try:
                assert reader.budgets()
                break
            except CallError as error:
                assert error.status == 401
                time.sleep(0.05)
        with pytest.raises(CallError) as caught:
            reader.commit("rsv-1")
    assert caught.value.status == 403
