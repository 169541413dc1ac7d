"""The service learns what its offers do from its own journal: the planted effects lie inside their intervals."""

from __future__ import annotations

import json
import random
import shutil
from datetime import datetime
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import yaml

from experiments.own_journal import Programme, begin, live
from experiments.worlds import EFFECT_TYPES, WORLDS
from features import history
from features.workspace import Workspace
from serving.contract import Envelope
from serving.delivery import decide_many
from serving.house import open_house
from tessera import build, clock
from tests import whole
from tests.conftest import Demonstrated
from training import response, settings
from training.response import Estimate

STRONG = WORLDS["strong"]
JOINT = NormalDist().inv_cdf(1 - 0.05 / 2 / 5) / NormalDist().inv_cdf(0.975)
"""Five intervals that shall hold together with 95 % are so much wider than one (Bonferroni)."""
SHOWN = Envelope.model_validate({"channel": "app"})


def planted(programme: Programme, kind: str) -> float:
    """The mean effect on baskets over the decisions that an estimate compares: those that could have gone both ways.

    The equation of docs/simulator.md: an extra basket with the chance `lift`, none of those planned with `drop`.
    """
    who, column = programme.who, EFFECT_TYPES.index(kind)
    baskets = who.lift[:, column] - who.drop[:, column] * STRONG.window_days / who.gap_days
    log = history.read(programme.ws.tables, "decisions").query("rank == 1 and learnable")
    types = dict(zip(log["candidate_id"], log["candidate_type"], strict=True))
    effect_of = dict(zip(who.member_ids, baskets, strict=True))
    chances = [json.loads(text) for text in log["propensities"]]
    both = [
        sum(p for one, p in each.items() if types.get(one) == kind) >= 0.005 and each.get("do_nothing", 0.0) >= 0.005
        for each in chances
    ]
    return float(np.mean([effect_of[member] for member in log["member_id"][both]]))


def test_a_response_model_retrained_on_the_journal_recovers_the_planted_effects(
    demonstrated: Demonstrated, tmp_path: Path
) -> None:
    """One history, from the journal to the champion; how often intervals hold is counted over histories below."""
    ws = whole.copy(demonstrated.home, tmp_path / "home")
    for old in (*ws.root.glob("journal.db*"), *ws.root.glob("online.db*"), ws.champions):
        old.unlink()
    shutil.rmtree(ws.tables)
    quick = yaml.safe_load(ws.training.read_text())
    ws.training.write_text(yaml.safe_dump({**quick, "response": {"window_days": 14, "enough": 200}}))
    programme = begin(ws, 2000, 7, STRONG)
    closed = live(programme, windows=4)
    clock.set_to(ws, closed)
    build.train(ws, ["response"])
    assert build.promote(ws, ["response"], None, rollback=False) == 0
    version = json.loads(ws.champions.read_text())["response"]
    learned = json.loads((ws.bundles / "response" / version / "response.json").read_text())
    assert len(learned) >= 4
    for kind, one in learned.items():
        low, high = one["effect_interval"]
        assert abs(one["effect"] - planted(programme, kind)) < JOINT * (high - low) / 2, (kind, one)
        assert high - low < 0.5
    assert sum(one["effect_interval"][0] > 0 for one in learned.values()) >= 2
    house = open_house(ws, random.Random(1).randbytes, open_door=True, patient=True)
    everybody = programme.who.member_ids[:60].tolist()
    answers = list(decide_many(house.engine, everybody, "offer", SHOWN, closed.timestamp()))
    house.close()
    given = [one for answer in answers for one in answer["results"] if one["value"]["basis"] == "experiment"]
    assert given
    assert all(one["value"]["effect_interval"] is not None and not one["value"]["assumed"] for one in given)


@pytest.mark.slow
def test_intervals_from_the_journal_cover_the_truth_as_often_as_they_say(tmp_path: Path) -> None:
    inside: list[bool] = []
    for seed in range(20, 32):
        ws = Workspace(tmp_path / str(seed), whole.ROOT / "configs")
        programme = begin(ws, 1500, seed, STRONG)
        closed = live(programme, windows=3)
        inside += [_covers(programme, one) for one in _estimates(ws, closed)]
    assert len(inside) >= 48
    assert np.mean(inside) >= 0.88


def _estimates(ws: Workspace, at: datetime) -> list[Estimate]:
    config = settings.read(ws.training).response
    return [one for one in response.estimate(ws.tables, at, config) if min(one.n, one.nothing) >= config.enough]


def _covers(programme: Programme, one: Estimate) -> bool:
    return one.low < planted(programme, one.type) < one.high
