from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import catalog
from features.entities import Candidate, Economics
from serving import policy as policies
from serving import value
from serving.policy import Policy
from serving.portrait import portrait
from serving.snapshot import Estimate, FatigueEstimate, Learned, ResponseEstimate, Snapshot, Value
from tests.serving.deciding import CATALOG, FEATURES, KNOWN, POLICY, ask, member, stranger, varied

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED_POLICY = policies.load(CONFIGS / "policy.yaml")
_BOOK = catalog.load(CONFIGS / "catalog")
SHIPPED = [one for one in (*_BOOK.offers, *_BOOK.actions) if one.type != "do_nothing"]


def worth(
    candidate: Candidate,
    snapshot: Snapshot | None = None,
    learned: Learned = KNOWN,
    policy: Policy = POLICY,
    channel: str | None = "app",
    recent: int = 0,
) -> Value:
    who = portrait(snapshot or member(), ask(), learned, CATALOG.programme, policy)
    terms = value.terms(candidate, policy)
    return value.written(value.worth(terms, who, learned, policy, CATALOG.programme, policy.channel(channel), recent))


def offer(kind: str, **economics: float) -> Candidate:
    return Candidate("x", "offer", kind, "X", economics=Economics(**economics))


def test_a_percentage_off_is_worth_what_the_hand_worked_bill_says() -> None:
    """Basket 40, margin 10, year's margin 225; p = 0.2, tau = 0.2 · 0.5 · 0.85, churn 0.2 as assumed for active."""
    found = worth(offer("discount_percent", discount=0.1, response=0.2, effect_share=0.5, retention=0.1))
    assert found.response == pytest.approx(0.2)
    assert found.effect == pytest.approx(0.085)
    assert found.bill.margin == 0.85
    assert found.bill.lifetime == 0.9
    assert found.bill.discount == -0.8
    assert found.bill.liability == found.bill.contact == found.bill.fatigue == found.bill.budget_price == 0.0
    assert found.net == found.score == 0.95


def test_points_cost_what_will_be_redeemed_of_them() -> None:
    """250 points · p 0.2 · 0.01 each · 0.75 redeemed; doubling 40 at 1.25 a euro gives 50 more."""
    assert worth(offer("points_fixed", points=250, response=0.2)).bill.liability == -0.375
    assert worth(offer("points_multiplier", points=2, response=0.2)).bill.liability == -0.075


def test_an_estimated_chance_of_redemption_goes_before_the_programmes_constant() -> None:
    one = offer("points_fixed", points=500)
    constant = worth(one, member()).bill.liability
    share = CATALOG.programme.points.redeemed_share
    estimated = worth(one, replace(member(), redeemed_share=share / 2)).bill.liability
    assert estimated == pytest.approx(constant / 2, abs=1e-4)
    assert worth(one, replace(member(), redeemed_share=0.0)).bill.liability == 0


def test_money_off_is_never_more_than_the_basket() -> None:
    assert worth(offer("discount_amount", discount=5, response=0.2)).bill.discount == -1.0
    assert worth(offer("discount_amount", discount=500, response=0.2)).bill.discount == -8.0


def test_a_sure_thing_loses_money_although_it_is_the_likeliest_to_respond() -> None:
    sure = worth(offer("discount_amount", discount=12, response=0.9, effect_share=0.0, retention=0.0))
    assert sure.net == -10.8


@pytest.mark.parametrize("candidate", SHIPPED, ids=lambda one: one.id)
def test_known_sleeping_dogs_and_sure_things_lose_to_doing_nothing(candidate: Candidate) -> None:
    """Whatever is shipped: who buys less for it, and who answers it for certain but would have bought anyway."""
    for response, effect in ((0.3, -0.05), (0.95, -0.001), (0.95, 0.0)):
        own = {candidate.id: Estimate(response, effect, effect - 0.01, effect + 0.01, "experiment")}
        found = worth(candidate, learned=replace(KNOWN, effects=own), policy=SHIPPED_POLICY, channel="email")
        assert found.net < 0 and found.basis == "experiment"
    persuadable = {candidate.id: Estimate(0.95, 0.95, 0.9, 1.0, "experiment")}
    gained = worth(candidate, learned=replace(KNOWN, effects=persuadable), policy=SHIPPED_POLICY, channel="email")
    assert gained.net > found.net + 9.0  # the margin of a basket is 10


