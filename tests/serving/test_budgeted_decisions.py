"""Budgets through the whole of serving: a decision and what it reserves are one commit, whoever asks."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from features import history
from features.workspace import Workspace
from serving import payload, policy
from serving.contract import DecisionRequest, Envelope
from serving.delivery import decide_many, deliver
from serving.engine import call
from serving.house import House, open_house
from serving.journal_rows import EventRow, Redeemed
from serving.reservations.contract import Balance, Given
from tests.serving import small_programme

GIFTS = """
offers:
  - {id: gift, type: gift, name: A gift, economics: {cost: 1, response: 0.9, effect_share: 1}}
  - {id: other, type: free_shipping, name: Other, economics: {cost: 1.2, response: 0.9, effect_share: 1}}
"""
STOCK = "budgets:\n  - {id: stock, name: Gifts, unit: units, amount: 20, candidates: [gift]}\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("budgeted") / "home"
    ws = small_programme.build(home)
    shutil.rmtree(ws.experiments)
    ws.experiments.mkdir()
    (ws.catalog / "offers.yaml").write_text(GIFTS)
    text = policy.load(ws.policy).model_dump(mode="json")
    for family in text["families"].values():
        family |= {"do_nothing_floor": 0.0, "explore": False}
    ws.policy.write_text(orjson.dumps({**text, "holdout": {**text["holdout"], "share": 0.0}}).decode())
    return home


@pytest.fixture
def programme(template: Path, tmp_path: Path) -> Callable[[str], Workspace]:
    def make(budgets: str) -> Workspace:
        shutil.copytree(template, tmp_path / "home")
        ws = Workspace(tmp_path / "home")
        (ws.catalog / "budgets.yaml").write_text(budgets)
        return ws

    return make


@contextmanager
def opened(ws: Workspace) -> Iterator[House]:
    numbers = itertools.count()
    with closing(open_house(ws, lambda size: next(numbers).to_bytes(size, "big"), open_door=True)) as house:
        yield house


def members(ws: Workspace) -> list[str]:
    return sorted(history.read(ws.tables, "members", ["member_id"])["member_id"].unique().tolist())


def ask(house: House, member: str, **asked: Any) -> dict[str, Any]:
    request = DecisionRequest.model_validate({"member_id": member, "channel": "app", **asked})
    return asyncio.run(deliver(house.engine, call("offer", member, request, house.now(), b"")))


def campaign(house: House, names: list[str]) -> list[dict[str, Any]]:
    envelope = Envelope.model_validate({"channel": "app"})
    return list(decide_many(house.engine, names, "offer", envelope, house.now()))


def given(answers: list[dict[str, Any]]) -> list[str]:
    return [one["results"][0]["id"] for one in answers if one["results"]]


def balance(house: House) -> Balance:
    (found,) = house.journal.balances()
    return found


def test_a_campaign_gives_no_gift_too_many_and_says_so_of_the_others(programme: Any) -> None:
    ws = programme(STOCK)
    with opened(ws) as house:
        answers = campaign(house, members(ws))
        assert given(answers).count("gift") == 20
        assert given(answers).count("other") == len(answers) - 20
        assert balance(house).open_most == 20.0
        reserved = {one["results"][0]["reservation_id"] for one in answers if given([one]) == ["gift"]}
        assert len(reserved) == 20
        assert None not in reserved
        # Again on the same day: the same answers, the same reservations, nothing reserved twice.
        again = campaign(house, members(ws))
        assert given(again) == given(answers)
        assert [one["results"][0]["reservation_id"] for one in again] == [
            one["results"][0]["reservation_id"] for one in answers
        ]
        assert balance(house).open_most == 20.0


def test_what_was_drawn_and_refused_is_logged_beside_what_was_given_instead(programme: Any) -> None:
    ws = programme(STOCK.replace("20", "1"))
    with opened(ws) as house:
        first, second = members(ws)[:2]
        (one, two) = campaign(house, [first, second])
        assert given([one, two]) == ["gift", "other"]
        rows = house.journal.decisions_of(second)
        headers = [payload.decode(row.payload).header for row in rows]
        assert [header["decision"]["results"][0]["id"] for header in headers] == ["gift", "other"]
        assert [row.learnable for row in rows] == [True, False]
        assert headers[1]["flags"]["redecided"]
        assert headers[1]["flags"]["replaces"] == rows[0].decision_id
        assert headers[1]["snapshot"]["refused"] == ["gift"]
        assert {"id": "gift", "stage": "stock", "code": "RESERVATION_REFUSED", "until": None} in two["suppressed"]
        contacts = house.journal.memory(second, 0).contacts
        assert [contact.candidate_id for contact in contacts] == ["other"]


def test_an_empty_stock_is_seen_before_the_draw_and_filled_by_what_comes_back(programme: Any) -> None:
    ws = programme(STOCK.replace("20", "1"))
    with opened(ws) as house:
        names = members(ws)
        answer = ask(house, names[0])
        house.watch.look()
        dropped = {one["id"]: one["code"] for one in ask(house, names[1])["suppressed"]}
        assert dropped["gift"] == "OUT_OF_STOCK"
        from serving.journal_rows import SettleRow

        name = answer["results"][0]["reservation_id"]
        house.journal.submit_settlement(SettleRow(name, "release", 1)).wait(5)
        house.watch.look()
        assert given([ask(house, names[2])]) == ["gift"]


def test_a_request_sent_again_and_a_dry_run_reserve_nothing(programme: Any) -> None:
    ws = programme(STOCK)
    with opened(ws) as house:
        one, two = members(ws)[:2]
        for _ in range(3):
            ask(house, one, request_id="r1")
        assert balance(house).open_count == 1
        assert ask(house, two, dry_run=True)["results"][0]["reservation_id"] is None
        assert balance(house).open_count == 1


def test_a_redemption_spends_what_it_took(programme: Any) -> None:
    ws = programme("budgets:\n  - {id: cash, name: Cash, unit: money, amount: 500, candidates: [gift]}\n")
    with opened(ws) as house:
        name = members(ws)[0]
        answer = ask(house, name)
        now = int(house.now() * 1e6)
        said = Redeemed(answer["decision_id"], "gift", Given(money=0.75))
        for event_id in ("e1", "e1", "e2"):
            house.journal.append_events([EventRow(event_id, name, now, b"{}", redeemed=said)])
        found = balance(house)
        assert (found.spent, found.open_count, found.open_mean) == (0.75, 0, 0.0)


def test_what_expired_comes_back(programme: Any) -> None:
    ws = programme(STOCK)
    with opened(ws) as house:
        campaign(house, members(ws)[:5])
        window = 14 * 86_400
        swept: Any = house.journal.submit_sweep(int((house.now() + window - 60) * 1e6)).wait(5)
        assert swept.matured == 0
        swept = house.journal.submit_sweep(int((house.now() + window) * 1e6)).wait(5)
        assert swept.expired == 5
        assert balance(house).open_most == 0.0


def test_the_service_of_many_tasks_gives_no_gift_too_many(programme: Any) -> None:
    ws = programme(STOCK)

    async def everybody(house: House) -> list[dict[str, Any]]:
        envelope = DecisionRequest.model_validate({"member_id": "x", "channel": "app"})
        at = house.now()
        calls = [call("offer", one, envelope, at, b"") for one in members(ws)[:120]]
        return list(await asyncio.gather(*(deliver(house.engine, one) for one in calls)))

    with opened(ws) as house:
        answers = asyncio.run(everybody(house))
        kept = [one for one in answers if one["policy"]["mode"] != "fallback"]
        assert given(kept).count("gift") <= 20
        patience = time.monotonic() + 10.0  # what came too late for its caller is taken back a moment later
        while balance(house).open_most != given(kept).count("gift") and time.monotonic() < patience:
            time.sleep(0.05)
        assert balance(house).open_most == given(kept).count("gift")
