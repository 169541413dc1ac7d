"""Journal rows as typed tables: the right table, the right signs and times, and the same rows every time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from features import history
from features.entities import PointsRules
from features.workspace import Workspace
from serving import export
from serving.contract import Envelope
from serving.delivery import decide_many
from serving.events import EventsRequest, sort
from serving.house import House, open_house
from serving.journal import Journal

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = PointsRules(expiry_days=30, cost_per_point=0.01, redeemed_share=0.5)


@pytest.fixture
def house(ws: Workspace) -> Iterator[House]:
    counter = iter(range(10**9))
    found = open_house(ws, lambda size: next(counter).to_bytes(size, "big"), clock=lambda: 1.7e9)
    found.watch.offset = AT.timestamp() - 1.7e9
    yield found
    found.close()


def report(journal: Journal, *events: dict[str, Any]) -> None:
    sent = [{"member_id": "m1", "occurred_at": "2026-03-01T10:00:00+01:00"} | event for event in events]
    found = sort(EventsRequest.model_validate({"events": sent}).events, sent, AT, "EUR")
    assert not found.rejected, found.rejected
    journal.append_events(found.rows)


def exported(path: Path, rules: PointsRules | None = RULES) -> dict[str, pd.DataFrame]:
    return export.since(path, 0, rules)[0]


def test_purchases_and_returns_become_lines_whose_amounts_add_up(house: House) -> None:
    line = {"product_id": "p1", "unit_price": 4.0, "basket_id": "b1", "properties": {"channel": "web"}}
    report(
        house.journal,
        {
            "event_id": "e1",
            "type": "purchase",
            "quantity": 3,
            "discount": 2.0,
            "properties": {"channel": "web"},
            **line,
        },
        {"event_id": "e2", "type": "return", "quantity": 1, "reverses": "e1", **line},
    )
    rows = exported(house.ws.journal)["purchases"]
    assert rows["purchase_id"].tolist() == ["e1", "e2"]
    assert rows["quantity"].tolist() == [3.0, -1.0]
    assert rows["amount"].tolist() == [10.0, -4.0]
    assert rows["reverses"].tolist() == [None, "e1"]
    assert rows["channel"].tolist() == ["web", "web"]
    assert (rows["amount"] == rows["quantity"] * rows["unit_price"] - rows["discount"]).all()
    assert rows["occurred_at"][0] == pd.Timestamp("2026-03-01T09:00:00Z")
    assert rows["known_at"][0] == pd.Timestamp(AT)


def test_points_are_signed_and_expire_by_the_programmes_rules(house: House) -> None:
    report(
        house.journal,
        {"event_id": "e1", "type": "points_earn", "value": 50},
        {"event_id": "e2", "type": "points_burn", "value": 20},
    )
    rows = exported(house.ws.journal)["points"]
    assert rows["points"].tolist() == [50.0, -20.0]
    assert rows["type"].tolist() == ["earn", "redeem"]
    assert rows["expires_at"][0] == pd.Timestamp("2026-03-01T09:00:00Z") + timedelta(days=30)
    assert pd.isna(rows["expires_at"][1])
    assert pd.isna(exported(house.ws.journal, None)["points"]["expires_at"][0])


def test_enrolment_consents_only_where_it_says_so(house: House) -> None:
    said = {"consent_email": True, "consent_sms": False, "region": "north"}
    report(house.journal, {"event_id": "e1", "type": "enrol", "properties": said})
    found = exported(house.ws.journal)
    row = found["members"].iloc[0]
    assert (row["consent_email"], row["consent_sms"], row["consent_push"]) == (True, False, False)
    assert row["region"] == "north"
    assert found["engagements"]["type"].tolist() == ["enrol"]
    assert house.journal.memory("m1", 0).consents == {"email": True, "sms": False}


def test_an_answer_is_tied_to_what_was_decided(house: House) -> None:
    members = [f"M{k:07d}" for k in range(1, 40)]
    asked = Envelope.model_validate({"channel": "app"})
    answers = list(decide_many(house.engine, members, "offer", asked, AT.timestamp()))
    given = next(answer for answer in answers if answer["results"][0]["id"] != "do_nothing")
    offer = given["results"][0]
    who = {"member_id": given["member_id"], "decision_id": given["decision_id"], "occurred_at": AT.isoformat()}
    report(
        house.journal,
        {"event_id": "e1", "type": "impression", **who},
        {"event_id": "e2", "type": "redeem", "value": 12.5, **who},
        {"event_id": "e3", "type": "accept", "id": "elsewhere"},
    )
    found = exported(house.ws.journal)
    types = {one.id: one.type for one in house.watch.present().rulebook.catalog.offers}
    answered = found["offer_events"]
    assert answered["offer_id"].tolist() == [offer["id"], offer["id"], "elsewhere"]
    assert answered["offer_type"].tolist() == [types[offer["id"]], types[offer["id"]], "unknown"]
    assert answered["channel"].tolist() == ["app", "app", None]
    assert found["outcomes"]["type"].tolist() == ["redeem"]
    assert found["outcomes"]["value"].tolist() == [12.5]


def test_decisions_come_out_with_the_chances_they_were_drawn_with(house: House) -> None:
    members = [f"M{k:07d}" for k in range(1, 60)]
    answers = list(decide_many(house.engine, members, "offer", Envelope(), AT.timestamp()))
    rows = exported(house.ws.journal)["decisions"].set_index("decision_id")
    assert len(rows) == sum(len(answer["results"]) for answer in answers)
    for answer in answers:
        for result in answer["results"]:
            row = rows.loc[answer["decision_id"]]
            chances = orjson.loads(row["propensities"])
            assert chances[result["id"]] == result["probability"] == row["probability"]
            assert sum(chances.values()) == pytest.approx(1.0)
            assert row["mode"] == answer["policy"]["mode"]
    assert rows["learnable"].all()
    assert set(rows.loc[rows["candidate_id"] == "do_nothing", "candidate_type"]) <= {"do_nothing"}


def test_exporting_in_steps_or_twice_gives_the_same_tables(house: House, tmp_path: Path) -> None:
    list(decide_many(house.engine, ["M0000001", "M0000002"], "offer", Envelope(), AT.timestamp()))
    report(house.journal, {"event_id": "e1", "type": "check_in"})
    first, middle = export.since(house.ws.journal, 0, RULES)
    report(house.journal, {"event_id": "e2", "type": "check_in"})
    list(decide_many(house.engine, ["M0000003"], "offer", Envelope(), AT.timestamp()))
    second, end = export.since(house.ws.journal, middle, RULES)
    whole, also_end = export.since(house.ws.journal, 0, RULES)
    assert end == also_end == house.journal.last_seq()
    assert export.since(house.ws.journal, end) == ({}, end)
    for steps in ([first, second], [whole], [second, first, whole, whole]):
        folder = tmp_path / str(len(steps))
        for step in steps:
            history.merge(folder, step)
    prints = {history.fingerprint(tmp_path / name) for name in ("1", "2", "4")}
    assert len(prints) == 1


def test_a_campaign_run_again_gives_the_same_and_counts_nobody_twice(house: House) -> None:
    members = [f"M{k:07d}" for k in range(1, 31)]
    asked = Envelope.model_validate({"channel": "email", "direction": "outbound"})
    first = list(decide_many(house.engine, members, "action", asked, AT.timestamp()))
    contacts = [house.journal.memory(member, 0).contacts for member in members]
    again = list(decide_many(house.engine, members, "action", asked, AT.timestamp() + 60))
    assert [answer["decision_id"] for answer in again] == [answer["decision_id"] for answer in first]
    assert [house.journal.memory(member, 0).contacts for member in members] == contacts
    assert all(answer["meta"]["repeated"] for answer in again)


def test_a_visit_has_an_id_of_its_own_until_an_event_says_whose_it_was(house: House, tmp_path: Path) -> None:
    report(house.journal, {"event_id": "e1", "type": "check_in", "member_id": None, "anonymous_id": "cookie"})
    assert exported(house.ws.journal)["engagements"]["member_id"].tolist() == ["~cookie"]
    report(house.journal, {"event_id": "e2", "type": "check_in", "member_id": "M0000001", "anonymous_id": "cookie"})
    found = exported(house.ws.journal)
    assert found["engagements"]["member_id"].tolist() == ["~cookie", "M0000001"]
    assert found["identities"][["card_id", "member_id"]].values.tolist() == [["~cookie", "M0000001"]]
    assert export.since(tmp_path / "absent.db", 7) == ({}, 7)