def test_a_call_costs_money_and_the_contacts_of_the_week_make_the_next_one_dearer() -> None:
    call = offer("gift", cost=1.0, contact_cost=4.0)
    assert worth(call, channel="call").bill.contact == -6.0
    assert worth(call, channel="call", recent=0).bill.fatigue == 0.0
    assert worth(call, channel="call", recent=2).bill.fatigue == -0.5
    assert worth(call, channel=None, recent=2).bill.fatigue == 0.0


def test_members_at_risk_respond_less_but_more_of_it_is_caused() -> None:
    one = offer("gift", cost=1.0, response=0.2, effect_share=0.5)
    active, at_risk = worth(one), worth(one, member(recency_over_gap=4.0, recency_days=90.0), Learned(churn=0.55))
    assert at_risk.response == pytest.approx(0.14)
    assert at_risk.effect == pytest.approx(0.14 * 0.65)
    assert at_risk.effect / at_risk.response > active.effect / active.response


def test_more_churn_lowers_the_response_and_raises_what_is_to_be_saved() -> None:
    one = offer("gift", cost=1.0, response=0.2, retention=0.1)
    low, high = worth(one, learned=Learned(churn=0.1)), worth(one, learned=Learned(churn=0.5))
    assert high.response < low.response
    assert high.bill.lifetime > low.bill.lifetime


def test_without_a_model_the_churn_of_the_lifecycle_is_assumed() -> None:
    one = offer("gift", cost=1.0)
    assert worth(one, learned=Learned()) == worth(one, learned=Learned(churn=0.2))


def test_an_experiment_goes_before_the_prior_and_brings_its_interval() -> None:
    learned = Learned(churn=0.2, responses={"gift": ResponseEstimate(0.3, 0.06, 0.02, 0.1)})
    found = worth(offer("gift", cost=1.0), learned=learned)
    assert (found.basis, found.response, found.effect) == ("experiment", 0.3, 0.06)
    assert found.effect_interval == (0.02, 0.1)
    assert found.bill.margin == 0.6


def test_a_prior_has_no_interval() -> None:
    found = worth(offer("gift", cost=1.0))
    assert (found.basis, found.effect_interval) == ("prior", None)


def test_seen_responses_go_before_assumed_ones_and_the_policys_share_of_them_is_caused() -> None:
    """p = 0.3 seen, of which half are caused, less for the active (0.85): τ = 0.1275, a margin of 1.275."""
    seen = replace(KNOWN, responses={"gift": ResponseEstimate(0.3, None, None, None)})
    found = worth(offer("gift", cost=1.0, effect_share=0.5, response=0.9), learned=seen)
    assert (found.basis, found.response, found.effect_interval) == ("response", 0.3, None)
    assert found.effect == pytest.approx(0.1275)
    assert (found.bill.margin, found.bill.discount) == (1.275, -0.3)


def test_nothing_is_assumed_to_be_worth_nothing() -> None:
    found = value.written(value.NOTHING)
    assert (found.net, found.score, found.effect, found.response) == (0.0, 0.0, 0.0, 0.0)


def test_a_stranger_is_valued_by_the_assumptions_of_the_policy() -> None:
    found = worth(offer("discount_percent", discount=0.1, response=0.2, effect_share=0.5), stranger())
    assert found.bill.discount == -round(0.1 * 25 * 0.22, 4)


def test_behaviour_is_not_used_without_consent_to_personalisation() -> None:
    silent = Snapshot("m1", member().at, known=True, features=FEATURES, consents={"email": True})
    rich = Snapshot("m1", member().at, known=True, features={**FEATURES, "avg_basket_value": 900.0}, consents={})
    one = offer("discount_percent", discount=0.1)
    assert worth(one, silent) == worth(one, rich)
    assert worth(one, silent) != worth(one)


