"""The learner of effects against planted ones: what it must find and what it must leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from features import learned
from features.learned.effects import NEW, Effects
from training.effects import Drawn, EffectConfig, NothingToCompareError, drawn, fit, learn
from training.effects.answers import calibration, line_rows

Floats = NDArray[np.float64]
GROUPS = ("do_nothing", "gift", "gift", "points", "points")
FAST = EffectConfig(folds=2, trees=30, leaves=6, rounds=(15, 30), shallow_leaves=(3,), ridges=(0.1, 1.0))


def _world(n: int, seed: int, apart: float, rare: float = 0.1) -> tuple[Drawn, Floats]:
    """Units with known effects: the third feature says who gains, the first what is bought anyway and what is drawn."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    effect = np.zeros((n, len(GROUPS)))
    for arm, more in enumerate((0.0, 0.0, 0.1, 0.3, 0.3)):
        effect[:, arm] = (0.5 + more if arm else 0.0) + (apart * x[:, 2] if arm else 0.0)
    chances = np.where(x[:, :1] > 0, [[0.4, 0.1, 0.1, 0.4 - rare, rare]], [[0.2, 0.2, 0.2, 0.4 - rare, rare]])
    arm = (rng.random((n, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    outcome = 2 * x[:, 0] + effect[np.arange(n), arm] + rng.normal(size=n)
    x[rng.random((n, 4)) < 0.02] = np.nan
    return drawn(x, arm, chances, outcome, GROUPS), effect


def _learn(units: Drawn) -> Effects:
    return learn(units, ("a", "b", "c", "d"), ("do_nothing", "g1", "g2", "p1", "p2"), FAST)[0]


def test_planted_effects_are_found_although_who_buys_more_was_drawn_otherwise() -> None:
    units, effect = _world(6000, 1, apart=0.5)
    model = _learn(units)
    found, error = model.predict(units.features)
    assert found[:, 0].tolist() == [0.0] * 6000 and error[:, 0].max() == 0.0
    assert np.abs(found.mean(axis=0) - effect.mean(axis=0)).max() < 0.12
    assert all(np.corrcoef(found[:, arm], effect[:, arm])[0, 1] > 0.9 for arm in range(1, 5))


def test_where_members_do_not_differ_everybody_gets_the_mean() -> None:
    spreads = []
    for seed in range(6):
        units, _ = _world(1500, seed, apart=0.0)
        found, _ = _learn(units).predict(units.features)
        spreads.append(found[:, 1:].std(axis=0).max())
    assert np.median(spreads) < 0.03
    assert np.mean(spreads) < 0.08


def test_intervals_hold_the_mean_effect_as_often_as_they_say() -> None:
    inside = []
    for seed in range(40):
        units, effect = _world(800, seed, apart=0.0)
        found, error = _learn(units).predict(units.features[:1])
        inside.append(np.abs(found[0, 1:] - effect[0, 1:]) <= 1.96 * error[0, 1:])
    assert 0.86 <= np.mean(inside) <= 1.0


def test_an_arm_hardly_drawn_starts_from_its_group_and_a_new_one_too() -> None:
    few, _ = _world(6000, 3, apart=0.0, rare=0.003)
    assert 2 <= (few.arm == 4).sum() <= 40
    model = _learn(few)
    found, error, _ = (each[0] for each in model.everything(few.features[:1]))
    rows = {name: model.row(name, group) for name, group in (("p2", "points"), ("later", "points"), ("odd", "odd"))}
    assert abs(found[rows["p2"]] - found[model.row("p1", "points")]) < 0.15
    assert rows["later"] >= model.known and model.groups[rows["later"]] == "points"
    assert abs(found[rows["later"]] - found[model.row("p1", "points")]) < 0.15
    assert error[rows["later"]] > error[model.row("p1", "points")]
    assert model.arms[rows["odd"]] == model.groups[rows["odd"]] == NEW


def test_ten_times_the_outcome_has_ten_times_the_effect_and_the_order_of_rows_does_not_matter() -> None:
    units, _ = _world(2000, 4, apart=0.5)
    one, _ = _learn(units).predict(units.features)
    ten, _ = _learn(units.with_outcome(10 * units.outcome)).predict(units.features)
    np.testing.assert_allclose(ten, 10 * one, atol=0.15)


def test_it_is_kept_and_read_back_as_it_was_and_answers_one_as_it_answers_many(tmp_path: Path) -> None:
    units, _ = _world(2000, 5, apart=0.5)
    model = _learn(units)
    learned.save(model, tmp_path)
    again = learned.load(tmp_path)
    assert isinstance(again, Effects)
    many, errors, _ = again.everything(units.features[:50])
    np.testing.assert_array_equal(many, model.everything(units.features[:50])[0])
    for row in range(50):
        one, error, _ = (each[0] for each in again.everything(units.features[row : row + 1]))
        np.testing.assert_allclose(one, many[row], atol=1e-12)
        np.testing.assert_allclose(error, errors[row], atol=1e-12)


def test_nothing_is_learned_where_doing_nothing_could_not_have_been() -> None:
    units, _ = _world(500, 6, apart=0.0)
    only = units.rows(units.arm > 0)
    chances = only.chances.copy()
    chances[:, 0] = 0.0
    with pytest.raises(NothingToCompareError, match="doing nothing"):
        fit(only.features, only.arm, chances, only.outcome, FAST, GROUPS)


def test_what_happened_without_a_chance_is_refused() -> None:
    units, _ = _world(50, 7, apart=0.0)
    with pytest.raises(ValueError, match="no chance"):
        fit(units.features, units.arm, np.where(units.chances == 0.1, 0.0, units.chances), units.outcome, FAST)


def test_answers_are_calibrated_for_each_candidate() -> None:
    """One is answered more often than was thought, another less; a third, hardly tried, stays near the line of all."""
    rng = np.random.default_rng(3)
    arm = np.concatenate((np.full(6000, 1), np.full(6000, 2), np.full(10, 3)))
    said = rng.normal(-1.0, 0.8, len(arm))
    true = said + np.array([0.0, 0.6, -0.6, 3.0])[arm]
    answered = (rng.random(len(arm)) < 1 / (1 + np.exp(-true))).astype(float)
    line = calibration(said, np.zeros(len(arm)), answered, arm, 4)
    told = 1 / (1 + np.exp(-(line_rows(said, np.zeros(len(arm))) * line[arm]).sum(axis=1)))
    for each in (1, 2):
        for part in (said[arm == each] < -1.0, said[arm == each] >= -1.0):
            assert told[arm == each][part].mean() == pytest.approx(answered[arm == each][part].mean(), abs=0.02)
    assert told[arm == 3].mean() < answered[arm == 3].mean() - 0.1
    assert line[0].tolist() == calibration(said, np.zeros(len(arm)), answered, np.zeros_like(arm), 1)[0].tolist()
