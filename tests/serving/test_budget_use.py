from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.entities import Budget, Candidate, Economics
from serving import budget_use, records, value
from serving.assignment import NONE
from serving.budget_use import Use
from serving.decide import appraise, decide
from serving.portrait import portrait
from serving.snapshot import Ask, Learned, Snapshot
from tests.serving.deciding import AT, CATALOG, CERTAIN, DAY, KNOWN, ask, member, offers

OFFER = Candidate(
    "off", "offer", "discount_percent", "Off",
    economics=Economics(discount=0.10, cost=1.0, contact_cost=0.25, response=0.2, effect_share=0.9),
)  # fmt: skip
GIFT = Candidate("gift", "offer", "gift", "Gift", economics=Economics(cost=3.0, response=0.2, effect_share=0.9))


def budget(unit: Any = "money", **more: Any) -> Budget:
    return Budget("b", "B", unit, **{"amount": 100.0, **more})


def taken(one: Budget, candidate: Candidate = OFFER, channel: str | None = "app") -> Use:
    asked = ask(channel=channel)
    who = portrait(member(), asked, KNOWN, CATALOG.programme, CERTAIN)
    terms = value.terms(candidate, CERTAIN)
    worth = value.worth(terms, who, KNOWN, CERTAIN, CATALOG.programme, CERTAIN.channel(channel), 0)
    return budget_use.use(one, candidate, terms, worth, who, channel)


def answer(catalog: Any, snapshot: Snapshot, asked: Ask | None = None) -> Any:
    return decide(snapshot, asked or ask(), KNOWN, catalog, CERTAIN, NONE)


def test_money_is_the_discount_and_the_gift_of_those_who_respond_and_the_contact_of_all() -> None:
    # 10 % of a basket of 40 and a gift of 1 for the share that responds, 0.25 for making it
    found = taken(budget())
    assert (found.sure, found.face) == (0.25, 5.0)
    assert found.expected == pytest.approx(0.25 + found.chance * 5.0)


def test_points_count_as_points_beyond_the_usual_ones() -> None:
    double = Candidate("x2", "offer", "points_multiplier", "Double", economics=Economics(points=2.0))
    assert taken(budget("points"), double).face == pytest.approx(40.0 * 1.25)  # silver earns 1.25 on a basket of 40
    fixed = Candidate("p", "offer", "points_fixed", "Points", economics=Economics(points=250.0))
    assert taken(budget("points"), fixed).face == 250.0


def test_a_message_counts_where_it_goes_out_and_a_piece_of_the_stock_is_whole() -> None:
    quota = budget("messages")
    assert taken(quota, channel="email").sure == 1.0
    assert taken(quota, channel="app").expected == 0.0
    assert taken(quota, channel=None).expected == 0.0
    assert taken(budget("units"), GIFT).face == 1.0


def test_a_budget_of_another_tier_or_channel_is_left_alone() -> None:
    assert taken(budget(tiers=("gold",))).expected == 0.0
    assert taken(budget(tiers=("silver",))).expected > 0.0
    assert taken(budget(channels=("till",))).expected == 0.0


@given(st.floats(0, 1), st.floats(0, 50), st.floats(0, 50))
def test_moments_are_those_of_a_response_times_an_amount(chance: float, fixed: float, varying: float) -> None:
    # Of a Bernoulli times an amount with mean a, variance s2 and third central moment t, by hand
    one = budget_use._on_response(0.0, fixed, varying, chance)
    a, s2 = fixed + varying, (0.7 * varying) ** 2
    t = 2 * 0.7 * (0.7 * varying) ** 3
    second, third = chance * (a * a + s2), chance * (a**3 + 3 * a * s2 + t)
    mean = chance * a
    assert one.variance == pytest.approx(second - mean**2, abs=1e-6)
    assert one.third == pytest.approx(third - 3 * mean * second + 2 * mean**3, abs=1e-4)


def test_moments_are_those_of_a_million_draws() -> None:
    one = budget_use._on_response(0.0, 2.0, 4.0, 0.15)
    rng = np.random.default_rng(3)
    shape = 1 / 0.7**2
    draws = (rng.random(1_000_000) < 0.15) * (2.0 + rng.gamma(shape, 4.0 / shape, 1_000_000))
    assert draws.mean() == pytest.approx(one.expected, rel=0.01)
    assert draws.var() == pytest.approx(one.variance, rel=0.02)
    assert ((draws - draws.mean()) ** 3).mean() == pytest.approx(one.third, rel=0.06)


