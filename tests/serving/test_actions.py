"""Invitations with a date, seats and a topic; what a bad score in a survey changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest

from features import catalog as catalogs
from features.catalog import CatalogError
from features.entities import Candidate, Conditions, Occasion
from serving.decide import appraise
from serving.experiments_written import NONE
from serving.snapshot import Reaction, Snapshot
from tests.serving.deciding import AT, CATALOG, CONFIGS, DAY, EVERYBODY, KNOWN, ask, member

HOUR = 3600.0
EVENING = Occasion(datetime.fromtimestamp(AT + DAY, UTC), "Milano", 2, "coffee")
INVITATION = Candidate("evening", "action", "event_invitation", "Evening", occasion=EVENING)
CALL = Candidate(
    "sorry", "action", "courtesy_call", "Sorry", channels=("call",), conditions=Conditions(max_hours_since_low_score=24)
)
GIFT = Candidate("gift", "offer", "gift", "Gift")
REMINDER = Candidate("remind", "action", "points_expiry_reminder", "Remind", entitlement=True)
NUDGE = Candidate("nudge", "action", "tier_nudge", "Nudge")
WORDS = replace(CATALOG, offers=(GIFT,), actions=(INVITATION, CALL, REMINDER, NUDGE))


def judged(snapshot: Snapshot) -> dict[str, tuple[str, float | None] | None]:
    asked = ask("action", channel=None, direction="inbound")
    found = appraise(snapshot, asked, KNOWN, WORDS, EVERYBODY, NONE)
    return {one.id: None for one, _ in found.allowed} | {one.id: (one.code, one.until) for one in found.suppressed}


def score(value: float, hours_ago: float) -> Reaction:
    return Reaction(AT - hours_ago * HOUR, "score", value=value)


def test_an_invitation_holds_until_the_event_begins_and_suits_those_who_buy_its_topic() -> None:
    fond = replace(member(), features={**member().features, "bought_365d:coffee": 1.0})
    assert judged(member())["evening"] == ("TOPIC", None)
    assert judged(fond)["evening"] is None
    assert judged(replace(fond, at=AT + DAY - 1))["evening"] is None
    assert judged(replace(fond, at=AT + DAY))["evening"] == ("ENDED", None)


def test_seats_are_a_stock_without_anybody_writing_it(tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    copytree(CONFIGS / "catalog", folder)
    loaded = catalogs.load(folder)
    seats = {one.id: one for one in loaded.budgets}["member-evening-seats"]
    assert (seats.unit, seats.amount, seats.candidates) == ("units", 120, ("member-evening",))
    assert catalogs.from_json(catalogs.to_json(loaded)) == loaded
    spent = replace(member("m1", tenure_days=400.0), spent_out=frozenset({"member-evening-seats"}))
    found = appraise(spent, ask("action"), KNOWN, loaded, EVERYBODY, NONE)
    assert {one.id: one.code for one in found.suppressed}["member-evening"] == "OUT_OF_STOCK"
    text = (folder / "actions.yaml").read_text(encoding="utf-8")
    (folder / "actions.yaml").write_text(text.replace("type: event_invitation", "type: tier_nudge"), encoding="utf-8")
    with pytest.raises(CatalogError, match="event is for invitations"):
        catalogs.load(folder)


def test_a_bad_score_stops_promotions_and_lets_a_call_come_within_a_day() -> None:
    until = AT - HOUR + 30 * DAY
    hurt = judged(replace(member(), reactions=(score(2, 1),)))
    assert hurt["sorry"] is None
    assert hurt["gift"] == ("DISSATISFIED", until)
    assert hurt["nudge"] == ("DISSATISFIED", until)
    assert hurt["remind"] is None
    late = judged(replace(member(), reactions=(score(2, 24.01),)))
    assert late["sorry"] == ("LOW_SCORE", None)
    assert late["gift"] is not None
    assert judged(replace(member(), at=until, reactions=(score(2, 1),)))["gift"] is None
    assert judged(replace(member(), at=until - 1, reactions=(score(2, 1),)))["gift"] is not None


@pytest.mark.parametrize(
    "came",
    [
        (score(3, 1),),
        (score(1, 5), score(5, 1)),
        (score(1, 5), Reaction(AT - HOUR, "resolved")),
        (Reaction(AT + HOUR, "score", value=1.0),),
    ],
)
def test_a_better_score_or_a_resolution_ends_it(came: tuple[Reaction, ...]) -> None:
    found = judged(replace(member(), reactions=came))
    assert found["gift"] is None
    assert found["sorry"] == ("LOW_SCORE", None)
