from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from experiments.programme.effects import true_effect
from experiments.programme.responses import respond
from experiments.simulate import planted, simulate, truth
from experiments.worlds import WORLDS
from features.entities import Candidate, Economics
from serving import answer, bundles, value
from serving.portrait import portrait
from serving.snapshot import Learned, ResponseEstimate
from tests.serving.deciding import CATALOG, POLICY, ask
from tests.serving.deciding import member as known_member
from training import response
from training.response import ResponseConfig

END = datetime(2026, 6, 1, tzinfo=UTC)
CONFIG = ResponseConfig(window_days=28, enough=50)


def stamp(value: object) -> pd.Series:
    return pd.to_datetime(pd.Series(value), utc=True).astype("datetime64[us, UTC]")


def written(tables: Path, **frames: pd.DataFrame) -> Path:
    tables.mkdir(exist_ok=True)
    for name, frame in frames.items():
        frame.to_parquet(tables / f"{name}.parquet", index=False)
    return tables


def decision(
    number: int, member: str, at: datetime, chosen: str, propensities: Mapping[str, float], **other: object
) -> dict[str, object]:
    row: dict[str, object] = {
        "decision_id": f"d{number}",
        "member_id": member,
        "family": "offer",
        "placement": "home",
        "rank": 1,
        "candidate_id": chosen,
        "candidate_type": {"ten": "discount_percent", "five": "discount_percent", "hello": "gift"}.get(chosen, chosen),
        "probability": propensities[chosen],
        "propensities": json.dumps(propensities),
        "learnable": True,
        "occurred_at": at,
        "known_at": at,
    }
    return row | other


def purchase(member: str, at: datetime, quantity: float = 1.0) -> dict[str, object]:
    return {"member_id": member, "quantity": quantity, "occurred_at": at, "known_at": at}


