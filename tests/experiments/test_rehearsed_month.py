"""A month of visits and answers: told day by day as told at once, and accounts that add up under the truth."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from experiments.rehearsal import assumed, comparing, money
from experiments.rehearsal.money import LINES, Tariff
from experiments.rehearsal.month import Month
from experiments.simulate import simulate, true_effect, truth
from experiments.worlds import WORLDS, World
from features import catalog
from features.entities import Candidate
from tests.tessera.commands import CONFIGS

STARTS = datetime(2026, 7, 1, tzinfo=UTC)
OFFERS: dict[str, Candidate] = {one.id: one for one in catalog.load(CONFIGS / "catalog").offers}
GIVEN = ("basket-5", "five-off", "double-points", "points-250", "surprise-gift")


def a_month(world: World, members: int = 150, days: int = 6, seed: int = 5) -> Month:
    who = truth(world, members=members, products=60, seed=seed)
    return Month(who, world, seed, STARTS, days, np.arange(members) % 5 > 0)


def tariff(of: Month) -> Tariff:
    costs = {"app": 0.0, "email": 0.002}
    return Tariff(OFFERS, costs, 0.0075, np.ones(len(of.truth.member_ids)))


def played(of: Month, share: float = 1.0) -> pd.DataFrame:
    """Give something at a share of the visits; all that was told day by day, purchases first."""
    rng, told = np.random.default_rng(3), []
    for day in range(of.settled_days):
        for number, visit in enumerate(of.visits(day) if day < of.days else []):
            name = GIVEN[int(rng.integers(len(GIVEN)))] if rng.random() < share else "do_nothing"
            one = OFFERS.get(name)
            about = {"id": name, "type": one.type if one else name, "discount": one.economics.discount if one else 0.0}
            of.decided(visit, of.at(day), f"d-{day}-{number}", about)
        told.append(of.told(day)["purchases"])
        of.passes(day)
    return pd.concat(told, ignore_index=True)


def test_what_is_told_day_by_day_is_what_is_told_at_the_end() -> None:
    of = a_month(WORLDS["strong"])
    daily = played(of).set_index("purchase_id").sort_index()
    whole = of.all_told()["purchases"].set_index("purchase_id").sort_index()
    assert daily.index.is_unique
    assert len(whole) > 100
    pd.testing.assert_frame_equal(daily[whole.columns.tolist()], whole, check_dtype=False)
    assert whole["offer_id"].notna().sum() > 10
    assert whole["member_id"].isin(of.truth.member_ids[of.active]).all()


def test_policies_share_visits_and_whatever_nobody_decided() -> None:
    one, other = a_month(WORLDS["strong"]), a_month(WORLDS["strong"])
    played(one)
    played(other, share=0.0)
    assert [v.key for day in range(6) for v in one.visits(day)] == [
        v.key for day in range(6) for v in other.visits(day)
    ]
    nothing = money.accounts(other, tariff(other))
    assert (nothing.drop(columns="fading") == 0).all().all()
    pd.testing.assert_frame_equal(one.all_told(nothing=True)["purchases"], other.all_told()["purchases"])


def test_money_adds_up_line_by_line_and_costs_are_what_redemptions_took() -> None:
    of = a_month(WORLDS["strong"])
    bought = played(of)
    found = money.accounts(of, tariff(of))
    assert found["earned"].to_numpy() == pytest.approx(found[list(LINES)].sum(axis=1).to_numpy())
    assert -found["discounts"].sum() == pytest.approx(bought["discount"].sum())
    answers = of.all_told()["offer_events"]
    redeemed = answers[answers["type"] == "redeem"]
    names = {one.visit.key: one.candidate_id for one in of.given}
    gifts = sum(names[key] == "surprise-gift" for key in redeemed["decision_id"])
    assert -found["gifts"].sum() == pytest.approx(2.5 * gifts)
    assert found["answered"].sum() == len(redeemed)
    assert found["money"].sum() == pytest.approx(-found[["discounts", "gifts", "contacts"]].to_numpy().sum())
    assert -found["contacts"].sum() == pytest.approx(0.002 * found["messages"].sum())
    assert (found.loc[~of.active, list(LINES)] == 0).all().all()
    assert found.loc[of.active, "earned_told"].abs().sum() > 0


def test_in_the_empty_world_nothing_is_caused_and_everything_given_is_lost() -> None:
    of = a_month(WORLDS["none"])
    played(of)
    found = money.accounts(of, tariff(of))
    assert found["margin"].abs().sum() == 0
    assert found["baskets"].abs().sum() == 0
    assert found["earned"].sum() == pytest.approx(found["earned_told"].sum())
    assert found["earned"].sum() < 0


def test_margin_under_the_truth_is_the_planted_effect_and_agrees_with_the_baskets_that_came() -> None:
    world = WORLDS["strong"]
    who = truth(world, members=3000, products=60, seed=2)
    of = Month(who, world, 2, STARTS, 1, np.ones(3000, dtype=bool))
    for visit in (one for one in of.visits(0) if one.channel == "email"):
        of.decided(visit, of.at(0), "d", {"id": "five-off", "type": "discount_amount", "discount": 5.0})
    found = money.accounts(of, tariff(of))
    told = found["earned_told"] - found["earned"] + found["margin"]
    planted = true_effect(who, "discount_amount", world=world).margin
    assert found["margin"].mean() == pytest.approx(planted, abs=0.12)
    apart = (told - found["margin"]).to_numpy(dtype=float)
    assert abs(apart.mean()) < 3.3 * apart.std() / len(apart) ** 0.5


def test_contacts_tire_and_make_members_fade_as_their_world_has_it() -> None:
    strong, none = a_month(WORLDS["strong"], days=14), a_month(WORLDS["none"], days=14)
    quiet = a_month(WORLDS["strong"], days=14)
    for one, share in ((strong, 1.0), (none, 1.0), (quiet, 0.0)):
        played(one, share)
    assert min(one.reach for one in strong.given) < 0.8
    assert {one.reach for one in none.given} == {1.0}
    assert (strong.fading >= quiet.fading).all()
    assert strong.fading.sum() > 1.02 * quiet.fading.sum() > 0
    hazard = np.minimum(quiet.truth.hazard, 0.9)
    assert quiet.fading[quiet.active] == pytest.approx(hazard[quiet.active])


def test_comparing_is_paired_and_the_best_baseline_is_the_one_that_earned_most() -> None:
    rng = np.random.default_rng(0)
    columns = [*comparing.TOTALS, *comparing.SHARES]
    base = pd.DataFrame({name: rng.normal(1.0, 5.0, 400) for name in columns})
    every = {"a": base, "b": base - 1.0, "ours": base + 0.5}
    gain = comparing.gain(every, "ours", "a", 1)
    assert (gain.low, gain.value, gain.high) == pytest.approx((200.0, 200.0, 200.0))
    assert comparing.best(every, ("a", "b")) == "a"
    own = comparing.summary(every, 1)["a"]["earned"]
    assert own.low < base["earned"].sum() < own.high
    assert own.high - own.low == pytest.approx(2 * 1.96 * base["earned"].std() * 20, rel=0.12)


def test_a_real_history_gives_rhythms_and_baskets_and_says_that_answers_are_assumed() -> None:
    past = simulate(WORLDS["none"], members=120, products=60, days=365, ends_at=STARTS, seed=4)
    who = assumed.truth(WORLDS["weak"], past, 0.3, STARTS, 1)
    bought = past["purchases"].query("quantity > 0")
    days = bought.assign(day=bought["occurred_at"].dt.floor("D")).groupby("member_id")["day"].nunique()
    assert set(who.member_ids) == set(days.index)
    true = truth(WORLDS["none"], members=120, products=60, seed=4)
    gaps = pd.Series(who.gap_days, index=who.member_ids)
    assert gaps.corr(pd.Series(true.gap_days, index=true.member_ids).reindex(gaps.index), method="spearman") > 0.7
    assert (who.lift.max(axis=0) > 0).all()
    assert who.impulse_margin.min() > 0
    told = assumed.said(WORLDS["weak"])
    assert told["assumed"] is True
    assert told["effects_as_in_world"] == "weak"
    of = Month(who, WORLDS["weak"], 1, STARTS, 2, np.ones(len(who.member_ids), dtype=bool))
    played(of)
    assert money.accounts(of, tariff(of))["earned"].abs().sum() > 0
