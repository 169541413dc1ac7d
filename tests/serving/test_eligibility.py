from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.entities import Candidate, Conditions, Limits, RuleSegment
from serving import contact_policy, eligibility
from serving.decide import Appraisal, appraise
from serving.experiments_written import NONE
from serving.portrait import history, portrait
from serving.snapshot import Ask, Contact, Snapshot, Suppressed
from tests.serving.deciding import AT, CATALOG, CONSENTS, DAY, EVERYBODY, KNOWN, ask, member, stranger


def judge(
    candidate: Candidate, snapshot: Snapshot | None = None, asked: Ask | None = None, **more: Any
) -> Suppressed | None:
    snapshot, asked = snapshot or member(), asked or ask()
    who = portrait(snapshot, asked, KNOWN, CATALOG.programme, EVERYBODY)
    past = history(snapshot.contacts, snapshot.at, EVERYBODY.fatigue_days)
    now = eligibility.Circumstances(
        snapshot=snapshot,
        ask=asked,
        portrait=who,
        history=past,
        policy=EVERYBODY,
        held_out=more.get("held_out", False),
        withheld=more.get("withheld", frozenset()),
        keep=eligibility.caller_filter(asked),
        contacting=contact_policy.contacting(snapshot, asked, past, EVERYBODY, CATALOG.programme.timezone),
    )
    rules = eligibility.ready(candidate)
    settled = eligibility.settled(rules, now.ask, now.portrait)
    return eligibility.why_not(rules, now, eligibility.stages(now), settled)


def offer(**over: Any) -> Candidate:
    return Candidate(**{"id": "x", "family": "offer", "type": "gift", "name": "X", **over})


def contacts(*days_ago: float, one: str = "other", channel: str = "email") -> tuple[Contact, ...]:
    return tuple(Contact(AT - days * DAY, one, "gift", "offer", channel) for days in sorted(days_ago, reverse=True))


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_an_offer_without_conditions_is_for_everybody() -> None:
    assert judge(offer()) is None
    assert judge(offer(), stranger()) is None


@pytest.mark.parametrize(
    ("conditions", "stage", "code"),
    [
        (Conditions(tiers=("gold",)), "eligibility", "TIER"),
        (Conditions(min_tenure_days=401), "eligibility", "TENURE"),
        (Conditions(min_points=801), "applicability", "POINTS"),
        (Conditions(min_points_expiring_30d=1), "applicability", "POINTS_EXPIRING"),
        (Conditions(min_basket_value=60), "applicability", "BASKET_VALUE"),
        (Conditions(min_recency_days=13), "applicability", "RECENCY"),
        (Conditions(max_recency_days=11), "applicability", "RECENCY"),
        (Conditions(min_baskets_365d=21), "applicability", "BASKETS"),
        (Conditions(bought_category="coffee"), "applicability", "CATEGORY"),
        (Conditions(lifecycles=("new", "lapsed")), "suitability", "LIFECYCLE"),
        (Conditions(values=("high",)), "suitability", "VALUE"),
        (Conditions(max_spend_to_next_tier=299), "suitability", "NEXT_TIER"),
        (Conditions(min_churn=0.21), "suitability", "CHURN"),
    ],
)
def test_a_condition_that_fails_has_its_stage_and_code(conditions: Conditions, stage: str, code: str) -> None:
    assert judge(offer(conditions=conditions)) == Suppressed("x", stage, code)


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(tiers=("silver", "gold")),
        Conditions(min_tenure_days=400, min_points=800, min_points_expiring_30d=0),
        Conditions(min_recency_days=12, max_recency_days=12, min_baskets_365d=20),
        Conditions(bought_category="tea"),
        Conditions(lifecycles=("active",), values=("potential",)),
        Conditions(max_spend_to_next_tier=300, min_churn=0.2, min_basket_value=50),
    ],
)
def test_a_condition_that_holds_exactly_at_its_bound_holds(conditions: Conditions) -> None:
    snapshot = replace(member(), features={**member().features, "bought_365d:tea": 1.0})
    assert judge(offer(conditions=conditions), snapshot, ask(context={"basket_value": 50.0})) is None


def test_a_missing_number_fits_no_condition() -> None:
    assert judge(offer(conditions=Conditions(max_recency_days=1e9)), member(recency_days=nan)) is not None
    assert judge(offer(conditions=Conditions(min_points=0)), stranger()) is not None


def test_a_stranger_stands_on_the_lowest_step_and_counts_as_new() -> None:
    assert judge(offer(conditions=Conditions(tiers=("bronze",), lifecycles=("new",))), stranger()) is None


def test_without_consent_to_personalisation_only_the_contract_may_be_used() -> None:
    silent = replace(member(), consents={**CONSENTS, "personalisation": False})
    assert judge(offer(conditions=Conditions(tiers=("silver",), min_points=800)), silent) is None
    assert judge(offer(conditions=Conditions(lifecycles=("active",))), silent) == Suppressed(
        "x", "suitability", "LIFECYCLE"
    )
    assert judge(offer(conditions=Conditions(max_recency_days=99)), silent) == Suppressed(
        "x", "applicability", "RECENCY"
    )


def test_an_offer_holds_from_its_first_moment_until_just_before_its_end() -> None:
    one = offer(starts=at("2024-10-04"), ends=at("2024-10-05"))
    start, end = at("2024-10-04").timestamp(), at("2024-10-05").timestamp()
    assert judge(one, replace(member(), at=start - 1)) == Suppressed("x", "eligibility", "NOT_STARTED", start)
    assert judge(one, replace(member(), at=start)) is None
    assert judge(one, replace(member(), at=end - 1)) is None
    assert judge(one, replace(member(), at=end)) == Suppressed("x", "eligibility", "ENDED")


