"""The bill adds up to the cent wherever it is shown: over HTTP, in the batch, in the journal, and when run again."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from experiments import journal_replay
from features import history, learned
from features.learned.effects import LATER
from features.workspace import Workspace
from serving import payload
from serving.contract import Envelope
from serving.delivery import decide_many, deliver
from serving.engine import call
from serving.house import House, open_house
from serving.journal import Journal
from tests.serving import small_programme
from training.effects import EffectConfig, fit

LINES = ("margin", "lifetime", "discount", "liability", "contact", "fatigue")
BUDGETS = "budgets:\n  - {id: cash, name: Cash, unit: money, amount: 4000, every_days: 14, families: [offer]}\n"
KINDS = ("do_nothing", "gift", "discount_percent", "points_fixed")
SEEN = ("surprise-gift", "basket-5", "points-250")


def exact(number: float) -> Decimal:
    return Decimal(repr(number))


def adds_up(value: Mapping[str, Any]) -> bool:
    """To the last digit shown, not to a rounding error."""
    net = sum((exact(value["bill"][line]) for line in LINES), Decimal(0))
    return net == exact(value["net"]) and net + exact(value["bill"]["budget_price"]) == exact(value["score"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[dict[str, Any]]]:
    """Answers one by one and in bulk, with prices of a budget and effects on what comes after the window."""
    ws = small_programme.build(tmp_path_factory.mktemp("bill") / "home")
    (ws.catalog / "budgets.yaml").write_text(BUDGETS)
    ws.prices.write_text(json.dumps({"prices": {"cash": 0.37}}))
    _effects(ws.bundles / "effects" / "1")
    small_programme.crown(ws, taste="1", churn="1", effects="1")
    ticks, dice = itertools.count(int(small_programme.ENDS.timestamp()) + 11 * 3600), random.Random(4)
    house = open_house(ws, dice.randbytes, clock=lambda: next(ticks), open_door=True, patient=True)
    house.watch.look()
    answers = list(_answers(house, ws))
    house.close()
    return ws, answers


def _answers(house: House, ws: Workspace) -> Iterator[dict[str, Any]]:
    members = sorted(history.read(ws.tables, "members", ["member_id"])["member_id"].unique().tolist())
    places = [{"id": "hero", "count": 2}, {"id": "wallet", "count": 2}]
    envelope = Envelope.model_validate({"channel": "app", "placements": places})
    at = small_programme.ENDS.timestamp() + 11 * 3600
    families: tuple[Any, ...] = ("offer", "action", "benefit")
    for family in families:
        yield from decide_many(house.engine, [*members[:60], "stranger"], family, envelope, at)

    async def one_by_one() -> list[dict[str, Any]]:
        calls = [call(family, one, envelope, at, b"") for family in families for one in members[60:80]]
        return [await deliver(house.engine, each) for each in calls]

    yield from asyncio.run(one_by_one())


def _effects(folder: Path) -> None:
    rng, names = np.random.default_rng(2), ("recency_days", "baskets_365d")
    x, arm = rng.normal(20, 10, size=(1500, 2)), rng.integers(0, 4, 1500)
    quick = EffectConfig(folds=2, trees=20, rounds=(15,), shallow_leaves=(3,), ridges=(0.1,))
    for stem, size in (("", 0.02), (LATER, 0.13)):
        outcome = np.where(arm > 0, size * x[:, 1], 0.0) + rng.normal(size=1500)
        model = fit(
            x, arm, np.full((1500, 4), 0.25), outcome, quick, KINDS, feature_names=names,
            arms=("do_nothing", *SEEN),
        )  # fmt: skip
        learned.save(model, folder, stem)
    small_programme.describe(folder, "effects", "1")


def test_every_bill_adds_up_in_answers_and_in_the_journal(served: tuple[Workspace, list[dict[str, Any]]]) -> None:
    ws, answers = served
    shown = {
        (answer["decision_id"], one["placement"], one["rank"]): orjson.loads(orjson.dumps(one["value"], default=vars))
        for answer in answers
        for one in json.loads(orjson.dumps(answer))["results"]
    }
    assert len(shown) > 300
    assert all(adds_up(value) for value in shown.values())
    assert any(value["bill"]["budget_price"] < 0 for value in shown.values())
    journal = Journal(ws.journal)
    kept: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in journal.read_decisions(limit=10_000):
        decision = payload.decode(row.payload).header["decision"]
        kept |= {(row.decision_id, one["placement"], one["rank"]): one["value"] for one in decision["results"]}
    journal.close()
    assert kept.keys() == shown.keys()
    assert all(adds_up(value) for value in kept.values())
    figures = ("net", "score", "bill", "effect", "response", "lifetime_basis")
    assert all(kept[key][name] == shown[key][name] for key in kept for name in figures)


def test_the_line_of_what_comes_later_rests_on_what_was_seen_or_is_nothing(
    served: tuple[Workspace, list[dict[str, Any]]],
) -> None:
    told = [(one["id"], one["value"]) for answer in served[1] for one in json.loads(orjson.dumps(answer))["results"]]
    seen = [value for name, value in told if name in SEEN and value["basis"] == "experiment"]
    assert seen and all(value["lifetime_basis"] == "experiment" for value in seen)
    assert all(value["lifetime_interval"][0] <= value["bill"]["lifetime"] for value in seen)
    assert any(value["bill"]["lifetime"] != 0 for value in seen)
    unseen = [value for _, value in told if value["lifetime_basis"] == "none"]
    assert unseen and all(value["bill"]["lifetime"] == 0 for value in unseen)


def test_run_again_every_bill_is_the_same(served: tuple[Workspace, list[dict[str, Any]]]) -> None:
    report = journal_replay.run(served[0])
    assert report.total >= len(served[1]) and report.same
