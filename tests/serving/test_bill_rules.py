"""Turning lines of the bill off: the way from response × value to all of it, one term at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from features.entities import Budget, Candidate, Economics
from serving import assignment, value
from serving import policy as policies
from serving.decide import appraise
from serving.policy import Policy
from serving.portrait import portrait
from serving.snapshot import Estimate, Learned, Value
from tests.serving.deciding import CATALOG, CERTAIN, KNOWN, POLICY, ask, member, varied

POINTS = Candidate("x", "offer", "points_fixed", "X", economics=Economics(points=250, response=0.2))
RESPONSE_ONLY = {"margin": "response", "liability": False, "fatigue": False, "prices": False}


def worth(policy: Policy, learned: Learned = KNOWN) -> Value:
    who = portrait(member(), ask(), learned, CATALOG.programme, policy)
    return value.written(
        value.worth(value.terms(POINTS, policy), who, learned, policy, CATALOG.programme, policy.channel("email"), 2)
    )


def test_response_times_value_counts_every_response_and_no_later_cost() -> None:
    told = Learned(effects={"x": Estimate(0.3, 0.02, -0.01, 0.05, "experiment")})
    found = worth(varied(delta=0.0, bill=RESPONSE_ONLY), told)
    assert found.effect == found.response == 0.3
    assert found.bill.margin == pytest.approx(0.3 * 10.0)  # a margin of 10 a basket
    assert (found.bill.liability, found.bill.fatigue, found.bill.lifetime) == (0.0, 0.0, 0.0)
    assert (found.basis, found.effect_interval) == ("response", None)
    assert worth(varied(bill=RESPONSE_ONLY)).basis == "prior"
    assert worth(POLICY, told).effect == 0.02


@pytest.mark.parametrize("line", ["liability", "fatigue"])
def test_each_line_can_be_turned_off_alone(line: str) -> None:
    whole, without = worth(POLICY), worth(varied(bill={line: False}))
    assert getattr(whole.bill, line) < 0
    assert getattr(without.bill, line) == 0
    assert without.net == pytest.approx(whole.net - getattr(whole.bill, line))


def test_prices_count_only_where_they_are_turned_on() -> None:
    budget = Budget("b", "All points", "points", 1000.0, every_days=28)
    book = replace(CATALOG, offers=(POINTS,), budgets=(budget,))
    priced = replace(member(), prices={"b": 0.001})
    scores = {}
    for name, policy in (("on", CERTAIN), ("off", varied(**{**CERTAIN.model_dump(), "bill": {"prices": False}}))):
        ((_, found),) = appraise(priced, ask(), KNOWN, book, policy, assignment.NONE).allowed
        scores[name] = found
    assert scores["on"].lines[6] == -round(0.001 * 250 * scores["on"].response * value.UNITS)
    assert scores["off"].lines[6] == 0
    assert scores["off"].net == scores["on"].net


def test_a_policy_in_which_every_line_counts_keeps_its_version() -> None:
    assert "bill" not in POLICY.text
    assert varied(bill={"prices": True}).version == POLICY.version
    off = varied(bill={"prices": False})
    assert off.version != POLICY.version
    assert policies.parse(off.text) == off
