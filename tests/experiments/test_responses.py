from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from experiments.simulate import Truth, respond, true_effect, truth
from experiments.worlds import WORLDS
from features.tables import TABLES
from tests.experiments.readings import baskets_within, effects

TYPES = ("do_nothing", "discount_percent", "points_fixed", "courtesy_call", "event_invitation", "unheard_of")
ROUNDS = 5


@functools.cache
def people(world: str) -> Truth:
    return truth(WORLDS[world], members=4000, products=60, seed=2)


@functools.cache
def drawn(days: int = 14) -> pd.DataFrame:
    """Every member gets one of six types, by fair dice, in each of five windows that do not overlap."""
    members = people("none").member_ids
    n = len(members) * ROUNDS
    kind = np.array(TYPES, dtype=object)[np.random.default_rng(4).integers(len(TYPES), size=n)]
    at = pd.Timestamp("2026-02-01T10:17:03", tz="UTC") + pd.to_timedelta(
        days * np.repeat(range(ROUNDS), len(members)), "D"
    )
    return pd.DataFrame(
        {
            "member_id": np.tile(members, ROUNDS),
            "decision_id": [f"d{i}" for i in range(n)],
            "candidate_id": kind,
            "candidate_type": kind,
            "at": at.as_unit("us"),
            "discount": np.where(kind == "discount_percent", 0.1, 0.0),
        }
    )


@pytest.mark.parametrize("world", ["none", "weak", "strong"])
@pytest.mark.parametrize("days", [14, 28])
def test_planted_effects_are_found_in_the_answers(world: str, days: int) -> None:
    decisions = drawn(days)
    answers = respond(people(world), decisions, world=WORLDS[world], seed=1, window_days=days)
    logged = decisions.rename(columns={"at": "occurred_at"}).assign(probability=1 / len(TYPES))
    counted = baskets_within(logged, answers["purchases"], days)
    true = {name: true_effect(people(world), name, world=WORLDS[world], window_days=days) for name in TYPES}
    bought = effects(logged, counted.clip(upper=1.0))
    assert len(bought) == len(TYPES) - 1
    for name, (effect, error) in bought.items():
        assert abs(effect - true[name].purchase) < 3 * error, name
        assert error < 0.013
    for name, (effect, error) in effects(logged, counted).items():
        assert abs(effect - true[name].baskets) < 3 * error, name
    if (world, days) == ("strong", 14):
        assert bought["discount_percent"][0] > 5 * bought["discount_percent"][1]


def test_the_margin_that_decisions_cause_is_the_stated_one() -> None:
    who, decisions, world = people("strong"), drawn(), WORLDS["strong"]
    margins = pd.Series(who.shop.margin, index=who.shop.product_ids)
    totals: dict[str, float] = {}
    for name, frame in (("done", decisions), ("not done", decisions.assign(candidate_type="do_nothing"))):
        bought = respond(who, frame, world=world, seed=1)["purchases"]
        totals[name] = float(margins[bought["product_id"]].sum())
    stated = sum(true_effect(who, kind, world=world).margin for kind in decisions["candidate_type"])
    assert (totals["done"] - totals["not done"]) / stated == pytest.approx(1.0, abs=0.12)


def test_acceptances_are_as_frequent_as_stated() -> None:
    who, decisions, world = people("strong"), drawn(), WORLDS["strong"]
    events = respond(who, decisions, world=world, seed=1)["offer_events"]
    accepted = events[events["type"] == "accept"].groupby("offer_type").size()
    for kind, count in decisions["candidate_type"].value_counts().items():
        stated = true_effect(who, str(kind), world=world).response
        error = np.sqrt(stated * (1 - stated) / count)
        assert abs(accepted.get(kind, 0) / count - stated) <= 3.5 * error, kind


def test_answers_hang_neither_on_the_order_nor_on_the_number_of_calls() -> None:
    who, decisions, world = people("strong"), drawn().iloc[:6000], WORLDS["strong"]
    together = respond(who, decisions, world=world, seed=1)
    shuffled = respond(who, decisions.sample(frac=1.0, random_state=3), world=world, seed=1)
    halves = [respond(who, part, world=world, seed=1) for part in (decisions.iloc[:2500], decisions.iloc[2500:])]
    other = respond(who, decisions, world=world, seed=2)
    for name, frame in together.items():
        assert _rows(shuffled[name], name) == _rows(frame, name)
        split = pd.concat([half[name] for half in halves]).drop_duplicates(list(TABLES[name].key))
        assert _rows(split, name) == _rows(frame, name)
        assert _rows(other[name], name) != _rows(frame, name)


def _rows(frame: pd.DataFrame, name: str) -> bytes:
    ordered = frame.sort_values(list(TABLES[name].key)).reset_index(drop=True)
    return pd.util.hash_pandas_object(ordered).to_numpy().tobytes()


def test_answers_are_typed_and_lie_inside_the_window() -> None:
    answers = respond(people("strong"), drawn(), world=WORLDS["strong"], seed=1)
    for name, frame in answers.items():
        assert list(frame.columns) == [column.name for column in TABLES[name].columns]
        assert not frame.duplicated(list(TABLES[name].key)).any()
        for column in TABLES[name].columns:
            assert not column.required or frame[column.name].notna().all(), column.name
    events = answers["offer_events"].merge(drawn()[["decision_id", "at"]], on="decision_id")
    waited = events["occurred_at"] - events["at"]
    assert (waited > pd.Timedelta(0)).all()
    assert (waited <= pd.Timedelta(days=14, seconds=1)).all()


def test_a_discount_is_taken_off_the_basket_that_uses_it() -> None:
    answers = respond(people("strong"), drawn(), world=WORLDS["strong"], seed=1)
    used = answers["purchases"].query("offer_id == 'discount_percent'")
    np.testing.assert_allclose(used["discount"], 0.1 * used["unit_price"], atol=0.006)
    assert set(answers["purchases"]["offer_id"].dropna()) == {"discount_percent", "points_fixed"}
    redeemed = answers["offer_events"].query("type == 'redeem'")
    assert redeemed["value"].sum() == pytest.approx(answers["purchases"]["discount"].sum())
    assert len(redeemed) == answers["purchases"].dropna(subset="offer_id")["basket_id"].nunique()


def test_no_decision_brings_no_rows_and_an_unheard_of_type_no_effect() -> None:
    nothing = respond(people("weak"), drawn().iloc[:0], world=WORLDS["weak"], seed=1)
    assert {name: len(frame) for name, frame in nothing.items()} == {
        "purchases": 0,
        "offer_events": 0,
        "engagements": 0,
    }
    assert true_effect(people("strong"), "unheard_of", world=WORLDS["strong"]).purchase == 0.0


def test_decisions_about_strangers_and_frames_without_a_column_are_refused() -> None:
    decisions = drawn().iloc[:3]
    with pytest.raises(ValueError, match="no column 'at'"):
        respond(people("weak"), decisions.drop(columns="at"), world=WORLDS["weak"], seed=1)
    with pytest.raises(ValueError, match="'nobody' is not in the truth"):
        respond(people("weak"), decisions.assign(member_id="nobody"), world=WORLDS["weak"], seed=1)
    with pytest.raises(ValueError, match="window_days=7"):
        true_effect(people("weak"), "gift", world=WORLDS["weak"], window_days=7)
