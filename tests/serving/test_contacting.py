"""What members answer, through the events endpoint's own sorting and the journal, into the next decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from experiments import journal_replay
from features.workspace import Workspace
from serving import events
from serving.calls import Plan, call
from serving.contract import DecisionRequest
from serving.house import House, open_house
from serving.snapshot import Reaction

NIGHT, NOON = (datetime(2026, 3, 2, hour, 30, tzinfo=UTC).timestamp() for hour in (2, 12))


@pytest.fixture
def house(ws: Workspace) -> Iterator[House]:
    policy = ws.policy.read_text(encoding="utf-8")
    for before, after in (("share: 0.05", "share: 0.0"), ("do_nothing_floor: 0.05", "do_nothing_floor: 0.0")):
        policy = policy.replace(before, after)
    ws.policy.write_text(policy)
    counter = iter(range(10**6))
    with closing(open_house(ws, lambda n: next(counter).to_bytes(n, "big"), open_door=True, patient=True)) as found:
        yield found


def decide(house: House, member: str, at: float, **more: Any) -> Plan:
    asked = DecisionRequest.model_validate({"member_id": member, "channel": "push", "direction": "outbound", **more})
    plan = house.engine.plan(call("offer", member, asked, at, b""))
    if plan.row is not None:
        house.journal.append_decisions([plan.row])
    return plan


def report(house: House, at: float, **event: Any) -> None:
    when = datetime.fromtimestamp(at, UTC)
    raw = {"event_id": f"e{at}{event['type']}", "occurred_at": when.isoformat(), **event}
    found = events.sort(events.EventsRequest.model_validate({"events": [raw]}).events, [raw], when, "EUR")
    assert not found.rejected
    house.journal.append_events(found.rows)


def given(plan: Plan) -> list[str]:
    return [one["id"] for one in plan.answer["results"] if one["id"] != "do_nothing"]


def codes(plan: Plan) -> set[str]:
    return {one["code"] for one in plan.answer["suppressed"]}


def who(house: House) -> str:
    """A member whom we may push to and who gets something at noon."""
    for number in range(300):
        member = f"M{number:07d}"
        asked = DecisionRequest.model_validate({"member_id": member, "channel": "push", "dry_run": True})
        if given(house.engine.plan(call("offer", member, asked, NOON, b""))):
            return member
    raise AssertionError("nobody gets anything")


def test_what_is_decided_at_night_waits_and_does_not_stand_for_the_day(house: House) -> None:
    member = who(house)
    night = decide(house, member, NIGHT)
    assert not given(night)
    assert codes(night) >= {"QUIET_HOURS"}
    assert {one["until"] for one in night.answer["suppressed"] if one["code"] == "QUIET_HOURS"} == {
        "2026-03-02T07:00:00Z"
    }
    assert night.row is not None
    assert (night.row.period_key, night.row.learnable) == (None, False)
    noon = decide(house, member, NOON)
    assert given(noon)
    assert noon.row is not None
    assert noon.row.learnable
    again = decide(house, member, NOON + 3600)
    assert again.answer["decision_id"] == noon.answer["decision_id"]
    late = decide(house, member, NOON + 9 * 3600)
    assert not given(late)
    assert late.row is not None
    assert given(decide(house, member, NOON + 9 * 3600, direction="inbound")) == given(noon)


def test_who_unsubscribes_gets_nothing_more_on_the_same_day(house: House) -> None:
    member = who(house)
    assert given(decide(house, member, NOON))
    report(house, NOON + 60, type="unsubscribe", member_id=member, properties={"channel": "push"})
    after = decide(house, member, NOON + 61)
    assert not given(after)
    assert codes(after) >= {"NO_CONSENT_PUSH"}
    assert after.row is not None
    assert not after.row.learnable


def test_an_answer_is_remembered_with_what_it_answers_and_a_bounce_rests_the_channel(house: House) -> None:
    member = who(house)
    first = decide(house, member, NOON)
    decision, candidate = first.answer["decision_id"], given(first)[0]
    report(house, NOON + 60, type="click", member_id=member, decision_id=decision)
    report(house, NOON + 50, type="impression", member_id=member, decision_id=decision)
    memory = house.journal.memory(member, 0)
    assert [(one.candidate_id, one.answered) for one in memory.contacts] == [(candidate, True)]
    assert memory.reactions == ()
    report(house, NOON + 70, type="bounced", member_id=member, decision_id=decision)
    assert house.journal.memory(member, 0).reactions == (Reaction(NOON + 70, "bounced", "push"),)
    after = decide(house, member, NOON + 86_400)
    assert codes(after) >= {"PUSH_BOUNCED"}


def test_decisions_with_answers_and_zones_run_again_to_themselves(house: House, ws: Workspace) -> None:
    member = who(house)
    first = decide(house, member, NOON)
    report(house, NOON + 60, type="accept", member_id=member, id=given(first)[0])
    report(house, NOON + 70, type="survey_answer", member_id=member, value=1)
    decide(house, member, NOON + 2 * 86_400)
    decide(house, member, NIGHT + 3 * 86_400)
    found = journal_replay.run(ws)
    assert (found.total, found.equal) == (3, 3)
    assert found.same


def test_a_bad_score_ends_the_day_that_promotions_stood_for(house: House) -> None:
    member = who(house)
    assert given(decide(house, member, NOON, channel="app"))
    report(house, NOON + 60, type="survey_answer", member_id=member, value=1)
    after = decide(house, member, NOON + 61, channel="app")
    assert not given(after)
    assert codes(after) >= {"DISSATISFIED"}
    report(house, NOON + 120, type="accept", member_id=member, id="make-good-call", properties={"resolved": True})
    assert "DISSATISFIED" not in codes(decide(house, member, NOON + 121, channel="app"))
