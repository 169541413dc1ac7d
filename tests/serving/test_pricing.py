from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from features.entities import Budget, Candidate, Catalog, Economics
from serving.assignment import NONE
from serving.decide import appraise, decide
from serving.pricing import Priced, Visit, priced, purses, sentences
from serving.reservations.contract import Balance
from serving.snapshot import Snapshot
from tests.serving.deciding import AT, CERTAIN, DAY, KNOWN, ask, member, offers

MAIL = Candidate(
    "mail", "offer", "discount_percent", "Mail", channels=("email",),
    economics=Economics(discount=0.02, response=0.3, effect_share=0.9),
)  # fmt: skip
CHEAP = replace(MAIL, id="cheap", economics=Economics(discount=0.01, response=0.2, effect_share=0.9))
QUOTA = Budget("quota", "Messages", "messages", 40.0, every_days=1)
MONEY = Budget("money", "Discounts", "money", 1e6, every_days=28)


def with_budgets(*budgets: Budget, candidates: tuple[Candidate, ...] = (MAIL, CHEAP)) -> Catalog:
    names = [*(one.id for one in budgets), *(one.id for one in candidates)]
    return replace(offers(*candidates), version="-".join(names), budgets=budgets)


def members(count: int = 200) -> list[Snapshot]:
    return [member(f"m{i}", avg_basket_value=10.0 + i) for i in range(count)]


def visits(catalog: Catalog, some: list[Snapshot], **asked: Any) -> list[Visit]:
    wanted = ask(channel="email", **asked)
    return [Visit(appraise(one, wanted, KNOWN, catalog, CERTAIN, NONE), wanted) for one in some]


def solved(*budgets: Budget, per_day: float = 200.0, balances: tuple[Balance, ...] = ()) -> Priced:
    catalog = with_budgets(*budgets)
    begins = AT - AT % DAY
    return priced(visits(catalog, members()), purses(budgets, balances, begins), per_day, None)


def test_decisions_under_the_prices_use_up_what_is_left_and_no_more() -> None:
    catalog = with_budgets(QUOTA, MONEY)
    found = solved(QUOTA, MONEY)
    prices = {line.purse.budget.id: line.price for line in found.lines}
    given = [
        one.member_id
        for one in members()
        if decide(replace(one, prices=prices), ask(channel="email"), KNOWN, catalog, CERTAIN, NONE).results[0].id
        != "do_nothing"
    ]
    assert 39 <= len(given) <= 40  # who is just worth the price may go either way
    assert given == [f"m{i}" for i in range(200 - len(given), 200)]  # those with the largest baskets
    assert prices["money"] == 0.0


def test_half_the_day_or_half_the_visits_halve_what_is_wanted_of_a_budget() -> None:
    whole, quiet = solved(QUOTA), solved(QUOTA, per_day=100.0)
    assert quiet.lines[0].price < whole.lines[0].price
    assert quiet.lines[0].forecast == pytest.approx(40.0)
    assert solved(QUOTA, per_day=40.0).lines[0].price == pytest.approx(0.0, abs=1e-9)


def test_what_was_taken_and_what_is_open_is_no_longer_left() -> None:
    begins = AT - AT % DAY
    taken = Balance("quota", int(begins), 10.0, 5, 5.0, 4.0, 0.0, 0.0, 1.5, 15, 0, tight=False)
    old = replace(taken, period=int(begins - DAY), spent=40.0)
    (purse,) = purses([QUOTA], [taken, old], AT)
    assert purse.left == pytest.approx(40.0 - 10.0 - 1.5 * 4.0)
    assert purse.days == pytest.approx(1 - 1 / 24)
    assert purses([replace(QUOTA, ends=datetime(2001, 1, 1, tzinfo=UTC))], [], AT) == ()


def test_what_is_spent_has_the_price_of_its_first_unit() -> None:
    begins = AT - AT % DAY
    gone = Balance("quota", int(begins), 40.0, 0, 0.0, 0.0, 0.0, 0.0, 1.0, 40, 3, tight=True)
    line = solved(QUOTA, balances=(gone,)).lines[0]
    best = max(worth.pull for _, worth in visits(with_budgets(QUOTA), members())[-1].found.allowed)
    assert line.price == pytest.approx(best)


def test_rights_are_paid_before_anything_is_priced() -> None:
    right = replace(MAIL, id="right", entitlement=True)
    catalog = with_budgets(replace(QUOTA, amount=300.0), candidates=(MAIL, right))
    filled = purses(catalog.budgets, (), AT - AT % DAY)
    (line,) = priced(visits(catalog, members()), filled, 200.0, None).lines
    assert line.rights == pytest.approx(200.0)
    assert line.forecast == pytest.approx(300.0)
    assert line.price > 0.0


def test_the_report_names_what_the_next_units_earn_and_the_bottleneck() -> None:
    found = solved(QUOTA, MONEY)
    said = sentences(found, "EUR")
    line = found.lines[0]
    assert line.step == 2.0
    assert f"the next 2 messages would earn {line.next_earns:,.2f} EUR" in said[0]
    assert line.next_earns <= line.step * line.price * 1.001 <= line.last_earned * 1.002
    assert said[1].endswith("more of it would earn nothing.")
    assert said[2] == "The bottleneck is Messages, not Discounts."
    free = solved(replace(QUOTA, amount=1e5))
    assert sentences(free, "EUR")[-1].startswith("No budget is a bottleneck")
