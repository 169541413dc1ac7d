from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from experiments.replay import Record, Versions, read, replay
from features import catalog as catalogs
from features.written import merged
from serving import assignment, payload, records
from serving import policy as policies
from serving.decide import decide
from serving.policy import Policy
from serving.snapshot import Ask, Contact, Learned, Placement, ResponseEstimate, Snapshot

CONFIGS = Path(__file__).parents[2] / "configs"
CATALOG = catalogs.load(CONFIGS / "catalog")
POLICY = policies.load(CONFIGS / "policy.yaml")
EXPERIMENTS = assignment.load(CONFIGS / "experiments")
AT = 1_760_000_000.123456
NAMES = records.Versions(CATALOG.version, POLICY.version, EXPERIMENTS.version, {"taste": "3"})
STORED = Versions(
    catalog=lambda version: {CATALOG.version: catalogs.from_json(catalogs.to_json(CATALOG))}[version],
    policy=lambda version: {POLICY.version: policies.parse(POLICY.text)}[version],
    experiments=lambda version: {EXPERIMENTS.version: assignment.from_json(assignment.to_json(EXPERIMENTS))}[version],
)


def finish(state: bytes, at: float) -> Mapping[str, float]:
    """Features out of a state that holds times and sums; recency moves with the clock."""
    kept = orjson.loads(state)
    return {**kept["numbers"], "recency_days": (at - kept["last_at"]) / 86_400}


def state(index: int) -> bytes:
    numbers = {
        "tenure_days": 30.0 + index,
        "lifetime_baskets": float(index % 30),
        "baskets_365d": float(index % 25),
        "spend_365d": 12.3 * index,
        "avg_basket_value": 7.0 + index / 3,
        "points_balance": 10.0 * index,
        "points_expiring_30d": float(index % 7) * 40,
        "tier_rank": float(index % 4),
        "spend_to_next_tier": 400.0 - index,
    }
    return orjson.dumps({"numbers": numbers, "last_at": AT - index * 86_400 * 0.7})


def logged(index: int, *, policy: Policy = POLICY, at: float = AT) -> bytes:
    """What the journal keeps of one decision of the example programme."""
    family = ("offer", "action", "benefit", "product")[index % 4]
    ask = Ask(
        family,  # type: ignore[arg-type]
        (Placement("hero"), Placement("wallet", 3)),
        channel=("app", "email", None)[index % 3],
        context={"basket_value": 20.5 * (index % 5), "store": "s1"},
        exclude=("five-off",) if index % 5 == 0 else (),
        filter="type != $t" if index % 6 == 0 else None,
        filter_values={"t": "gift"} if index % 6 == 0 else {},
    )
    known = index % 10 != 0
    snapshot = Snapshot(
        f"m{index}",
        at,
        known=known,
        features=finish(state(index), at) if known else {},
        consents={"personalisation": index % 8 != 0, "email": True} if known else {},
        contacts=(Contact(at - 86_400.5, "double-points", "points_multiplier", "offer", "email"),) * (index % 3),
        exposures={"2026-points-or-money": "points"} if index % 2 else {},
        paused=frozenset({"points-250", "basket-5"} if index % 9 == 0 else ()),
        degraded=() if known else ("features",),
    )
    learned = Learned(
        churn=0.1 + index / 1_000 if known else None,
        products=(("p1", 3.3333333333333335), ("p2", 0.1)),
        responses={"gift": ResponseEstimate(0.2, 0.051, 0.01, 0.09)} if index % 8 >= 4 else {},
        versions={"taste": "3"},
    )
    decision = decide(snapshot, ask, learned, CATALOG, policy, EXPERIMENTS)
    origin = records.Origin(f"d-{index}", None, "inbound", "EUR", None)
    header = records.header(origin, decision, snapshot, ask, learned, NAMES, records.Flags())
    return payload.encode(payload.Payload(header, state(index) if known else b""))


BLOBS = [logged(index) for index in range(200)]


