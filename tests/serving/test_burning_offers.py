from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalog_entries import Entry
from features.catalog_faults import faults
from features.entities import Candidate, Conditions, Economics
from features.ledger.best_use import best_use
from features.ledger.due import used_anyway
from features.ledger.liability import RedemptionModel
from features.ledger.rules import Earning, SpendingRule
from features.member_states import state_blobs
from features.states import decode, empty
from serving import value
from serving.assignment import Experiments
from serving.decide import appraise, decide
from serving.snapshot import Ask, Learned, Placement, Snapshot
from tests.features.small_history import PROGRAMME, T0, typed, write
from tests.serving.deciding import CATALOG, EVERYBODY, member

MINTED = Candidate(
    "minted", "offer", "points_fixed", "500 points for you", economics=Economics(points=500, response=0.2)
)
BURNED = Candidate(
    "burned",
    "offer",
    "discount_amount",
    "5 off for 500 of your points",
    conditions=Conditions(min_points=500),
    economics=Economics(discount=5.0, burns=500, response=0.2),
)
GIVEN = replace(BURNED, id="given", economics=Economics(discount=5.0, response=0.2))
CHANNELS = (
    SpendingRule("goods", 0.010, 0.007, 500, 100),
    SpendingRule("coupon", 0.010, None, 200, 100),
    SpendingRule("pay_with_points", 0.008, 0.008, 100),
)


def worths(snapshot: Snapshot) -> dict[str, value.Worth]:
    catalog = replace(CATALOG, version="burning", offers=(MINTED, BURNED, GIVEN), budgets=())
    ask = Ask("offer", (Placement("home", 3),))
    found = appraise(snapshot, ask, Learned(), catalog, EVERYBODY, Experiments("none"))
    return {candidate.id: worth for candidate, worth in found.allowed}


def holder() -> Snapshot:
    return member(points_balance=900.0, points_expiring_30d=600.0, avg_basket_value=60.0)


def test_the_same_offer_scores_higher_on_points_about_to_expire_than_on_new_ones() -> None:
    found = worths(holder())
    assert found["burned"].net > found["minted"].net
    assert found["burned"].net > found["given"].net
    assert found["burned"].lines[2] == found["given"].lines[2] < 0
    assert found["minted"].lines[3] < 0 < found["burned"].lines[3]


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_the_likelier_points_are_used_anyway_the_cheaper_it_is_to_use_them_now(low: float, high: float) -> None:
    """At a chance of 1 they cost nothing that was not owed; at 0 as much as the discount."""
    low, high = sorted((low, high))
    less, more, sure, never = (
        worths(replace(holder(), burned_share=share))["burned"] for share in (low, high, 1.0, 0.0)
    )
    assert less.net <= more.net
    assert sure.lines[2] + sure.lines[3] == 0
    assert never.lines[3] == 0


@pytest.mark.parametrize(
    ("expiring", "balance", "expected"),
    [
        (600.0, 900.0, ("goods", 600, 6.0, 4.2)),  # as much for the member as a coupon, and cheaper for us
        (250.0, 400.0, ("coupon", 300, 3.0, 3.0)),  # too few for goods
        (120.0, 150.0, ("pay_with_points", 120, 0.96, 0.96)),
        (80.0, 90.0, None),
        (0.0, 900.0, None),
        (float("nan"), float("nan"), None),
    ],
)
def test_points_that_expire_are_used_where_they_are_worth_most(
    expiring: float, balance: float, expected: tuple[str, int, float, float] | None
) -> None:
    found = best_use(expiring, balance, CHANNELS, 0.01)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.channel, found.points) == expected[:2]
        assert (found.value, found.cost) == pytest.approx(expected[2:])


def test_a_reminder_says_how_to_use_the_points() -> None:
    programme = replace(CATALOG.programme, earning=Earning(channels=CHANNELS))
    reminder = next(one for one in CATALOG.actions if one.type == "points_expiry_reminder")
    catalog = replace(CATALOG, version="reminding", programme=programme, actions=(reminder,), offers=(), budgets=())
    ask = Ask("action", (Placement("home", 1),))
    (result,) = decide(holder(), ask, Learned(), catalog, EVERYBODY, Experiments("none")).results
    assert (result.id, result.content["use"], result.content["use_points"]) == (reminder.id, "goods", "600")


def test_points_are_used_anyway_as_likely_as_the_lots_that_expire_first(tmp_path: Path) -> None:
    """A flat hazard: the more days are left, the more is redeemed; the soonest lots count, and those alone."""
    born = {"old": T0 - timedelta(days=340), "new": T0 - timedelta(days=5)}
    rows = [
        {"member_id": "m", "lot_id": lot, "type": "earn", "points": 300, "occurred_at": at}
        | {"expires_at": at + timedelta(days=365)}
        for lot, at in born.items()
    ]
    write(tmp_path, {"points": typed("points", rows)})
    ((_, blob, _),) = state_blobs(tmp_path, T0, PROGRAMME)
    steps = np.arange(13) * 0.1
    survival = np.maximum(steps[None, :] - steps[:12, None], 0.0)[None]
    model = RedemptionModel(365 / 12, np.empty(0), survival, 365.0)
    soon, both = (used_anyway(model, decode(blob), T0.timestamp(), points) for points in (300, 600))
    assert soon is not None
    assert soon == pytest.approx(1 - np.exp(-0.1 * 25 / (365 / 12)))
    assert both == pytest.approx((soon + 1 - np.exp(-0.1 * 360 / (365 / 12))) / 2)
    assert used_anyway(model, empty(), T0.timestamp(), 300) is None


def test_an_offer_that_uses_up_points_asks_for_as_many() -> None:
    entry = Entry.model_validate(
        {"id": "x", "name": "x", "type": "discount_amount", "economics": {"discount": 5.0, "burns": 500}}
    )
    assert any("write conditions.min_points" in one for one in faults(entry, "offer", "UTC", ()))
    enough = entry.model_copy(update={"conditions": entry.conditions.model_copy(update={"min_points": 500.0})})
    assert not faults(enough, "offer", "UTC", ())
