from __future__ import annotations

from dataclasses import replace

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


def why_not(candidate: str, name: str = "m1") -> str:
    everything = member(name), ask(), KNOWN, CATALOG, EVERYBODY, NONE
    return decide.why_not(candidate, decide.decide(*everything), decide.appraise(*everything), "EUR")


def test_why_not_is_answered_from_the_numbers_that_decided() -> None:
    assert "the member is in another tier (TIER)" in why_not("gold-exclusive-12")
    assert why_not("five") == "five: the catalogue has no such offer"
    given = decide.decide(member(), ask(), KNOWN, CATALOG, EVERYBODY, NONE).results[0].id
    assert why_not(given) == f"{given}: it was given"
    seen = decide.appraise(member(), ask(), KNOWN, CATALOG, EVERYBODY, NONE)
    worth = {candidate.id: one.net / 10_000 for candidate, one in seen.allowed}
    best = max(worth, key=lambda one: worth[one])
    loser = min(worth, key=lambda one: worth[one])
    gap = worth[best] - worth[loser]
    assert f"{loser}: worth {worth[loser]:.2f} EUR, {gap:.2f} less than {best}" in why_not(loser)