def frame(rows: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    made = pd.DataFrame(rows)
    for column in ("occurred_at", "known_at"):
        made[column] = stamp(made[column])
    return made


def test_weights_undo_that_keen_members_were_treated_more_often(tmp_path: Path) -> None:
    """Two keen members buy twice treated, once untreated; two others once and never. Worked out by hand: +1 basket."""
    at = END - timedelta(days=60)
    keen, slow = {"ten": 0.75, "do_nothing": 0.25}, {"ten": 0.25, "do_nothing": 0.75}
    choices = [("k", keen, "ten", 2)] * 3 + [("k", keen, "do_nothing", 1)]
    choices += [("s", slow, "ten", 1)] + [("s", slow, "do_nothing", 0)] * 3
    decisions, purchases = [], []
    for number, (kind, chances, chosen, baskets) in enumerate(choices):
        member = f"{kind}{number}"
        decisions.append(decision(number, member, at, chosen, chances))
        purchases += [purchase(member, at + timedelta(days=1 + i)) for i in range(baskets)]
    tables = written(tmp_path / "tables", decisions=frame(decisions), purchases=frame(purchases))
    (found,) = response.estimate(tables, END, CONFIG)
    assert (found.type, found.n, found.nothing, found.members) == ("discount_percent", 4, 4, 8)
    assert found.effect == pytest.approx(1.0)
    naive = (3 * 2 + 1) / 4 - (1 + 0) / 4
    assert naive == pytest.approx(1.5)
    assert found.low < 1.0 < found.high


def test_planted_effects_lie_inside_their_intervals(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    planted = {"discount_percent": 0.30, "gift": 0.0}
    decisions, purchases, events = [], [], []
    for number in range(4000):
        member, keen = f"m{number % 2000}", bool(rng.random() < 0.5)
        at = END - timedelta(days=70 if number < 2000 else 35)
        chances = (
            {"ten": 0.4, "five": 0.2, "hello": 0.2, "do_nothing": 0.2}
            if keen
            else {"ten": 0.1, "five": 0.1, "hello": 0.3, "do_nothing": 0.5}
        )
        chosen = str(rng.choice(list(chances), p=list(chances.values())))
        row = decision(number, member, at, chosen, chances)
        decisions.append(row)
        mean = (0.9 if keen else 0.2) + planted.get(str(row["candidate_type"]), 0.0)
        purchases += [
            purchase(member, at + timedelta(days=float(rng.uniform(0.1, 27)))) for _ in range(rng.poisson(mean))
        ]
        if chosen == "ten" and rng.random() < 0.5:
            events.append({"member_id": member, "offer_id": "ten", "type": "redeem", "at": at + timedelta(days=2)})
    answered = pd.DataFrame(events).rename(columns={"at": "occurred_at"})
    answered = frame(
        answered.assign(
            known_at=answered["occurred_at"],
            event_id=[f"e{i}" for i in range(len(answered))],
            offer_type="discount_percent",
            decision_id=None,
            probability=np.nan,
        ).to_dict("records")
    )
    tables = written(tmp_path / "tables", decisions=frame(decisions), purchases=frame(purchases), offer_events=answered)
    found = {one.type: one for one in response.estimate(tables, END, CONFIG)}
    for kind, effect in planted.items():
        assert found[kind].low < effect < found[kind].high, found[kind]
        assert found[kind].high - found[kind].low < 0.35
    assert found["discount_percent"].low > 0
    assert 0.2 < found["discount_percent"].response < 0.4
    assert found["gift"].response == 0.0


@pytest.mark.parametrize("world", ["none", "strong"])
def test_the_simulators_effects_are_recovered_from_its_randomised_stretch(world: str, tmp_path: Path) -> None:
    past: Mapping[str, Any] = {"members": 1000, "products": 40, "days": 300, "ends_at": END, "seed": 6}
    tables = written(tmp_path / "tables", **simulate(WORLDS[world], **past))
    truths = planted(WORLDS[world], **past).set_index("type")["baskets"].astype(float)
    found = response.estimate(tables, END + timedelta(days=30), ResponseConfig(window_days=14))
    assert len(found) == 5 and min(one.n for one in found) > 500
    for one in found:
        assert one.low < truths[one.type] < one.high, (one, truths[one.type])
    certain = [one.type for one in found if one.low > 0]
    assert len(certain) >= 2 if world == "strong" else not certain


def test_effects_of_our_own_decisions_are_recovered_from_the_strong_world(tmp_path: Path) -> None:
    """Decisions drawn by probabilities that hang on the member; answers by the simulator; the journal's own tables."""
    world = WORLDS["strong"]
    who = truth(world, members=2000, products=40, seed=9)
    rng = np.random.default_rng(9)
    keen = {"ten": 0.6, "hello": 0.2, "do_nothing": 0.2}
    slow = {"ten": 0.2, "hello": 0.2, "do_nothing": 0.6}
    rows = []
    for number, member in enumerate(np.repeat(who.member_ids, 2)):
        chances = keen if who.gap_days[number // 2] < 20 else slow
        chosen = str(rng.choice(list(chances), p=list(chances.values())))
        rows.append(decision(number, str(member), END - timedelta(days=70 - 35 * (number % 2)), chosen, chances))
    decided = frame(rows)
    answers = respond(who, decided.assign(at=decided["occurred_at"]), world=world, seed=9)
    tables = written(tmp_path / "tables", decisions=decided, **answers)
    found = response.estimate(tables, END, ResponseConfig(window_days=14))
    assert [one.type for one in found] == ["discount_percent", "gift"]
    for one in found:
        planted_here = true_effect(who, one.type, world=world)
        assert one.low < planted_here.baskets < one.high, (one, planted_here)
        assert one.response == pytest.approx(planted_here.response, abs=0.05)
    assert any(one.low > 0 for one in found)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(300):
        member = np.repeat(np.arange(150), 3)
        keen = np.repeat(rng.random(150) < 0.5, 3)
        p = np.where(keen, 0.7, 0.3)
        chosen = (rng.random(450) < p).astype(np.int64)
        habit = np.repeat(rng.gamma(2.0, 0.3, 150), 3) + 0.5 * keen
        baskets, before = (rng.poisson(mean).astype(float) for mean in (habit + 0.25 * chosen, 4 * habit))
        chance = np.column_stack([1 - p, p])
        units = response.Units(member, chosen, chance, np.zeros(450), baskets, before, ("do_nothing", "gift"))
        (one,) = response.effects(units)
        covered += one.low < 0.25 < one.high
    assert 0.91 <= covered / 300 <= 0.985


def test_what_comes_later_inside_the_window_does_not_count_twice(tmp_path: Path) -> None:
    at = END - timedelta(days=90)
    half = {"ten": 0.5, "do_nothing": 0.5}
    decisions = [
        decision(1, "a", at, "ten", half),
        decision(2, "a", at + timedelta(days=27), "do_nothing", half),
        decision(3, "a", at + timedelta(days=28), "ten", half),
        decision(4, "b", at, "do_nothing", half),
        decision(5, "b", END - timedelta(days=27), "ten", half),
        decision(6, "c", at, "ten", half, learnable=False),
        decision(7, "d", at, "ten", half, rank=2),
        decision(8, "e", at, "ten", half, family="product"),
    ]
    tables = written(tmp_path / "tables", decisions=frame(decisions), purchases=frame([purchase("a", at)]))
    (found,) = response.estimate(tables, END, CONFIG)
    assert (found.n, found.nothing) == (2, 1)


def test_who_could_not_have_got_it_is_not_compared(tmp_path: Path) -> None:
    at = END - timedelta(days=60)
    decisions = [
        decision(1, "a", at, "ten", {"ten": 0.5, "do_nothing": 0.5}),
        decision(2, "b", at, "do_nothing", {"ten": 0.5, "do_nothing": 0.5}),
        decision(3, "c", at, "do_nothing", {"do_nothing": 1.0}),
        decision(4, "d", at, "ten", {"ten": 1.0}),
    ]
    purchases = [purchase(member, at + timedelta(days=1)) for member in "acd"]
    tables = written(tmp_path / "tables", decisions=frame(decisions), purchases=frame(purchases))
    (found,) = response.estimate(tables, END, CONFIG)
    assert (found.n, found.nothing, found.effect) == (1, 1, 1.0)


def test_a_stretch_drawn_by_lot_before_the_journal_counts_too(tmp_path: Path) -> None:
    at = END - timedelta(days=60)
    rows = [
        {"event_id": f"e{i}", "member_id": f"m{i}", "offer_id": offer, "offer_type": kind, "type": "sent",
         "decision_id": None, "probability": p, "occurred_at": at, "known_at": at}
        for i, (offer, kind, p) in enumerate(
            [("ten", "discount_percent", 0.5), ("do_nothing", "do_nothing", 0.5), ("x", "gift", None)]
        )
    ]  # fmt: skip
    bought = [purchase("m0", at + timedelta(days=3)), purchase("m1", at + timedelta(days=3), quantity=-1.0)]
    tables = written(tmp_path / "tables", offer_events=frame(rows), purchases=frame(bought))
    (found,) = response.estimate(tables, END, CONFIG)
    assert (found.type, found.n, found.nothing, found.effect) == ("discount_percent", 1, 1, 1.0)


def test_habits_before_the_decision_narrow_the_interval_and_change_no_truth() -> None:
    rng = np.random.default_rng(12)
    chosen = rng.integers(0, 2, 3000)
    habit = rng.gamma(1.0, 1.0, 3000)
    baskets, before = (rng.poisson(mean).astype(float) for mean in (habit + 0.2 * chosen, 4 * habit))
    half = np.full((3000, 2), 0.5)
    blind, knowing = (
        response.effects(response.Units(np.arange(3000), chosen, half, baskets, baskets, each, ("do_nothing", "gift")))[
            0
        ]
        for each in (np.zeros(3000), before)
    )
    assert knowing.low < 0.2 < knowing.high
    assert knowing.high - knowing.low < 0.85 * (blind.high - blind.low)
    assert knowing.effect == pytest.approx(blind.effect, abs=0.1)


def test_a_history_without_lots_says_nothing(tmp_path: Path) -> None:
    tables = written(tmp_path / "tables", purchases=frame([purchase("a", END)]))
    assert response.estimate(tables, END, CONFIG) == ()


def test_offers_drawn_without_doing_nothing_say_who_answers_and_serving_takes_the_policys_share(
    tmp_path: Path,
) -> None:
    """60 got ten or hello by equal lots, half of either answered; nobody got nothing, so no effect can be told."""
    at, chances = END - timedelta(days=60), {"ten": 0.5, "hello": 0.5}
    decisions = [decision(n, f"m{n}", at, "ten" if n % 2 else "hello", chances) for n in range(120)]
    answers = [
        {"member_id": f"m{n}", "offer_id": "ten" if n % 2 else "hello", "decision_id": f"d{n}", "type": "accept",
         "offer_type": "", "probability": 0.5, "event_id": f"e{n}",
         "occurred_at": at + timedelta(days=1), "known_at": at + timedelta(days=1)}
        for n in range(60)
    ]  # fmt: skip
    bought = [purchase(f"m{n}", at + timedelta(days=2)) for n in range(60)]
    tables = written(
        tmp_path / "tables", decisions=frame(decisions), offer_events=frame(answers), purchases=frame(bought)
    )
    kept = response.exported(response.estimate(tables, END, CONFIG), CONFIG)
    assert kept == {kind: {"response": 0.5, "n": 60} for kind in ("discount_percent", "gift")}
    response.save(kept, tmp_path)
    served = bundles._responses(tmp_path)
    assert served["gift"] == ResponseEstimate(0.5, None, None, None)
    gift = Candidate("hello", "offer", "gift", "Hello", economics=Economics(effect_share=0.4, cost=1.0))
    learned = Learned(responses=served)
    who = portrait(known_member(), ask(), learned, CATALOG.programme, POLICY)
    worth = value.worth(value.terms(gift, POLICY), who, learned, POLICY, CATALOG.programme, None, 0)
    told = answer._value(value.written(worth), "EUR")
    assert (told["basis"], told["assumed"], told["response"], told["effect_interval"]) == ("response", True, 0.5, None)
    assert told["effect"] == pytest.approx(0.5 * 0.4 * who.effect_factor)


def test_what_rests_on_too_little_is_not_exported(tmp_path: Path) -> None:
    thin = response.Estimate("gift", 0.1, 0.2, 0.1, 0.3, n=49, nothing=500, members=100)
    thick = response.Estimate("win_back", 0.1, 0.2, 0.1, 0.3, n=50, nothing=50, members=100)
    response.save(response.exported((thin, thick), CONFIG), tmp_path)
    assert json.loads((tmp_path / "response.json").read_text()) == {
        "win_back": {"response": 0.1, "effect": 0.2, "effect_interval": [0.1, 0.3], "n": 50}
    }


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="window_day"):
        TypeAdapter(ResponseConfig).validate_python({"window_day": 7})
