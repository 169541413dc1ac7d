from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from features.entities import Candidate, Conditions
from serving import decide, explain
from serving.assignment import NONE
from serving.portrait import portrait
from serving.snapshot import Reason, Snapshot, Suppressed
from tests.serving.deciding import CATALOG, CONSENTS, EVERYBODY, KNOWN, POLICY, ask, member, stranger

ALL = (*CATALOG.offers, *CATALOG.actions, *CATALOG.benefits)


def told(conditions: Conditions, snapshot: Snapshot | None = None) -> tuple[Reason, ...]:
    who = portrait(snapshot or member(), ask(), KNOWN, CATALOG.programme, POLICY)
    one = Candidate("x", "offer", "gift", "X", conditions=conditions)
    return explain.reasons(one, who, "EUR")


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (Conditions(tiers=("silver",)), Reason("TIER_SILVER", "Because you are a Silver member")),
        (Conditions(max_spend_to_next_tier=400), Reason("NEXT_TIER", "You are 300.00 EUR away from Gold")),
        (Conditions(min_points=500), Reason("POINTS_TO_USE", "You have 800 points to use")),
        (Conditions(values=("potential",)), Reason("VALUED", "Because you often shop with us")),
        (Conditions(min_basket_value=20), Reason("BASKET", "Because of what is in your basket")),
        (Conditions(bought_category="coffee"), Reason("CATEGORY", "Because you buy coffee")),
        (Conditions(), explain.CHOSEN),
    ],
)
def test_the_condition_a_member_met_is_the_reason(conditions: Conditions, reason: Reason) -> None:
    assert told(conditions) == (reason,)


def test_points_that_expire_are_counted_in_the_sentence() -> None:
    found = told(Conditions(min_points_expiring_30d=100), member(points_expiring_30d=240.0))
    assert found == (Reason("POINTS_EXPIRING", "240 of your points expire within 30 days"),)


def test_a_stranger_and_a_member_without_consent_are_told_so() -> None:
    assert told(Conditions(), stranger()) == (explain.COLD_START,)
    silent = replace(member(), consents={**CONSENTS, "personalisation": False})
    assert told(Conditions(), silent) == (explain.NOT_PERSONALISED,)


def test_no_text_for_a_member_names_a_label_or_a_model() -> None:
    lapsing = member(recency_days=80.0, recency_over_gap=5.0, points_expiring_30d=300.0)
    for snapshot in (member(), lapsing, stranger()):
        who = portrait(snapshot, ask(), KNOWN, CATALOG.programme, POLICY)
        for candidate in ALL:
            for reason in explain.reasons(candidate, who, "EUR"):
                words = reason.text.lower()
                assert not any(word in words for word in ("risk", "laps", "churn", "margin", "segment", "high", "nan"))


def test_every_code_that_a_decision_gave_has_a_sentence() -> None:
    for family in ("offer", "action", "benefit"):
        found = decide.decide(member(), ask(family), KNOWN, CATALOG, EVERYBODY, NONE)
        assert found.suppressed
        for one in found.suppressed:
            assert explain.dropped(one).startswith(f"{one.id}: {one.stage}: ")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("LIMIT_2_PER_30D", "x: contact_policy: at most 2 for one member in 30 days (LIMIT_2_PER_30D)"),
        ("SMS_1_PER_7D", "x: contact_policy: at most 1 by sms in 7 days (SMS_1_PER_7D)"),
        ("NO_CONSENT_SMS", "x: contact_policy: the member did not agree to sms (NO_CONSENT_SMS)"),
    ],
)
def test_codes_that_carry_numbers_are_spelled_out(code: str, said: str) -> None:
    assert explain.dropped(Suppressed("x", "contact_policy", code)) == said


SAID = {
    "WELCOME": (Conditions(lifecycles=("new",)), {"tenure_days": 20.0}, {"tenure_days": 170.0, "recency_days": nan}),
    "MISSED_YOU": (
        Conditions(lifecycles=("at-risk", "lapsed")),
        {"recency_days": 80.0, "recency_over_gap": 5.0},
        {"recency_days": 7.0, "recency_over_gap": 5.0},
    ),
    "VALUED": (Conditions(values=("high", "potential")), {}, {"baskets_365d": 1.0}),
    "RECENT_PURCHASE": (Conditions(max_recency_days=120), {}, {"recency_days": 100.0}),
    "NEXT_TIER": (Conditions(max_spend_to_next_tier=400), {}, {"spend_to_next_tier": nan}),
    "POINTS_TO_USE": (Conditions(min_points=100), {}, {"points_balance": nan}),
}


@pytest.mark.parametrize("code", SAID)
def test_a_sentence_goes_when_what_it_says_is_no_longer_true(code: str) -> None:
    conditions, true, false = SAID[code]
    assert code in [reason.code for reason in told(conditions, member("m1", **true))]
    assert code not in [reason.code for reason in told(conditions, member("m1", **false))]


def test_a_distance_is_never_said_to_be_smaller_than_it_is() -> None:
    (reason,) = told(Conditions(max_spend_to_next_tier=400), member(spend_to_next_tier=299.991))
    assert reason.text == "You are 300.00 EUR away from Gold"
