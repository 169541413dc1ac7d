"""From raw files to a decision, to what the member does, to the figures: the whole way, with nothing mocked."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import journal_replay
from features import catalog, history
from features.rows import Rows
from features.workspace import Workspace
from serving import export
from serving.journal import Journal
from serving.members import Finish, fetch
from tessera import build, campaign, clock, load
from tests import whole
from tests.conftest import Demonstrated
from tests.serving.running import eventually
from tests.whole import Service
from training import response
from training.response import ResponseConfig

ENDPOINTS = ("/v1/offers", "/v1/next-best-action", "/v1/benefits", "/v1/recommendations")
MEMBERS = [f"M{number:07d}" for number in range(1, whole.MEMBERS + 1)]


@dataclass(frozen=True)
class Journey:
    """A workspace made from raw files, the files themselves, and the service that runs on it."""

    ws: Workspace
    raw: Path
    service: Service

    def features(self, member: str) -> dict[str, float]:
        """What the online store says of a member, finished now."""
        rows = Rows(self.ws.online)
        finish = Finish(catalog.load(self.ws.catalog).programme)
        found = finish(fetch(rows, member), clock.now(self.ws).timestamp())
        rows.close()
        return dict(found.features) if found else {}

    def now(self) -> str:
        return clock.now(self.ws).isoformat()

    def table(self, name: str) -> pd.DataFrame:
        return history.read(self.ws.tables, name)


@pytest.fixture(scope="module")
def journey(demonstrated: Demonstrated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """The demonstration's folder, its history replaced by a retailer's own files."""
    place = tmp_path_factory.mktemp("journey")
    ws = whole.copy(demonstrated.home, place / "home")
    whole.raw_files(place / "raw")
    whole.remake(ws, place / "raw")
    with whole.served(ws) as service:
        found = Journey(ws, place / "raw", service)
        _until_fresh(found)
        yield found


def _until_fresh(journey: Journey) -> None:
    """The updater has its libraries to load before it is as quick as it says."""
    member = MEMBERS[-1]
    before = journey.features(member)["engagements_90d"]
    journey.service.post("/v1/events", events=[{"event_id": "warm", "type": "check_in", "member_id": member}])
    eventually(lambda: journey.features(member)["engagements_90d"] == before + 1, seconds=30.0)


def takers(journey: Journey, first: int) -> Iterator[dict[str, Any]]:
    """Answers to members who get an offer, from a member on; each test asks about members of its own."""
    for member in MEMBERS[first : first + 60]:
        answer = journey.service.decide("/v1/offers", member_id=member, channel="app")
        if answer["results"] and answer["results"][0]["id"] != "do_nothing":
            yield answer


def test_raw_files_become_tables_models_and_a_service_that_is_ready(journey: Journey) -> None:
    sales = pd.read_csv(journey.raw / "sales.csv", sep=";")
    assert len(journey.table("purchases")) == len(sales) - 2, "one line came twice, one names no article"
    (aside,) = journey.ws.quarantine.iterdir()
    rejected = pd.read_csv(aside)
    assert (rejected["file"].unique().tolist(), rejected["column"].unique().tolist()) == (["sales.csv"], ["product_id"])
    assert all(journey.features(member) for member in MEMBERS[::20])
    ready = journey.service.ready()
    assert (ready["status"], ready["degraded"], ready["refused"]) == ("ready", [], [])
    assert ready["versions"]["models"] == json.loads(journey.ws.champions.read_text())
    assert set(ready["versions"]["models"]) == {"taste", "churn", "lifetime", "response"}


def test_a_history_that_takes_the_place_of_another_leaves_no_state_of_it(journey: Journey) -> None:
    bought = journey.table("purchases").groupby("member_id")["amount"].sum()
    for member in MEMBERS[::10]:
        assert journey.features(member)["lifetime_spend"] == pytest.approx(bought.get(member, 0.0), abs=0.01)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_endpoint_decides_and_the_decision_is_in_the_journal(journey: Journey, path: str) -> None:
    given = journey.service.decide(path, member_id="M0000003", channel="app", explain="full")
    assert given["results"]
    assert given["meta"]["degraded"] == []
    assert given["meta"]["models"] == json.loads(journey.ws.champions.read_text())
    assert all(0 < one["probability"] <= 1 for one in given["results"])
    kept = journey.service.get(f"/v1/decisions/{given['decision_id']}")
    for one in given["results"]:
        assert one.pop("explanation")["why"]  # worked out for whoever asks, not kept
    assert kept["results"] == given["results"]


def test_what_a_member_does_shows_in_their_features_within_two_seconds(journey: Journey) -> None:
    decided = next(takers(journey, first=20))
    member, offer = decided["member_id"], decided["results"][0]["id"]
    before = journey.features(member)
    about: dict[str, Any] = {"member_id": member, "occurred_at": journey.now()}
    line = {**about, "type": "purchase", "basket_id": "J-B1", "quantity": 2, "unit_price": 10.0}
    answer = {**about, "decision_id": decided["decision_id"], "id": offer}
    events = [
        {**line, "event_id": "J-1", "product_id": "P00001", "decision_id": decided["decision_id"], "id": offer},
        {**line, "event_id": "J-2", "product_id": "P00002", "discount": 1.0},
        {**line, "event_id": "J-3", "product_id": "P00002", "type": "return", "quantity": 1, "reverses": "J-2"},
        {**answer, "event_id": "J-4", "type": "accept"},
        {**answer, "event_id": "J-5", "type": "redeem", "value": 2.0},
        {**about, "event_id": "J-6", "type": "check_in"},
        {**about, "event_id": "J-7", "type": "points_earn", "value": 50},
        {**about, "event_id": "J-8", "type": "points_burn", "value": 20},
    ]
    assert journey.service.post("/v1/events", events=events) == {"accepted": 8, "duplicates": 0, "rejected": []}
    began = time.monotonic()
    eventually(lambda: journey.features(member)["engagements_90d"] == before["engagements_90d"] + 1, seconds=4.0)
    took = time.monotonic() - began
    after = journey.features(member)
    changed = {name: round(after[name] - before[name], 2) for name in EXPECTED}
    assert changed == EXPECTED
    assert after["recency_days"] < 0.01
    assert journey.service.get(f"/v1/members/{member}")["points"]["balance"] == after["points_balance"]
    assert took < 2.0
    again = journey.service.post("/v1/events", events=events)
    assert (again["accepted"], again["duplicates"]) == (0, 8)


EXPECTED = {
    "baskets_30d": 1.0,
    "spend_30d": 20.0 + 19.0 - 10.0,
    "lifetime_spend": 29.0,
    "engagements_90d": 1.0,
    "offers_accepted_90d": 2.0,
    "points_balance": 30.0,
    "points_burned_365d": 20.0,
}
"""Two for 20, two for 19 after 1 off, and one of them back for 10; worked out by hand."""


def test_who_enrols_by_an_event_is_a_member_within_two_seconds(journey: Journey) -> None:
    stranger = journey.service.decide("/v1/offers", member_id="new-1", channel="app")
    assert stranger["meta"]["cold_start"]
    said = {"consent_personalisation": True, "consent_email": True, "region": "north"}
    event = {"event_id": "E-1", "type": "enrol", "member_id": "new-2", "properties": said}
    assert journey.service.post("/v1/events", events=[event])["accepted"] == 1
    eventually(lambda: bool(journey.features("new-2")), seconds=2.0)
    found = journey.service.get("/v1/members/new-2")
    assert (found["segment"]["lifecycle"], found["region"], found["tier"]["id"]) == ("new", "north", "bronze")
    assert (found["consents"]["email"], found["consents"]["sms"]) == (True, False)
    for path in ENDPOINTS:
        answer = journey.service.decide(path, member_id="new-2", channel="email")
        assert answer["results"]
        assert not answer["meta"]["cold_start"]
        assert answer["meta"]["degraded"] == []


def test_a_pause_from_the_command_line_is_effective_within_two_seconds(journey: Journey) -> None:
    given = next(takers(journey, first=80))
    member, offer = given["member_id"], given["results"][0]["id"]

    def shown() -> bool:
        return any(one["id"] == offer for one in offers(journey, member)["results"])

    def free() -> bool:
        tried = journey.service.decide("/v1/offers", member_id=member, channel="app", dry_run=True)
        return "PAUSED" not in {one["code"] for one in tried["suppressed"]}

    assert shown()
    assert whole.tessera(journey.ws, "pause", offer).returncode == 0
    eventually(lambda: not shown(), seconds=2.0)
    codes = {one["id"]: one["code"] for one in offers(journey, member)["suppressed"]}
    assert codes[offer] == "PAUSED"
    assert campaign.pause(journey.ws, offer, resume=True) == 0
    eventually(free, seconds=2.0)


def offers(journey: Journey, member: str) -> dict[str, Any]:
    return journey.service.decide("/v1/offers", member_id=member, channel="app")


def test_a_good_catalogue_is_taken_up_and_a_bad_one_refused_without_a_restart(journey: Journey) -> None:
    path = journey.ws.catalog / "offers.yaml"
    before = path.read_text()
    version = journey.service.ready()["versions"]["catalog"]
    path.write_text(before.replace('text: "5 % off one basket this week."', 'text: "Five off, today."'))
    eventually(lambda: journey.service.ready()["versions"]["catalog"] != version, seconds=2.0)
    good = journey.service.ready()["versions"]["catalog"]
    path.write_text(before.replace("discount: 0.05", "discount: 7"))
    eventually(refused(journey, 'offers.yaml: offer "basket-5"'), seconds=2.0)
    assert journey.service.ready()["versions"]["catalog"] == good
    assert offers(journey, "M0000150")["results"]
    path.write_text(before)
    eventually(lambda: journey.service.ready()["versions"]["catalog"] == version, seconds=2.0)


def refused(journey: Journey, words: str) -> Callable[[], bool]:
    return lambda: any(words in sentence for sentence in journey.service.ready()["refused"])


def models(journey: Journey) -> dict[str, str]:
    found: dict[str, str] = journey.service.ready()["versions"]["models"]
    return found


def test_a_rollback_swaps_the_champion_without_a_restart(journey: Journey) -> None:
    newest = models(journey)["taste"]
    assert build.promote(journey.ws, ["taste"], None, rollback=True) == 0
    eventually(lambda: models(journey)["taste"] != newest, seconds=2.0)
    answer = journey.service.decide("/v1/recommendations", member_id="M0000160")
    assert answer["meta"]["models"]["taste"] == models(journey)["taste"]
    assert answer["results"]


def corrupted(folder: Path, _: Path) -> None:
    arrays = bytearray((folder / "arrays.npz").read_bytes())
    arrays[len(arrays) // 2] ^= 0xFF
    (folder / "arrays.npz").write_bytes(bytes(arrays))


def truncated(folder: Path, _: Path) -> None:
    arrays = (folder / "arrays.npz").read_bytes()
    (folder / "arrays.npz").write_bytes(arrays[: len(arrays) // 2])


def file_swapped(folder: Path, other: Path) -> None:
    shutil.copy(other / "arrays.npz", folder / "arrays.npz")


def bundle_swapped(folder: Path, other: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


@pytest.mark.parametrize("damage", [corrupted, truncated, file_swapped, bundle_swapped])
def test_a_damaged_or_swapped_bundle_is_refused_and_the_last_good_one_goes_on(
    journey: Journey, damage: Callable[[Path, Path], None]
) -> None:
    serving = models(journey)
    bundle, other = (journey.ws.bundles / "taste" / version for version in ("99", serving["taste"]))
    shutil.copytree(other, bundle)
    described = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**described, "version": "99"}))
    damage(bundle, journey.ws.bundles / ("churn" if damage is file_swapped else "taste") / serving["taste"])
    crown(journey.ws, {**serving, "taste": "99"})
    try:
        eventually(refused(journey, "taste 99: "), seconds=2.0)
        assert models(journey) == serving
        answer = journey.service.decide("/v1/recommendations", member_id="M0000161")
        assert answer["meta"]["models"]["taste"] == serving["taste"]
    finally:
        crown(journey.ws, serving)
        shutil.rmtree(bundle)
    eventually(lambda: journey.service.ready()["refused"] == [], seconds=2.0)


def crown(ws: Workspace, versions: dict[str, str]) -> None:
    draft = ws.champions.with_suffix(".tmp")
    draft.write_text(json.dumps(versions))
    draft.replace(ws.champions)


@pytest.mark.parametrize("service", ["churn_v1", "everything"])
def test_a_frame_has_a_row_for_each_member_known_by_then(journey: Journey, service: str, tmp_path: Path) -> None:
    members = journey.table("members")
    at = members["occurred_at"].sort_values().iloc[len(members) * 9 // 10]
    build.frame(journey.ws, service, at.to_pydatetime(), tmp_path / "frame.parquet")
    frame = pd.read_parquet(tmp_path / "frame.parquet")
    known = members[(members["occurred_at"] <= at) & (members["known_at"] <= at)]["member_id"].unique()
    assert 0 < len(known) < len(MEMBERS)
    assert sorted(frame["member_id"]) == sorted(known)
    assert frame["recency_days"].min() >= 0


def test_without_the_online_store_answers_go_on_marked_until_it_is_back(journey: Journey) -> None:
    before = journey.features("new-2"), journey.features("M0000170")
    for file in journey.ws.root.glob("online.db*"):
        file.unlink()
    eventually(lambda: "features" in journey.service.ready()["degraded"], seconds=2.0)
    for path in ENDPOINTS:
        answer = journey.service.post(path, member_id="M0000170", channel="app")
        assert answer["results"]
        assert "features" in answer["meta"]["degraded"]
    assert build.features(journey.ws) >= len(MEMBERS)
    eventually(lambda: journey.service.ready()["degraded"] == [], seconds=2.0)
    after = journey.features("new-2"), journey.features("M0000170")
    for name in ("lifetime_spend", "engagements_90d", "points_balance"):
        assert [one[name] for one in after] == [one[name] for one in before]


def test_the_night_puts_decisions_and_what_followed_into_the_tables_once(journey: Journey) -> None:
    """Everybody is asked about, every second of those who get an offer accepts it; then two nights in a row."""
    asked = {"family": "offer", "member_ids": MEMBERS, "channel": "web"}
    answers = journey.service.post("/v1/decisions/batch", **asked)["answers"]
    given = [one for one in answers if one["results"] and one["results"][0]["id"] != "do_nothing"]
    accepts = [
        {"event_id": f"A-{one['decision_id']}", "type": "accept", "member_id": one["member_id"],
         "decision_id": one["decision_id"], "id": one["results"][0]["id"]}
        for one in given[::2]
    ]  # fmt: skip
    assert len(accepts) > 50
    assert journey.service.post("/v1/events", events=accepts)["accepted"] == len(accepts)
    nightly = whole.tessera(journey.ws, "nightly")
    assert nightly.returncode in (0, 3), nightly.stderr
    events, outcomes = journey.table("offer_events"), journey.table("outcomes")
    accepted = events[events["event_id"].isin([one["event_id"] for one in accepts])]
    assert len(accepted) == len(accepts)
    decisions = journey.table("decisions")
    firsts = decisions.drop_duplicates("decision_id")
    joined = outcomes.merge(firsts, on="decision_id", validate="many_to_one")
    assert set(joined["outcome_id"]) >= {one["event_id"] for one in accepts} | {"J-1", "J-4", "J-5"}
    assert (joined["member_id_x"] == joined["member_id_y"]).all()
    bought = journey.table("purchases").set_index("purchase_id")
    assert bought.loc[["J-1", "J-2", "J-3"], "amount"].tolist() == [20.0, 19.0, -10.0]
    assert bought.loc["J-3", "reverses"] == "J-2"
    assert journey.table("members")["member_id"].eq("new-2").sum() == 1
    journal = Journal(journey.ws.journal)
    logged = Counter(row.decision_id for row in journal.read_decisions(limit=100_000))
    journal.close()
    assert max(logged.values()) == 1
    fingerprint = history.fingerprint(journey.ws.tables)
    again = whole.tessera(journey.ws, "nightly")
    assert again.returncode == 0
    assert again.stderr.count("done already tonight") == 9
    assert history.fingerprint(journey.ws.tables) == fingerprint
    (journey.ws.tables / "manifest.json").write_text(
        json.dumps({**json.loads((journey.ws.tables / "manifest.json").read_text()), "watermark": 0})
    )
    load.from_journal(journey.ws)
    once = journey.table("purchases"), journey.table("offer_events")
    assert [frame[frame.columns[0]].duplicated().sum() for frame in once] == [0, 0]
    assert len(once[1]) == len(events)
    eventually(lambda: models(journey) == json.loads(journey.ws.champions.read_text()), seconds=2.0)


def test_the_read_out_of_the_journal_is_what_was_decided_and_answered(journey: Journey, tmp_path: Path) -> None:
    tables, _ = export.since(journey.ws.journal, 0)
    shutil.copytree(journey.ws.tables, tmp_path / "all")
    history.merge(tmp_path / "own", {**tables, "purchases": journey.table("purchases")})
    at = clock.now(journey.ws) + timedelta(days=15)
    found = {one.type: one for one in response.estimate(tmp_path / "own", at, ResponseConfig(window_days=14))}
    firsts = tables["decisions"].query("learnable and rank == 1 and family in ('offer', 'action')")
    firsts = firsts.sort_values(["member_id", "occurred_at"]).drop_duplicates(["member_id", "family"])
    kind = firsts["candidate_type"].value_counts().drop("do_nothing").index[0]
    treated = firsts[firsts["candidate_type"] == kind]
    type_of = dict(zip(firsts["candidate_id"], firsts["candidate_type"], strict=True))
    chances = treated["propensities"].map(json.loads)
    both = [one.get("do_nothing", 0.0) >= 0.005 for one in chances]
    weights = 1 / chances.map(lambda one: sum(p for name, p in one.items() if type_of.get(name) == kind))
    answered = treated["decision_id"].isin(tables["outcomes"].query("type in ('accept', 'redeem')")["decision_id"])
    expected = (weights * answered)[both].sum() / weights[both].sum()
    assert found[kind].n == sum(both) > 20
    assert found[kind].response == pytest.approx(expected)
    assert 0.2 < expected < 0.8


def test_every_decision_of_the_journey_runs_again_to_itself(journey: Journey) -> None:
    report = journal_replay.run(journey.ws)
    assert report.total > 600
    assert report.same, report