def test_channel_and_placement_must_be_among_its_own() -> None:
    assert judge(offer(channels=("email",))) == Suppressed("x", "eligibility", "CHANNEL")
    assert judge(offer(channels=("email",)), asked=ask(channel=None)) is None
    assert judge(offer(placements=("wallet",))) == Suppressed("x", "eligibility", "PLACEMENT")
    assert judge(offer(placements=("wallet", "home"))) is None


def test_what_the_request_leaves_out_is_left_out() -> None:
    assert judge(offer(), asked=ask(exclude=("x",))) == Suppressed("x", "request", "EXCLUDED")
    assert judge(offer(), asked=ask(include=("y",))) == Suppressed("x", "request", "NOT_INCLUDED")
    assert judge(offer(), asked=ask(filter="type == 'gift'")) is None
    assert judge(offer(), asked=ask(filter="type == $t", filter_values={"t": "win_back"})) == Suppressed(
        "x", "request", "FILTER"
    )


def test_a_paused_offer_is_out_before_anything_else() -> None:
    assert judge(offer(), replace(member(), paused=frozenset({"x"})), ask(exclude=("x",))) == Suppressed(
        "x", "control", "PAUSED"
    )


@pytest.mark.parametrize("channel", ["email", "sms", "push", "call"])
def test_a_message_needs_the_consent_of_its_channel(channel: str) -> None:
    silent = replace(member(), consents={"personalisation": True})
    code = f"NO_CONSENT_{channel.upper()}"
    assert judge(offer(), silent, ask(channel=channel)) == Suppressed("x", "consent", code)
    assert judge(offer(entitlement=True), silent, ask(channel=channel)) == Suppressed("x", "consent", code)
    assert judge(offer(channels=(channel,)), silent, ask(channel=None)) == Suppressed("x", "consent", code)
    assert judge(offer(), member(), ask(channel=channel)) is None


def test_the_third_mail_of_a_week_waits_until_the_second_last_is_a_week_old() -> None:
    mailed = replace(member(), contacts=contacts(9, 5, 2))
    until = AT + 2 * DAY
    assert judge(offer(), mailed, ask(channel="email")) == Suppressed("x", "contact_policy", "EMAIL_2_PER_7D", until)
    assert judge(offer(), replace(mailed, at=until), ask(channel="email")) is None
    assert judge(offer(), mailed, ask(channel="app")) is None
    assert judge(offer(entitlement=True), mailed, ask(channel="email")) is None


def test_a_member_gets_it_only_so_often_and_not_again_at_once() -> None:
    one = offer(limits=Limits(per_member=2, per_days=30, cooldown_days=3))
    twice = replace(member(), contacts=contacts(20, 10, one="x", channel="app"))
    code = Suppressed("x", "contact_policy", "LIMIT_2_PER_30D", AT + 10 * DAY)
    assert judge(one, twice) == code
    assert judge(one, replace(twice, at=AT + 10 * DAY)) is None
    once = replace(member(), contacts=contacts(1, one="x", channel="app"))
    assert judge(one, once) == Suppressed("x", "contact_policy", "COOLDOWN", AT + 2 * DAY)
    assert judge(one, replace(member(), contacts=contacts(1, 2, one="y", channel="app"))) is None


def test_having_done_nothing_is_no_contact() -> None:
    silence = tuple(replace(one, candidate_type="do_nothing") for one in contacts(1, 2, 3))
    assert judge(offer(), replace(member(), contacts=silence), ask(channel="email")) is None


def test_holdout_experiment_and_refusal_spare_no_offer_but_every_right() -> None:
    assert judge(offer(), held_out=True) == Suppressed("x", "holdout", "HOLDOUT")
    assert judge(offer(), withheld=frozenset({"x"})) == Suppressed("x", "experiment", "OTHER_VARIANT")
    assert judge(offer(), replace(member(), refused=frozenset({"x"}))) == Suppressed(
        "x", "stock", "RESERVATION_REFUSED"
    )
    assert judge(offer(entitlement=True), held_out=True, withheld=frozenset({"x"})) is None


@given(times=st.lists(st.floats(0, 90), max_size=12), count=st.integers(1, 4), days=st.integers(1, 60))
def test_a_limit_is_free_exactly_when_fewer_contacts_are_left_in_the_window(
    times: list[float], count: int, days: int
) -> None:
    past = sorted(AT - day * DAY for day in times)
    until = contact_policy.free_again(past, count, days, AT)
    inside = sum(one > AT - days * DAY for one in past)
    assert (until is None) == (inside < count)
    if until is not None:
        assert sum(one > until - days * DAY for one in past) < count


def test_an_offer_for_a_segment_of_ones_own_goes_to_those_whom_its_rule_fits() -> None:
    regulars = RuleSegment("regulars", "Regulars", "baskets_90d >= 3")
    programme = replace(CATALOG.programme, rule_segments=(regulars,))
    catalog = replace(CATALOG, programme=programme, offers=(offer(conditions=Conditions(segments=("regulars",))),))

    def found(**features: float) -> Appraisal:
        return appraise(member("m1", **features), ask(), KNOWN, catalog, EVERYBODY, NONE)

    assert [one.id for one, _ in found(baskets_90d=3).allowed] == ["x"]
    (dropped,) = found(baskets_90d=2).suppressed
    assert (dropped.stage, dropped.code) == ("suitability", "SEGMENT")
    assert found(baskets_90d=3).portrait.segments == {"regulars"}
