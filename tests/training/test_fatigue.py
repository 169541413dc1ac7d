from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.simulate import planted_decisions, simulate_to
from experiments.worlds import WORLDS, World
from training.fatigue import Fatigue, FatigueConfig, estimate, fatigue, lagged, says_enough, units

END = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
CONFIG = FatigueConfig()


def drawn(rng: np.random.Generator, members: int, tired: float, fading: float) -> pd.DataFrame:
    """Ten windows of members, contacted by lot, who buy less the more they were contacted in the two windows before."""
    rows = []
    habit = rng.gamma(2.0, 0.4, members)
    before = np.zeros((members, 2))
    for window in range(10):
        chance = np.where(habit > 0.8, 0.4, 0.7)
        contacted = (rng.random(members) < chance).astype(float)
        recent = before.sum(axis=1)
        mean = np.maximum(habit + contacted * (0.3 - tired * recent) - fading * recent, 0.01)
        rows.append(
            pd.DataFrame(
                {
                    "member_id": [f"m{i}" for i in range(members)],
                    "candidate_type": np.where(contacted > 0, "gift", "do_nothing"),
                    "at_us": window * 14 * DAY,
                    "chance": chance,
                    "baskets": rng.poisson(mean),
                    "before": rng.poisson(4 * habit),
                }
            )
        )
        before = np.stack([before[:, 1], contacted], axis=1)
    return pd.concat(rows, ignore_index=True)


def read(found: pd.DataFrame) -> Fatigue:
    order = found.sort_values(["member_id", "at_us"], ignore_index=True)
    one = fatigue(lagged(order, order["chance"].to_numpy(np.float64), CONFIG.recent_days), CONFIG.recent_days)
    assert one is not None
    return one


def test_both_costs_are_read_apart_and_intervals_cover_them() -> None:
    inside = []
    for seed in range(30):
        one = read(drawn(np.random.default_rng(seed), 1500, tired=0.06, fading=0.04))
        inside.append(
            [
                one.lower_effect_interval[0] < 0.06 < one.lower_effect_interval[1],
                one.fewer_interval[0] < 0.04 < one.fewer_interval[1],
                one.low < 0.10 < one.high,
            ]
        )
    share = np.mean(inside, axis=0)
    assert (share >= 0.83).all(), share
    assert np.mean(inside) >= 0.90
    large = read(drawn(np.random.default_rng(99), 30_000, tired=0.06, fading=0.04))
    assert large.baskets == pytest.approx(0.10, abs=0.015)
    assert large.low > 0


def test_without_fatigue_the_price_is_about_nothing() -> None:
    one = read(drawn(np.random.default_rng(5), 30_000, tired=0.0, fading=0.0))
    assert abs(one.baskets) < 0.015
    assert one.low < 0 < one.high


def test_nothing_goes_before_the_policy_unless_it_is_precise() -> None:
    one = read(drawn(np.random.default_rng(1), 300, tired=0.06, fading=0.0))
    assert not says_enough(one, CONFIG)
    assert not says_enough(None, CONFIG)
    assert says_enough(replace(one, n=2000, low=one.baskets - 0.02, high=one.baskets + 0.02), CONFIG)


def planted(world: World, members: int, seed: int) -> float:
    """The same straight line through what each decision exactly caused."""
    found = planted_decisions(world, members=members, products=60, days=182, ends_at=END, seed=seed)
    rows = found.assign(
        candidate_type=np.where(found["contacted"] > 0, "something", "do_nothing"),
        at_us=(found["at"] * DAY).astype("int64"),
        baskets=found["effect"],
        before=0.0,
    ).sort_values(["member_id", "at_us"], ignore_index=True)
    given = lagged(rows, rows["chance"].to_numpy(np.float64), CONFIG.recent_days)
    return _line(given.contacted, given.recent, given.baskets)


def _line(contacted: np.ndarray, recent: np.ndarray, effect: np.ndarray) -> float:
    reached = contacted > 0
    return -float(np.polyfit(recent[reached], effect[reached], 1)[0])


@pytest.mark.parametrize(("world", "seed"), [("strong", 3), ("none", 3)])
def test_the_simulated_worlds_fatigue_is_covered(world: str, seed: int, tmp_path: Path) -> None:
    tired = replace(WORLDS[world], fatigue=1.2 * (world == "strong"), irritation=0.0)
    simulate_to(tmp_path, tired, members=4000, products=60, days=182, ends_at=END, seed=seed)
    one = estimate(tmp_path, END, CONFIG)
    truth = planted(tired, 4000, seed)
    assert one is not None
    assert one.lower_effect_interval[0] < truth < one.lower_effect_interval[1]
    assert one.low < truth < one.high
    if world == "strong":
        assert truth > 0.02
        assert one.low > 0
    else:
        assert truth == 0


def test_a_history_without_lots_says_nothing(tmp_path: Path) -> None:
    assert units(tmp_path, END, CONFIG) is None