def test_a_lever_moves_what_competes_and_not_the_money_that_is_shown() -> None:
    plain, pushed = (
        offer("gift", cost=1.0),
        Candidate("x", "offer", "gift", "X", economics=Economics(cost=1.0), lever=3),
    )
    who = portrait(member(), ask(), KNOWN, CATALOG.programme, POLICY)
    both = [
        value.worth(value.terms(one, POLICY), who, KNOWN, POLICY, CATALOG.programme, None, 0) for one in (plain, pushed)
    ]
    assert both[1].pull == pytest.approx(3 * both[0].pull)
    assert value.written(both[0]) == value.written(both[1])


def test_a_lever_never_lifts_what_loses_money() -> None:
    losing = Candidate("x", "offer", "gift", "X", economics=Economics(cost=50.0), lever=10)
    who = portrait(member(), ask(), KNOWN, CATALOG.programme, POLICY)
    found = value.worth(value.terms(losing, POLICY), who, KNOWN, POLICY, CATALOG.programme, None, 0)
    assert found.pull == found.net / value.UNITS < 0


def test_delta_zero_leaves_the_lifetime_line_out() -> None:
    assert worth(offer("gift", cost=1.0), policy=varied(delta=0.0)).bill.lifetime == 0.0


money = st.floats(0, 5000)
share = st.floats(0, 1)


@given(
    kind=st.sampled_from(["discount_percent", "discount_amount", "points_multiplier", "points_fixed", "gift"]),
    discount=share | money,
    points=st.floats(0, 10_000),
    cost=money,
    basket=money | st.just(nan),
    spend=st.floats(-100, 100_000) | st.just(nan),
    churn=share | st.none(),
    recent=st.integers(0, 30),
    channel=st.sampled_from(["app", "email", "sms", "call"]),
)
def test_the_lines_of_every_bill_add_up_to_net_exactly(
    kind: str,
    discount: float,
    points: float,
    cost: float,
    basket: float,
    spend: float,
    churn: float | None,
    recent: int,
    channel: str,
) -> None:
    one = offer(kind, discount=discount, points=points, cost=cost)
    snapshot = member(avg_basket_value=basket, spend_365d=spend)
    found = worth(one, snapshot, Learned(churn=churn), channel=channel, recent=recent)
    bill = found.bill
    lines = (bill.margin, bill.lifetime, bill.discount, bill.liability, bill.contact, bill.fatigue)
    assert sum(Decimal(repr(line)) for line in lines) == Decimal(repr(found.net))
    assert Decimal(repr(found.score)) == Decimal(repr(found.net)) + Decimal(repr(bill.budget_price))
    assert bill.discount <= 0
    assert bill.liability <= 0
    assert 0 <= found.effect <= found.response <= 0.95


def test_fatigue_that_was_seen_goes_before_the_policys_price_and_never_pays_for_contacts() -> None:
    """Margin of a basket is 10: two recent contacts of 0.012 baskets each cost 0.24."""
    mail = offer("gift", cost=1.0)
    seen = replace(KNOWN, fatigue=FatigueEstimate(0.012, 0.003, 0.021, 30))
    assumed, found = worth(mail, channel="email", recent=2), worth(mail, learned=seen, channel="email", recent=2)
    assert (assumed.bill.fatigue, assumed.fatigue_basis) == (-0.08, "prior")
    assert (found.bill.fatigue, found.fatigue_basis) == (-0.24, "experiment")
    assert worth(mail, learned=seen, channel="email", recent=0).bill.fatigue == 0.0
    welcome = replace(KNOWN, fatigue=FatigueEstimate(-0.003, -0.011, 0.005, 30))
    assert worth(mail, learned=welcome, channel="email", recent=2).bill.fatigue == 0.0


def test_what_is_known_of_a_candidate_goes_before_its_type_and_that_before_the_prior() -> None:
    gift = offer("gift")
    of_type = {"gift": ResponseEstimate(0.3, 0.06, 0.02, 0.1)}
    own = {gift.id: Estimate(None, 0.2, 0.1, 0.3, "experiment")}
    found = worth(gift, learned=Learned(churn=0.2, responses=of_type, effects=own))
    assert (found.effect, found.effect_interval, found.basis) == (0.2, (0.1, 0.3), "experiment")
    assert found.response == worth(gift, learned=Learned(churn=0.2)).response
    assert worth(gift, learned=Learned(churn=0.2, responses=of_type, effects={"other": own[gift.id]})).effect == 0.06
