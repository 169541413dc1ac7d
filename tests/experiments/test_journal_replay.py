"""A journal of everything that can happen to a decision: all of it runs again to itself, and chance keeps its limit."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from experiments import exploration_cost, journal_replay
from experiments.replay import Record
from experiments.replay import replay as rerun
from features import behavior, catalog, history, learned
from features.identity import LINKS
from features.workspace import Workspace
from serving import payload, policy, rulebook
from serving.contract import Envelope
from serving.delivery import decide_many
from serving.house import House, open_house
from serving.journal import Journal
from tests.serving import enumerated, small_programme
from training.effects import EffectConfig, fit

DAY = 86_400.0
BUDGETS = """
budgets:
  - {id: stock, name: Gifts, unit: units, amount: 8, types: [gift], families: [offer]}
  - {id: cash, name: Cash, unit: money, amount: 400, every_days: 14, families: [offer]}
  - {id: points, name: Points, unit: points, amount: 30000, every_days: 28}
  - {id: mails, name: E-mails, unit: messages, amount: 150, every_days: 7, channels: [email]}
"""
LIMIT = {"allowance": 0.6, "gamma": 4, "floor": 0.3, "share": 0.05, "least": 0.01}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Seven days: prices and a policy change, gifts run out, cards merge, a candidate pauses, effects are promoted."""
    ws = small_programme.build(tmp_path_factory.mktemp("lived") / "home")
    (ws.catalog / "budgets.yaml").write_text(BUDGETS)
    _write_policy(ws, LIMIT)
    ticks, dice = itertools.count(int(small_programme.ENDS.timestamp()) + 11 * 3600), random.Random(4)
    members = sorted(history.read(ws.tables, "members", ["member_id"])["member_id"].unique().tolist())[:90]
    house = open_house(ws, dice.randbytes, clock=lambda: next(ticks), open_door=True, patient=True)
    house.watch.look()
    start = small_programme.ENDS.timestamp() + 11 * 3600
    for day in range(7):
        if day == 1:
            ws.prices.write_text(json.dumps({"prices": {"cash": 0.3, "points": 0.001, "mails": 0.02}}))
        if day == 2:
            rulebook.switch(ws.controls, "double-points", paused=True)
        if day == 3:
            _crown_effects(ws)
        if day == 4:
            (ws.tables / LINKS).write_text(json.dumps({"cards": {members[1]: members[0], members[3]: members[2]}}))
        if day == 5:
            ws.prices.write_text(json.dumps({"prices": {"cash": 1.1}}))
            _write_policy(ws, {**LIMIT, "share": 0.02, "least": 0.0})
        house.watch.look()
        for family, channel in (("offer", "app"), ("action", "email"), ("action", "app"), ("benefit", "app")):
            places = [{"id": "hero", "count": 1 + day % 2}, {"id": "wallet", "count": 1}]
            _ask(house, members + [f"stranger{day}-{n}" for n in range(15)], family, channel, places, start + day * DAY)
        _ask(house, members[:30], "product", "app", [{"id": "shelf", "count": 4}], start + day * DAY)
    house.close()
    return ws


def _ask(house: House, members: list[str], family: Any, channel: str, places: list[Any], at: float) -> None:
    envelope = Envelope.model_validate({"channel": channel, "placements": places})
    for first in range(0, len(members), 40):  # campaigns one after the other: stocks are seen to be empty in between
        for _ in decide_many(house.engine, members[first : first + 40], family, envelope, at):
            pass
        house.watch.look()


def _write_policy(ws: Workspace, limit: Mapping[str, float]) -> None:
    said = orjson.loads(policy.load(ws.policy).text)
    ws.policy.write_bytes(orjson.dumps({**said, "exploration": limit}))


def _crown_effects(ws: Workspace) -> None:
    """Effects of three offers that hang on how much a member buys."""
    rng, names = np.random.default_rng(2), ("recency_days", "baskets_365d")
    assert set(names) <= set(behavior.names(catalog.load(ws.catalog).programme))
    x, arm = rng.normal(20, 10, size=(1500, 2)), rng.integers(0, 4, 1500)
    outcome = np.where(arm > 0, 0.02 * x[:, 1], 0.0) + rng.normal(size=1500)
    model = fit(
        x, arm, np.full((1500, 4), 0.25), outcome,
        EffectConfig(folds=2, trees=20, rounds=(15,), shallow_leaves=(3,), ridges=(0.1,)),
        ("do_nothing", "gift", "discount_percent", "points_fixed"),
        feature_names=names, arms=("do_nothing", "surprise-gift", "basket-5", "points-250"),
        responded=(rng.random(1500) < 0.3).astype(float),
    )  # fmt: skip
    folder = ws.bundles / "effects" / "1"
    learned.save(model, folder)
    small_programme.describe(folder, "effects", "1")
    small_programme.crown(ws, taste="1", churn="1", effects="1")


