"""One redemption: which lots it takes, what it is refused for, and what a roll-back gives back."""

from __future__ import annotations

import pandas as pd
import pytest

from features import points
from features.entities import Programme
from features.ledger.redeeming import Lot, Redemption, Refused, lots_of, redeem, restore
from features.ledger.rules import SpendingRule
from tests.features.test_points import day, sale

GOODS = SpendingRule("goods", 0.01, None, 20, 10)
LOTS = (Lot("new", 40, day(5), day(95)), Lot("old", 30, day(0), day(90)), Lot("gone", 99, day(-90), day(0)))


def test_points_come_from_what_expires_soonest_and_are_worth_what_the_channel_says() -> None:
    found = redeem(LOTS, 50, GOODS, day(10), cost_per_point=0.007)
    assert isinstance(found, Redemption)
    assert [(draw.lot_id, draw.points) for draw in found.draws] == [("old", 30), ("new", 20)]
    assert (found.value, found.cost) == pytest.approx((0.5, 0.35))
    assert found.balance == 20


@pytest.mark.parametrize(
    ("wanted", "channel", "code"),
    [
        (50, None, "CHANNEL_CLOSED"),
        (0, GOODS, "WRONG_AMOUNT"),
        (20.5, GOODS, "WRONG_AMOUNT"),
        (10, GOODS, "BELOW_MINIMUM"),
        (25, GOODS, "WRONG_STEP"),
        (80, GOODS, "NOT_ENOUGH_POINTS"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(wanted: float, channel: SpendingRule | None, code: str) -> None:
    found = redeem(LOTS, wanted, channel, day(10))
    assert isinstance(found, Refused)
    assert found.code == code


def test_a_roll_back_gives_back_what_is_still_in_time() -> None:
    found = redeem(LOTS, 50, GOODS, day(10))
    assert isinstance(found, Redemption)
    assert [draw.lot_id for draw in restore(found, LOTS, day(20))] == ["old", "new"]
    assert [draw.lot_id for draw in restore(found, LOTS, day(92))] == ["new"]


def test_lots_are_read_from_entries_and_redemptions_without_a_lot_are_spread(programme: Programme) -> None:
    entries = points.derive(pd.DataFrame([sale("a", 0, 30.0), sale("b", 5, 40.0)]), programme, day(60))
    burn = {"entry_id": "w", "member_id": "m", "type": "redeem", "points": -35.0, "lot_id": "w", "expires_at": pd.NaT}
    entries = pd.concat([entries, pd.DataFrame([{**burn, "occurred_at": day(7), "known_at": day(7)}])])
    assert [(lot.lot_id, lot.points) for lot in lots_of(entries, day(8))] == [("m:b", 35)]
    assert [(lot.lot_id, lot.points) for lot in lots_of(entries, day(6))] == [("m:a", 30), ("m:b", 40)]
