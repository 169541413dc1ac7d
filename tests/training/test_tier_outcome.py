from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import cutoffs, standing
from features.entities import Tier, TierRules
from features.learned.tier_outcome import NEEDED, TierOutcome, basket_chances, reach_chances
from features.member_facts import of
from features.member_states import state_blobs
from features.states import decode
from features.tier_needs import Needs
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write
from training.tier_backtest import OURS, RUN_RATE, figures, run
from training.tier_outcome import fit, purchased, rows_of

MODEL = TierOutcome((-3.0, *[0.0] * 6), (-2.0, *[0.0] * 6), 0.5, 3.0, 0.4, 0.3)
RULES = (TierRules(), TierRules("calendar_year", hold="next_year"), TierRules(hold="year", soft_landing=True))


def row(**known: float) -> np.ndarray:
    return np.array([[known.get(name, np.nan) for name in NEEDED]])


@pytest.mark.parametrize("need", [15.0, 60.0, 200.0])
@pytest.mark.parametrize(("own", "baskets"), [(np.nan, 0.0), (40.0, 12.0)])
def test_chances_are_what_a_thousand_futures_say(need: float, own: float, baskets: float) -> None:
    """Rate from a gamma, some silent for good, each member's mean around that of all, baskets lognormal around it."""
    rng, n, days = np.random.default_rng(1), 60_000, 60.0
    rate = np.exp(-3.0) * rng.gamma(2.0, 0.5, n)
    count = np.where(rng.random(n) < 1 / (1 + np.exp(2.0)), 0, rng.poisson(rate * days))
    weight = 0.0 if np.isnan(own) else baskets / (baskets + 0.4 / 0.3)
    centre = 3.0 if np.isnan(own) else weight * (np.log(own) - 0.2) + (1 - weight) * 3.0
    mean = rng.normal(centre, np.sqrt(0.3 * (1 - weight)), n)
    values = np.exp(mean[:, None] + rng.normal(0.0, np.sqrt(0.4), (n, int(count.max()))))
    spent = (values * (np.arange(count.max()) < count[:, None])).sum(axis=1)
    told = reach_chances(
        MODEL, row(avg_basket_value=own, lifetime_baskets=baskets), np.array([days]), np.array([need])
    )[0]
    assert told == pytest.approx((spent >= need).mean(), abs=0.02)


def test_an_action_moves_the_chance_by_its_effect_and_no_more() -> None:
    some, days, need = row(avg_basket_value=30.0, lifetime_baskets=5.0), np.array([60.0]), np.array([80.0])
    chances = [float(reach_chances(MODEL, some, days, need, extra)[0]) for extra in (-0.5, 0.0, 0.25, 0.5, 1.0)]
    assert chances == sorted(chances)
    assert chances[3] - chances[2] == pytest.approx(chances[2] - chances[1])
    assert reach_chances(MODEL, some, days, np.array([0.0]))[0] == 1.0
    assert reach_chances(MODEL, some, days, np.array([np.inf]), 1.0)[0] == 0.0
    assert basket_chances(MODEL, some, days).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("rules", RULES)
def test_what_is_needed_is_what_the_rules_ask_and_not_a_cent_more(tmp_path: Path, rules: TierRules) -> None:
    """A basket of exactly the need brings the rank by the decision; one of a cent less does not."""
    known = replace(PROGRAMME, tier_rules=rules)
    tables = drawn(9, n_members=8, days=600)
    tables = {name: rows if name == "products" else rows[rows["known_at"] <= T0] for name, rows in tables.items()}
    write(tmp_path / "now", tables)
    needs, checked = Needs(known), 0
    for member, blob, _ in state_blobs(tmp_path / "now", T0, known):
        found = needs(decode(blob), T0.timestamp())
        rank = next((rank for rank, need in enumerate(found.needs) if 0.01 < need < np.inf), None)
        if rank is None:
            continue
        checked += 1
        for money, reached in ((found.needs[rank], True), (found.needs[rank] - 0.01, False)):
            at = T0 + timedelta(seconds=(found.closes - found.at) / 2)
            one = {"purchase_id": "x", "member_id": member, "basket_id": "x", "occurred_at": at, "unit_price": money}
            more = {**tables, "purchases": pd.concat([tables["purchases"], typed("purchases", [one])])}
            write(tmp_path / "then", more)
            then = T0 + timedelta(seconds=found.decided - found.at)
            features = standing.tier_features(known)[:1]
            stands = cutoffs.compute(tmp_path / "then", pairs([member], then), features, of(known))["tier_rank"].iloc[0]
            assert (stands >= rank) == reached
        if checked == 3:
            break
    assert checked


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 members who buy at rates of their own, steadily, for three years."""
    rng, rows = np.random.default_rng(3), []
    for member in range(400):
        rate, mean = rng.gamma(2.0, 1 / 40.0), rng.normal(3.3, 0.4)
        days = np.cumsum(rng.exponential(1 / rate, 400))
        for number, day in enumerate(days[days < 1000]):
            price = round(float(np.exp(rng.normal(mean, 0.5))), 2)
            at = T0 - timedelta(days=1000 - float(day))
            rows.append({"member_id": f"m{member:03d}", "basket_id": f"{member}-{number}", "unit_price": price})
            rows[-1]["occurred_at"] = at
    return write(tmp_path_factory.mktemp("steady"), {"purchases": typed("purchases", rows)})


LADDER = (Tier("a", "A", 0.0, 365, 1.0), Tier("b", "B", 300.0, 365, 1.0), Tier("c", "C", 700.0, 365, 1.0))


def test_members_who_go_on_as_before_are_forecast_in_the_mean_and_one_by_one(steady: Path) -> None:
    cut = T0 - timedelta(days=90)
    model = fit(steady, PROGRAMME, cut)
    past = purchased(steady, T0)
    members = sorted(past.loc[past["occurred_at"] <= cut, "member_id"].unique())
    after = past[past["occurred_at"] > cut].groupby("member_id").size().reindex(members).fillna(0).to_numpy()
    chances = basket_chances(model, rows_of(steady, PROGRAMME, members, cut), np.full(len(members), 90.0))
    told = chances @ np.arange(chances.shape[1])
    assert told.mean() == pytest.approx(after.mean(), rel=0.1)
    assert np.corrcoef(told, after)[0, 1] > 0.7
    assert model.within == pytest.approx(0.25, rel=0.15)


def test_tiers_are_forecast_better_than_by_the_run_rate_and_calibrated(steady: Path) -> None:
    rows = figures(run(steady, replace(PROGRAMME, tiers=LADDER), T0, 1, 0)).to_dict("records")
    found = {(row["event"], row["forecast"]): row for row in rows}
    ours, naive = found["upgrade", OURS], found["upgrade", RUN_RATE]
    assert ours["skill"] > 0.0
    assert ours["brier"] < naive["brier"]
    assert ours["slope_low"] < 1.1
    assert ours["slope_high"] > 0.9
    assert min(row["n"] for row in rows) > 50
