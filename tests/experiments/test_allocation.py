from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.allocation import contest, rivals, truth
from experiments.allocation.ground import Ground, log
from experiments.allocation.learned import held_back
from experiments.allocation.truth import CANDIDATES, Economy
from experiments.simulate import true_effect
from experiments.simulate import truth as truth_of
from experiments.worlds import WORLDS

WORLD = WORLDS["strong"]
WHO = truth_of(WORLD, members=8_000, products=60, seed=2)


def test_own_economics_are_those_of_the_simulator() -> None:
    own = truth.own(WHO, WORLD)
    for place, one in enumerate(CANDIDATES):
        effect = true_effect(WHO, one.type, world=WORLD)
        assert own.effect[:, place].mean() == pytest.approx(effect.baskets, rel=1e-9)
        assert own.response[:, place].mean() == pytest.approx(effect.response, rel=1e-9)
        assert (own.effect[:, place] * own.margin).mean() == pytest.approx(effect.margin, rel=1e-9)


def test_what_is_knowable_is_the_mean_of_what_members_with_the_same_traits_have() -> None:
    own, known = truth.own(WHO, WORLD), truth.knowable(WHO, WORLD)
    # Whoever is chosen by what is knowable has it on average: no selection by traits may find a difference.
    for place in range(len(CANDIDATES)):
        for by in (WHO.thrift, -WHO.gap_days, WHO.collector, known.value[:, place]):
            chosen = np.argsort(-by)[:3000]
            for mine, mean in ((own.effect, known.effect), (own.response, known.response)):
                apart = mine[chosen, place] - mean[chosen, place]
                assert abs(apart.mean()) < 4.5 * apart.std() / np.sqrt(len(chosen))


def test_with_own_effects_prices_earn_all_that_there_is_and_no_way_overspends() -> None:
    own = truth.own(WHO, WORLD)
    amounts = contest.budgets(truth.knowable(WHO, WORLD))
    made = Ground(WORLD, WHO, np.zeros((len(WHO.member_ids), 1)), ("none",), log=None)  # type: ignore[arg-type]
    rows = contest.judged(made, 1, truth.knowable(WHO, WORLD))
    by_own = next(one for one in rows if one.effects == "own")
    assert by_own.value >= 0.99 * by_own.strict
    assert contest.of(rows, "prices", "own", strict=True).mean == by_own.value / by_own.strict
    assert all(share <= 1.0 for one in rows for share in one.spent)
    best = next(one for one in rows if (one.way, one.effects) == ("prices", "learned"))
    assert all(best.value >= one.value for one in rows if one.effects == "learned")
    wrong = Economy(own.value, tuple(table / 2 for table in own.costs), own.effect, own.response, own.margin)  # type: ignore[arg-type]
    kept = rivals.kept(rivals.by_prices(wrong, amounts), own, amounts)
    given = np.flatnonzero(kept >= 0)
    for table, amount in zip(own.costs, amounts.tolist(), strict=True):
        assert table[given, kept[given]].sum() <= amount


def test_a_log_is_drawn_with_the_chances_it_states() -> None:
    recency = np.where(np.arange(len(WHO.member_ids)) % 2 == 0, 5.0, 90.0)
    table = pd.DataFrame({"recency_days": recency}, index=WHO.member_ids)
    found = log(WORLD, WHO, table, 6_000, seed=3)
    assert len(np.unique(found.rows)) == 6_000
    assert found.chances.sum(axis=1) == pytest.approx(1.0)
    for arm in range(len(CANDIDATES) + 1):
        expected = found.chances[:, arm].sum()
        assert abs((found.arm == arm).sum() - expected) < 4.5 * np.sqrt(expected)
    own = truth.own(WHO, WORLD)
    treated = np.flatnonzero(found.arm > 0)
    expected = own.response[found.rows[treated], found.arm[treated] - 1]
    offers = np.array([one.type not in ("tier_nudge", "product_recommendation") for one in CANDIDATES])
    some = offers[found.arm[treated] - 1]
    assert found.responded[treated][some].mean() == pytest.approx(expected[some].mean(), abs=0.025)
    assert not found.responded[found.arm == 0].any()


def test_a_reading_has_the_interval_of_student() -> None:
    found = contest.reading([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    assert found.high - found.mean == pytest.approx(4.302653 * 1.0 / np.sqrt(3), rel=1e-6)
    rows = [contest.Row("w", seed, "prices", "learned", 9.0 + seed, 10.0, 20.0, (1, 1, 1)) for seed in (0, 1)]
    rows += [replace(one, way="other", value=one.value - 1.0) for one in rows]
    lead = contest.ahead(rows, "prices", "other")
    assert (lead.low, lead.mean, lead.high) == pytest.approx((0.1, 0.1, 0.1))


def test_more_is_held_back_the_less_the_log_says_and_messages_are_what_they_are() -> None:
    known = truth.knowable(WHO, WORLD)
    amounts = contest.budgets(known)
    table = pd.DataFrame({"recency_days": np.full(len(WHO.member_ids), 5.0)}, index=WHO.member_ids)
    shares = []
    for size in (800, 6_400):
        tried = log(WORLD, WHO, table, size, seed=3)
        made = Ground(WORLD, WHO, np.zeros((len(WHO.member_ids), 1)), ("none",), tried)
        planned = held_back(made, known, amounts)
        assert planned[2] == amounts[2]
        assert (planned[:2] < amounts[:2]).all()
        shares.append(amounts[0] / planned[0] - 1)
    few, many = shares
    assert few / many == pytest.approx(np.sqrt(8), rel=0.35)  # a standard error
    choice = rivals.by_prices(known, planned).choice
    given = np.flatnonzero(choice >= 0)
    assert known.costs[0][given, choice[given]].sum() <= planned[0]
