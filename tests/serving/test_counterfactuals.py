"""What is said to help helps, and a little less does not: every change is tried on the decision itself."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.entities import Candidate, Conditions, Economics, Limits
from serving import counterfactuals, explain_answer, thresholds
from serving.assignment import NONE
from serving.counterfactuals import held_by, made
from serving.decide import decide
from serving.explain_case import Case, case, standing
from serving.explain_steps import applied, weaker
from serving.snapshot import Contact, Snapshot
from tests.serving.deciding import AT, CATALOG, CERTAIN, DAY, EVERYBODY, KNOWN, ask, member, offers

IDS = [one.id for one in (*CATALOG.offers, *CATALOG.actions) if one.type != "do_nothing"]
NEVER = {"tenure_days", "churn", "hours_since_low_score"}


@st.composite
def members(draw: st.DrawFn) -> Snapshot:
    recency = draw(st.floats(0.5, 200))
    spend = draw(st.sampled_from([0.0, 120.0, 349.99, 399.5, 900.0, 1300.0]))
    rank = 0.0 if spend < 400 else 1.0 if spend < 1200 else 2.0
    one = member(
        recency_days=recency,
        recency_over_gap=recency / draw(st.floats(2, 40)),
        tenure_days=draw(st.floats(1, 900)),
        baskets_365d=float(draw(st.integers(0, 12))),
        points_balance=float(draw(st.integers(0, 1500))),
        spend_365d=spend,
        tier_rank=rank,
        spend_to_next_tier=[400.0, 1200.0, 3000.0][int(rank)] - spend,
    )
    shown = draw(st.lists(st.tuples(st.floats(0.01, 60), st.sampled_from(IDS)), max_size=6))
    kinds = {one.id: one.type for one in (*CATALOG.offers, *CATALOG.actions)}
    contacts = sorted(
        (Contact(AT - days * DAY, name, kinds[name], "offer", "app") for days, name in shown), key=lambda c: c.at
    )
    return replace(one, contacts=tuple(contacts))


def of(snapshot: Snapshot) -> Case:
    return case(snapshot, ask("action"), KNOWN, CATALOG, EVERYBODY, NONE)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(members(), st.sampled_from(IDS))
def test_each_change_does_what_is_said_and_one_step_less_does_not(snapshot: Snapshot, name: str) -> None:
    one = of(snapshot)
    now = standing(one, name)
    if now.outcome == "dropped":
        for way in counterfactuals.ways(one, name):
            assert len(way.changes) <= counterfactuals.MOST
            then = standing(made(one, name, way.changes), name)
            assert then.outcome == way.then.outcome != "dropped"
            for place, change in enumerate(way.changes):
                rest = (*way.changes[:place], *way.changes[place + 1 :])
                assert held_by(made(one, name, rest).alone(name), name) is not None
                less = weaker(change)
                if less is not None:
                    smaller = (*way.changes[:place], less, *way.changes[place + 1 :])
                    assert held_by(made(one, name, smaller).alone(name), name) is not None
                assert not (change.by == "member" and change.what in NEVER)
            (first, *more) = way.changes
            if first.until is not None and not more:
                assert held_by(applied(one.moved(at=first.until - 1), name, first).alone(name), name) is None
                assert held_by(applied(one.moved(at=first.until), name, first).alone(name), name) is not None
    elif now.outcome == "outdone":
        for way in thresholds.winning(one, name, now):
            (change,) = way.changes
            less = weaker(change)
            assert less is not None
            assert standing(applied(one, name, change), name).rival is None
            assert standing(applied(one, name, less), name).rival is not None


def only(**more: object) -> tuple[Case, str]:
    one = Candidate("x", "offer", "gift", "X", economics=Economics(cost=0.01, response=0.9, effect_share=1.0))
    two = replace(one, id="y", economics=replace(one.economics, cost=0.5))
    snapshot = more.pop("snapshot", member())
    asked = more.pop("asked", ask())
    one = replace(one, **more)  # type: ignore[arg-type]
    return case(snapshot, asked, KNOWN, offers(one, two), CERTAIN, NONE), "x"  # type: ignore[arg-type]


def test_a_cooldown_is_named_to_its_very_moment_and_what_stands_behind_it_is_found() -> None:
    shown = replace(member(), contacts=(Contact(AT - 2 * DAY, "x", "gift", "offer", "app"),))
    one, name = only(snapshot=shown, limits=Limits(cooldown_days=5), conditions=Conditions(min_points=1000))
    found = counterfactuals.ways(one, name)
    both = {frozenset((change.kind, change.needed) for change in way.changes) for way in found}
    assert frozenset({("wait", AT + 3 * DAY), ("points", 1000.0)}) in both
    assert all(len(way.changes) == 2 for way in found)


def test_the_price_at_which_it_wins_is_an_edge_that_can_be_worked_out_by_hand() -> None:
    one, _ = only()
    edge = next(way.changes[0] for way in thresholds.winning(one, "y") if way.changes[0].kind == "cost")
    # All else is equal, so it wins where it costs no more, up to the order of ids: a cent less.
    assert edge.needed == pytest.approx(0.0)
    assert edge.now == 0.5


def test_nobody_is_asked_to_stay_away_to_be_newer_or_to_be_dissatisfied() -> None:
    for conditions in (Conditions(lifecycles=("new",)), Conditions(max_hours_since_low_score=24)):
        one, name = only(conditions=conditions)
        assert not [step for way in counterfactuals.ways(one, name) for step in way.changes if step.by == "member"]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(members(), st.sampled_from(IDS))
def test_no_sentence_for_a_member_says_a_number_of_ours(snapshot: Snapshot, name: str) -> None:
    one = of(snapshot)
    made_then = decide(one.snapshot, one.ask, one.learned, one.catalog, one.policy, one.experiments)
    said = explain_answer.explained(one, made_then, name)
    text = said["member_sentence"]
    words = ("risk", "laps", "churn", "score", "segment", "probab", "margin", "value", "chance", "we saw", "noticed")
    assert text and not any(word in text.lower() for word in words)
    candidate = one.candidate(name)
    assert candidate is not None
    public = {f"{candidate.conditions.min_points or 0:,.0f}", f"{candidate.conditions.min_basket_value or 0:,.2f}"}
    account = {f"{snapshot.features[key]:.2f}" for key in ("spend_to_next_tier",)}
    account |= {str(int(snapshot.features[key])) for key in ("points_balance", "points_expiring_30d")} | {"30"}
    assert set(re.findall(r"\d[\d,.]*\d|\d", text)) <= public | account


def test_an_explanation_is_written_for_every_candidate_of_a_decision() -> None:
    one = of(member())
    made_then = decide(one.snapshot, one.ask, one.learned, one.catalog, one.policy, one.experiments)
    for name in IDS:
        said = explain_answer.explained(one, made_then, name)
        assert said["changes"] or said["none_found"] or said["outcome"] in ("given", "undrawn")
        assert (said["why_not"] is None) == any(result.id == name for result in made_then.results)
    with pytest.raises(KeyError):
        explain_answer.explained(one, made_then, "nothing-such")
