from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from experiments.programme.action_stretch import ACTIONS, chances, closes_at, randomised_actions
from experiments.simulate import true_effect, truth
from experiments.worlds import WORLDS
from features import history
from training import response
from training.response import Estimate, ResponseConfig

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
JOINT = NormalDist().inv_cdf(1 - 0.05 / 2 / len(ACTIONS)) / NormalDist().inv_cdf(0.975)
"""Nine intervals that shall hold together with 95 % are so much wider than one (Bonferroni)."""


def read(name: str, folder: Path, members: int, windows: int, seed: int) -> dict[str, Estimate]:
    world = WORLDS[name]
    who = truth(world, members=members, products=40, seed=seed)
    history.merge(folder, randomised_actions(world, who, begins=BEGINS, windows=windows, seed=seed))
    found = response.estimate(folder, closes_at(world, BEGINS, windows), ResponseConfig(window_days=14))
    return {one.type: one for one in found}


def test_chances_differ_between_members_and_sum_to_one() -> None:
    world = WORLDS["strong"]
    who = truth(world, members=500, products=40, seed=1)
    types, table = chances(world, who)
    assert types[1:] == ACTIONS
    assert len(ACTIONS) == 9
    assert np.allclose(table.sum(axis=1), 1.0)
    assert len(np.unique(table.round(6), axis=0)) == 2


@pytest.mark.parametrize("name", ["strong", "none"])
def test_what_every_type_of_action_causes_is_read_from_draws_by_lot(name: str, tmp_path: Path) -> None:
    found = read(name, tmp_path, members=4000, windows=4, seed=12)
    assert sorted(found) == sorted(ACTIONS)
    who = truth(WORLDS[name], members=4000, products=40, seed=12)
    for kind, one in found.items():
        planted = true_effect(who, kind, world=WORLDS[name])
        wide = JOINT * (one.high - one.low) / 2
        assert abs(one.effect - planted.baskets) < wide, (one, planted)
        assert wide < 0.14
        assert one.response == pytest.approx(planted.response, abs=0.06)
    certain = {kind for kind, one in found.items() if one.low > 0}
    if name == "strong":
        assert {"win_back", "points_expiry_reminder", "tier_nudge"} & certain
    else:
        assert len(certain) <= 1


@pytest.mark.slow
def test_intervals_cover_the_truth_of_actions_as_often_as_they_say(tmp_path: Path) -> None:
    inside = []
    for seed in range(30, 42):
        found = read("strong", tmp_path / str(seed), members=1500, windows=3, seed=seed)
        who = truth(WORLDS["strong"], members=1500, products=40, seed=seed)
        planted = {kind: true_effect(who, kind, world=WORLDS["strong"]).baskets for kind in ACTIONS}
        inside += [one.low < planted[kind] < one.high for kind, one in found.items()]
    assert len(inside) == 12 * 9
    assert np.mean(inside) >= 0.89
