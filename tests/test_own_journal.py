"""The service learns what its offers do from its own journal: the planted effects lie inside their intervals."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments.simulate import Truth, respond, simulate, truth
from experiments.worlds import EFFECT_TYPES, WORLDS
from features import catalog, history
from features.member_states import state_blobs
from features.rows import Rows
from features.workspace import Workspace
from serving import events, export
from serving.contract import Envelope
from serving.delivery import decide_many
from serving.house import House, open_house
from tessera import build, clock
from tests import whole
from tests.conftest import Demonstrated
from training import response, settings
from training.response import Estimate

STRONG = WORLDS["strong"]
END = datetime(2026, 6, 1, tzinfo=UTC)
WINDOW = timedelta(days=14)
JOINT = NormalDist().inv_cdf(1 - 0.05 / 2 / 5) / NormalDist().inv_cdf(0.975)
"""Five intervals that shall hold together with 95 % are so much wider than one (Bonferroni)."""
SHOWN = Envelope.model_validate({"channel": "app"})


@dataclass(frozen=True)
class Programme:
    """Members whose truth is known, and a workspace that knows their past alone."""

    ws: Workspace
    who: Truth
    seed: int

    @property
    def rules(self) -> Any:
        return catalog.load(self.ws.catalog).programme


def begin(ws: Workspace, members: int, seed: int) -> Programme:
    """A history in which nothing was drawn by lot: all that will be known of effects comes out of the journal."""
    past = simulate(STRONG, members=members, products=40, days=240, ends_at=END, seed=seed)
    history.merge(ws.tables, {name: rows for name, rows in past.items() if name not in ("offer_events", "decisions")})
    return Programme(ws, truth(STRONG, members=members, products=40, seed=seed), seed)


def live(programme: Programme, windows: int) -> datetime:
    """Decide for everybody once in each reward window; members answer as the strong world has it.

    Returns:
        When the last window has closed.
    """
    ticks, dice = itertools.count(int(END.timestamp())), random.Random(programme.seed)
    house = open_house(programme.ws, dice.randbytes, clock=lambda: next(ticks), open_door=True, patient=True)
    for number in range(windows):
        at = END + number * WINDOW + timedelta(hours=10)
        refresh(programme, at)
        house.watch.look()
        decided = pd.DataFrame(decisions(house, programme, at)).assign(at=pd.Timestamp(at))
        report(house, respond(programme.who, decided, world=STRONG, seed=programme.seed), at + WINDOW)
    house.close()
    rows, position = export.since(programme.ws.journal, 0, programme.rules.points)
    history.merge(programme.ws.tables, rows, watermark=position)
    return END + windows * WINDOW + timedelta(days=1)


def refresh(programme: Programme, at: datetime) -> None:
    """Online states from the tables and from what the journal has beyond them."""
    fresh, _ = export.since(programme.ws.journal, 0, programme.rules.points)
    rows = Rows(programme.ws.online)
    rows.write("member_state", state_blobs(programme.ws.tables, at, programme.rules, None, fresh))
    rows.close()


def decisions(house: House, programme: Programme, at: datetime) -> Iterator[dict[str, str]]:
    types = {one.id: one.type for one in catalog.load(programme.ws.catalog).offers} | {"do_nothing": "do_nothing"}
    everybody = programme.who.member_ids.tolist()
    for answer in decide_many(house.engine, everybody, "offer", SHOWN, at.timestamp()):
        first = answer["results"][0]["id"]
        yield {
            "member_id": answer["member_id"],
            "decision_id": answer["decision_id"],
            "candidate_id": first,
            "candidate_type": types[first],
        }


def report(house: House, answers: Any, at: datetime) -> None:
    """What members did, through the checks of `/v1/events` into the journal. Tills know of no decision."""
    sent: list[dict[str, Any]] = [
        {"event_id": one.purchase_id, "type": "purchase", "member_id": one.member_id, "basket_id": one.basket_id,
         "product_id": one.product_id, "quantity": one.quantity, "unit_price": one.unit_price,
         "discount": one.discount, "occurred_at": one.occurred_at.isoformat()}
        for one in answers["purchases"].itertuples()
    ]  # fmt: skip
    sent += [
        {"event_id": one.event_id, "type": one.type, "member_id": one.member_id, "decision_id": one.decision_id,
         "id": one.offer_id, "occurred_at": one.occurred_at.isoformat()}
        for one in answers["offer_events"].itertuples()
    ]  # fmt: skip
    for first in range(0, len(sent), events.MAX_EVENTS):
        part = sent[first : first + events.MAX_EVENTS]
        found = events.sort(events.EventsRequest.model_validate({"events": part}).events, part, at, "EUR")
        assert not found.rejected
        house.journal.append_events(found.rows)


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
    programme = begin(ws, members=2000, seed=7)
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
        programme = begin(ws, members=1500, seed=seed)
        closed = live(programme, windows=3)
        inside += [_covers(programme, one) for one in _estimates(ws, closed)]
    assert len(inside) >= 48
    assert np.mean(inside) >= 0.88


def _estimates(ws: Workspace, at: datetime) -> list[Estimate]:
    config = settings.read(ws.training).response
    return [one for one in response.estimate(ws.tables, at, config) if min(one.n, one.nothing) >= config.enough]


def _covers(programme: Programme, one: Estimate) -> bool:
    return one.low < planted(programme, one.type) < one.high
