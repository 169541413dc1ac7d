"""Points over HTTP: never spent twice, whoever asks at once; the same request is the same redemption; roll-backs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from features import catalog, history, points
from features.ledger.burns import settled
from features.workspace import Workspace
from serving import export
from serving.access import issue
from serving.client import CallError, Client
from serving.points_held import held
from serving.redemptions import RedemptionAnswer
from tests.serving import small_programme
from tests.serving.running import Running, served

NOW = datetime(2026, 3, 1, 0, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    ws: Workspace = small_programme.build(tmp_path_factory.mktemp("points") / "home")
    with served(ws.root) as running:
        yield running


@pytest.fixture
def client(shop: Running) -> Iterator[Client]:
    with Client(shop.url, shop.key) as found:
        yield found


@pytest.fixture(scope="module")
def rich(shop: Running) -> list[tuple[str, float]]:
    """Members with many points, and what they have."""
    entries = history.read(Workspace(shop.home).tables, "points")
    lots = points.balances(entries, NOW)
    lots = lots[lots["expires_at"].isna() | (lots["expires_at"] > pd.Timestamp(NOW))]
    balances = lots.groupby("member_id")["points"].sum().sort_values(ascending=False)
    return [(str(name), float(points)) for name, points in balances.head(8).items()]


def why(error: CallError) -> tuple[int, str]:
    return error.status, error.errors[0]["rule"]


def test_eight_clients_at_once_spend_what_there_is_and_no_more(
    shop: Running, client: Client, rich: list[tuple[str, float]]
) -> None:
    member, balance = rich[0]
    fits = int(balance // 100)

    def spend(n: int) -> RedemptionAnswer | None:
        while True:
            try:
                return client.redeem_points(member, 100, "pay_with_points", f"race-{n}")
            except CallError as error:
                if error.status != 503:  # too much at once: the request_id makes it safe to send again
                    assert why(error) == (409, "NOT_ENOUGH_POINTS")
                    return None

    with ThreadPoolExecutor(8) as pool:
        found = [one for one in pool.map(spend, range(fits + 12)) if one]
    assert len(found) == fits  # 0 over, 0 lost
    assert sorted(one.balance for one in found) == pytest.approx([balance - 100 * n for n in range(fits, 0, -1)])
    lots = held(Workspace(shop.home).tables, (member,), NOW).lots
    taken: dict[str, float] = {}
    for one in found:
        assert sum(lot.points for lot in one.lots) == 100
        for used in one.lots:
            taken[used.lot_id] = taken.get(used.lot_id, 0.0) + used.points
    there = {lot.lot_id: lot.points for lot in lots}
    assert all(points <= there[name] for name, points in taken.items())


def test_the_same_request_is_the_same_redemption(client: Client, rich: list[tuple[str, float]]) -> None:
    member, balance = rich[1]
    first = client.redeem_points(member, 100, "pay_with_points", "once")
    assert (first.balance, first.state) == (balance - 100, "redeemed")
    assert first.value == pytest.approx(0.8)
    assert client.redeem_points(member, 100, "pay_with_points", "once") == first
    for other in ((member, 200.0), (rich[2][0], 100.0)):
        with pytest.raises(CallError) as caught:
            client.redeem_points(*other, "pay_with_points", "once")
        assert why(caught.value) == (409, "the same request_id with another body")
    assert client.redeem_points(member, 100, "pay_with_points").balance == balance - 200


def test_a_redemption_is_rolled_back_once(client: Client, rich: list[tuple[str, float]]) -> None:
    member, balance = rich[2]
    whole = balance // 100 * 100
    given = client.redeem_points(member, whole, "pay_with_points", "all")
    with pytest.raises(CallError) as caught:
        client.redeem_points(member, 100, "pay_with_points")
    assert why(caught.value) == (409, "NOT_ENOUGH_POINTS")
    for _ in range(2):
        assert client.release_points(member, given.redemption_id).state == "released"
    again = client.redeem_points(member, whole, "pay_with_points")
    assert (again.lots, again.balance) == (given.lots, given.balance)
    assert client.redeem_points(member, whole, "pay_with_points", "all").state == "released"
    for other, name in ((member, "pts-nothing"), (rich[3][0], again.redemption_id)):
        with pytest.raises(CallError) as caught:
            client.release_points(other, name)
        assert why(caught.value) == (404, "UNKNOWN")


def test_events_count_at_once(client: Client, rich: list[tuple[str, float]]) -> None:
    member, balance = rich[3]
    burn = {"event_id": "till-1", "type": "points_burn", "member_id": member, "value": balance - 150}
    earn = {"event_id": "gift-1", "type": "points_earn", "member_id": member, "value": 60}
    assert client.report([burn, earn]).accepted == 2
    found = client.redeem_points(member, 200, "coupon")
    assert (found.balance, found.lots[-1].lot_id, found.lots[-1].points) == (10, "gift-1", 50)


def test_what_cannot_be_is_refused_by_the_rules_of_the_channel(client: Client, rich: list[tuple[str, float]]) -> None:
    for points_, channel, code in ((100, "coupon", "BELOW_MINIMUM"), (550, "goods", "WRONG_STEP"),
                                   (100.5, "pay_with_points", "WRONG_AMOUNT")):  # fmt: skip
        with pytest.raises(CallError) as caught:
            client.redeem_points(rich[4][0], points_, channel)  # type: ignore[arg-type]
        assert why(caught.value) == (409, code)


def test_a_marketer_redeems_nothing(shop: Running, rich: list[tuple[str, float]]) -> None:
    key = issue(Path(shop.home) / "keys.json", "reader", ["marketer"], b"q" * 32)
    with Client(shop.url, key) as reader:
        for _ in range(50):  # the service looks at its keys five times a second
            with pytest.raises(CallError) as caught:
                reader.redeem_points(rich[4][0], 100, "pay_with_points")
            if caught.value.status != 401:
                break
            time.sleep(0.05)
    assert caught.value.status == 403


def test_the_next_ledger_says_the_same(shop: Running, client: Client, rich: list[tuple[str, float]]) -> None:
    """After the night, tables that contain the redemptions leave exactly what the service said was left."""
    kept, rolled = rich[5], rich[6]
    left = client.redeem_points(kept[0], 300, "coupon", "night-1").balance
    back = client.redeem_points(rolled[0], 300, "coupon", "night-2")
    client.release_points(rolled[0], back.redemption_id)
    ws = Workspace(shop.home)
    programme = catalog.load(ws.catalog).programme
    tables, watermark = export.since(ws.journal, 0, programme.points)
    history.merge(ws.tables, {"points": tables["points"]}, watermark=watermark)
    at = datetime.fromtimestamp(time.time() + json.loads(ws.clock.read_text())["offset_seconds"], UTC)
    raw = history.read(ws.tables, "points")
    for entries in (raw, settled(raw, at)):
        lots = points.balances(entries[entries["type"] != "expire"], at)
        lots = lots[~(lots["expires_at"] <= at)]
        assert lots.loc[lots["member_id"] == kept[0], "points"].sum() == pytest.approx(left)
        assert lots.loc[lots["member_id"] == rolled[0], "points"].sum() == pytest.approx(rolled[1])
    points.refresh(ws.tables, programme)
    assert sum(lot.points for lot in held(ws.tables, (kept[0],), at).lots) == pytest.approx(left)
    assert sum(lot.points for lot in held(ws.tables, (rolled[0],), at).lots) == pytest.approx(rolled[1])
    assert client.redeem_points(kept[0], 100, "pay_with_points").balance == pytest.approx(left - 100)