def test_the_price_is_charged_in_the_bill_and_candidates_compete_with_it() -> None:
    catalog = replace(offers(OFFER, GIFT), budgets=(budget(candidates=("gift",)),))
    free = answer(catalog, member())
    assert free.results[0].id == "gift"
    dear = answer(catalog, replace(member(), prices={"b": 3.0}))
    assert dear.results[0].id != "gift"
    seen = appraise(replace(member(), prices={"b": 3.0}), ask(), KNOWN, catalog, CERTAIN, NONE)
    worth = {one.id: worth for one, worth in seen.allowed}["gift"]
    shown = value.written(worth)
    expected = -3.0 * taken(catalog.budgets[0], GIFT).expected
    assert shown.bill.budget_price == pytest.approx(expected, abs=5e-5)
    assert shown.score == pytest.approx(shown.net + shown.bill.budget_price, abs=1e-9)
    assert shown.net == pytest.approx(free.results[0].value.net)


def test_what_is_spent_pays_for_nothing_and_says_until_when() -> None:
    weekly = budget(every_days=7, candidates=("gift",))
    spent = replace(member(), spent_out=frozenset({"b"}))
    (drop,) = answer(replace(offers(OFFER, GIFT), budgets=(weekly,)), spent).suppressed
    assert (drop.id, drop.stage, drop.code) == ("gift", "budget", "BUDGET_SPENT")
    assert drop.until is not None
    assert AT < drop.until <= AT + 7 * DAY
    assert budget_use.period(weekly, drop.until) == drop.until
    stock = replace(weekly, unit="units", every_days=None)
    (drop,) = answer(replace(offers(OFFER, GIFT), budgets=(stock,)), spent).suppressed
    assert (drop.stage, drop.code, drop.until) == ("stock", "OUT_OF_STOCK", None)


def test_a_right_is_never_withheld_for_want_of_money() -> None:
    right = replace(GIFT, entitlement=True)
    catalog = replace(offers(right), budgets=(budget(),))
    assert answer(catalog, replace(member(), spent_out=frozenset({"b"}))).results[0].id == "gift"


def test_outside_its_dates_a_budget_leaves_the_field_to_another_of_its_unit() -> None:
    over = budget(ends=datetime.fromtimestamp(AT - 1, UTC))
    assert answer(replace(offers(GIFT), budgets=(over,)), member()).suppressed[0].code == "BUDGET_SPENT"
    later = replace(budget(starts=datetime.fromtimestamp(AT + 60, UTC)), id="later")
    drop = answer(replace(offers(GIFT), budgets=(later,)), member()).suppressed[0]
    assert (drop.code, drop.until) == ("BUDGET_SPENT", AT + 60)
    now = replace(budget(), id="now")
    assert answer(replace(offers(GIFT), budgets=(over, now, later)), member()).results[0].id == "gift"


@given(st.floats(0, 4e9), st.integers(1, 400), st.booleans())
def test_periods_lie_end_to_end(at: float, days: int, anchored: bool) -> None:
    starts = datetime(1970, 3, 1, 5, tzinfo=UTC) if anchored else None
    one = budget(every_days=days, starts=starts)
    began = budget_use.period(one, at)
    if began is None:
        assert starts is not None
        assert at < starts.timestamp()
        return
    renewed = budget_use.full_again(one, at)
    assert renewed is not None
    assert began <= at < renewed
    assert budget_use.period(one, renewed) == renewed


def test_prices_and_spent_budgets_are_kept_with_the_decision_and_old_ones_had_none() -> None:
    snapshot = replace(member(), prices={"b": 0.5}, spent_out=frozenset({"c"}))
    decision = answer(offers(OFFER), snapshot)
    origin = records.Origin("d-1", None, "inbound", "EUR", None)
    versions = records.Versions("c", "p", "e", {})
    header = records.header(origin, decision, snapshot, ask(), Learned(), versions, records.Flags())
    kept = orjson.loads(orjson.dumps(header))
    assert records.snapshot_of(kept, snapshot.features) == snapshot
    del kept["snapshot"]["prices"], kept["snapshot"]["spent_out"]
    assert records.snapshot_of(kept, snapshot.features) == replace(snapshot, prices={}, spent_out=frozenset())