def test_every_logged_decision_comes_out_the_same_from_its_inputs() -> None:
    report = replay((read(blob, finish) for blob in BLOBS), STORED)
    assert (report.total, report.equal, report.different, dict(report.failed)) == (200, 200, 0, {})
    assert report.same


def test_the_logged_decisions_are_of_every_kind() -> None:
    decisions = [read(blob, finish).decision for blob in BLOBS]
    assert {one.family for one in decisions} == {"offer", "action", "benefit", "product"}
    assert {one.mode for one in decisions} == {"exploit", "explore", "holdout"}
    assert {one.variant for one in decisions} == {None, "control", "points"}
    assert {result.value.basis for one in decisions for result in one.results} == {"prior", "experiment"}


def test_features_are_finished_from_the_state_at_the_moment_of_the_decision() -> None:
    record = read(BLOBS[7], finish)
    assert record.snapshot.features["recency_days"] == pytest.approx(4.9)
    assert record.snapshot.at == AT


def test_an_input_that_was_tampered_with_shows() -> None:
    record = read(BLOBS[44], finish)
    changed = replace(record.snapshot, features={**record.snapshot.features, "avg_basket_value": 999.0})
    report = replay([replace(record, snapshot=changed)], STORED)
    assert (report.equal, report.different, report.same) == (0, 1, False)
    assert report.differences[0].decision_id == "d-44"
    assert "results" in report.differences[0].fields or "chances" in report.differences[0].fields


def test_a_model_that_scores_otherwise_shows() -> None:
    def score(found: payload.Payload, snapshot: Snapshot, ask: Ask) -> Learned:
        assert found.header["versions"]["models"] == {"taste": "3"}
        assert snapshot.member_id == "m3"
        assert ask.family == "product"
        return Learned(products=(("p2", 2.0), ("p1", 1.0)))

    report = replay([read(BLOBS[3], finish, score)], STORED)
    assert report.differences[0].before == ("hero/1:p1", "wallet/1:p2")
    assert report.differences[0].after == ("hero/1:p2", "wallet/1:p1")


def test_a_version_that_is_gone_is_told_and_the_others_go_on() -> None:
    lost = replace(read(BLOBS[1], finish), versions={**read(BLOBS[1], finish).versions, "catalog": "gone"})
    report = replay([lost, read(BLOBS[2], finish)], STORED)
    assert dict(report.failed) == {"d-1": "KeyError: 'gone'"}
    assert (report.equal, report.same) == (1, False)


def test_static_answers_are_counted_and_not_run() -> None:
    record = read(BLOBS[1], finish)
    static = replace(record, decision=replace(record.decision, mode="fallback"), versions={})
    report = replay([static], STORED)
    assert (report.total, report.static, report.equal, report.same) == (1, 1, 0, True)


def other(**over: object) -> Policy:
    return policies.parse(merged(POLICY.model_dump(mode="json"), over))


def records_of_offers() -> list[Record]:
    return [record for record in (read(blob, finish) for blob in BLOBS) if record.decision.family == "offer"]


def test_the_same_rules_under_another_name_change_no_decision() -> None:
    report = replay(records_of_offers(), STORED, other(id="another"))
    assert (report.total, report.different) == (50, 0)
    assert report.net_before == report.net_after


def test_another_policy_says_how_many_decisions_it_would_change_and_what_they_are_worth() -> None:
    """With contacts at 100 each every candidate loses money, so that whoever was given something gets nothing."""
    dear = other(channels={name: {"contact_cost": 100.0} for name in POLICY.channels})
    chosen = [record for record in records_of_offers() if record.ask.channel is not None]
    given = [one for one in chosen if any(result.id != "do_nothing" for result in one.decision.results)]
    report = replay(chosen, STORED, dear)
    assert 0 < len(given) < len(chosen)
    assert report.different == len(given)
    assert report.net_before == pytest.approx(sum(result.value.net for one in given for result in one.decision.results))
    assert report.net_after == 0.0
    assert all(set(one.after) == {"hero/1:do_nothing", "wallet/1:do_nothing"} for one in report.differences)