def headers(ws: Workspace) -> Iterator[tuple[Any, Any]]:
    journal, after = Journal(ws.journal), 0
    while rows := journal.read_decisions(after, 1_000):
        yield from ((row, payload.decode(row.payload).header) for row in rows)
        after = rows[-1].seq
    journal.close()


def test_every_decision_of_an_eventful_journal_runs_again_to_itself(lived: Workspace) -> None:
    report = journal_replay.run(lived)
    assert dict(report.failed) == {}
    assert [(one.decision_id, one.fields) for one in report.differences] == []
    assert report.equal + report.static == report.total > 2_500
    assert report.static < report.total / 1_000  # what was refused again and again


def test_the_journal_is_as_eventful_as_it_should_be(lived: Workspace) -> None:
    seen: Counter[str] = Counter()
    for row, header in headers(lived):
        snapshot, decision = header["snapshot"], header["decision"]
        seen.update(f"dropped {one['code']}" for one in decision["suppressed"])
        seen["refused"] += bool(snapshot["refused"])
        seen["spent"] += bool(snapshot["spent_out"])
        seen["effects"] += bool(header["learned"]["effects"])
        seen["holdout"] += decision["mode"] == "holdout"
        seen["variant"] += decision["variant"] is not None
        seen["priced"] += any(one["value"]["bill"]["budget_price"] < 0 for one in decision["results"])
        seen["later"] += not row.learnable
        seen[f"policy {decision['policy_version']}"] += 1
        seen[f"prices {sorted(snapshot['prices'])}"] += 1
    wanted = ["refused", "spent", "effects", "holdout", "variant", "priced", "later", "dropped PAUSED"]
    wanted += ["dropped OUT_OF_STOCK", "dropped RESERVATION_REFUSED"]
    assert [one for one in wanted if not seen[one]] == []
    assert sum(one.startswith("policy") for one in seen) == 2
    assert sum(one.startswith("prices") for one in seen) == 3


def test_chance_cost_no_more_than_each_policy_allows_and_the_report_says_what(lived: Workspace) -> None:
    with journal_replay.past(lived) as (records, versions):
        found = exploration_cost.costs(records, versions)
    assert {one.family for one in found} == {"offer", "action", "benefit"}
    exploring = [one for one in found if one.family != "benefit" and one.variant is None]
    assert len({one.policy_version for one in exploring}) == 2
    for one in found:
        assert one.over == 0
        if one.family == "benefit":
            assert one.explored == 0 and one.per_thousand.value == 0.0
    for one in exploring:
        assert one.exploration is not None and one.exploration.share is not None
        assert one.explored > 5
        if not one.exploration.least:
            assert 0.0 < one.share.value <= one.exploration.share
        assert one.share.low < one.share.value < one.share.high
        assert 0.0 < one.floor.value < 0.5
    text = "\n".join(exploration_cost.lines(found, "EUR"))
    assert "allowed are 2.00% and 0 EUR a rank, together" in text
    assert all(one.per_thousand.value <= one.allowed + 1e-9 for one in found)


def test_the_draws_of_the_journal_come_as_often_as_they_were_logged(lived: Workspace) -> None:
    """Given the higher ranks, and of each member in a reward window the first decision only: they share the floor."""
    rows: list[tuple[str, Mapping[str, float]]] = []
    members: set[str] = set()
    for row, header in headers(lived):
        if header["decision"]["family"] not in ("offer", "action") or row.member_id in members:
            continue
        members.add(row.member_id)
        for one, chances in zip(header["decision"]["results"], header["decision"]["chances"], strict=True):
            rows.append((one["id"], chances["probabilities"]))
    statistic, freedom = enumerated.drawn_as_logged(rows)
    assert freedom > 3
    assert enumerated.p_value([(statistic, freedom)]) > 0.001


def test_an_input_that_was_tampered_with_is_found(lived: Workspace) -> None:
    """The other way round: with a price in one payload changed, one decision differs."""
    with journal_replay.past(lived) as (records, versions):
        first = next(one for one in records if isinstance(one, Record) and _was_priced(one))
        wrong = replace(first, snapshot=replace(first.snapshot, prices={"cash": 9.0}))
        assert rerun([first], versions).equal == 1
        assert rerun([wrong], versions).different == 1


def _was_priced(one: Record) -> bool:
    return one.ask.family == "offer" and any(result.value.bill.budget_price for result in one.decision.results)
