from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from features import learned
from features.learned.effects_golden import of_effects
from features.learned.faults import LearnedError
from serving.caused import load_caused
from serving.records import learned_of
from serving.snapshot import Learned
from training.effects import EffectConfig, fit

NAMES = ("other", "b", "a")
"""Of a finished row; the model knows a and b."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gifts add 0.5 to whoever has a high, points nothing; those with b high answer."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 2))
    arm = rng.integers(0, 3, 4000)
    chances = np.full((4000, 3), 1 / 3)
    outcome = np.where(arm == 1, 0.5 + 0.5 * x[:, 0], 0.0) + rng.normal(size=4000)
    responded = ((arm > 0) & (rng.random(4000) < 1 / (1 + np.exp(-2 * x[:, 1])))).astype(float)
    config = EffectConfig(folds=2, trees=30, rounds=(30,), shallow_leaves=(3,), ridges=(0.1,))
    model = fit(
        x, arm, chances, outcome, config, ("do_nothing", "gift", "points_fixed"),
        feature_names=("a", "b"), arms=("do_nothing", "g", "p"), responded=responded,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("effects")
    learned.save(model, folder)
    return folder


def test_every_candidate_has_its_own_effect_and_every_type_one_for_new_ones(bundle: Path) -> None:
    caused = load_caused("1", bundle, NAMES, {})
    own, groups = caused.told(np.array([99.0, 1.5, 1.0]))
    assert set(own) == {"g", "p"} and set(groups) == {"gift", "points_fixed"}
    assert own["g"].low > 0.3 and own["g"].basis == "experiment"
    assert own["g"].low < own["g"].effect < own["g"].high
    assert own["g"].effect > own["p"].effect + 0.3
    new = groups["gift"]
    assert new.high is not None and new.low is not None
    assert new.high - new.low > own["g"].high - own["g"].low
    gone, _ = caused.told(np.array([99.0, -1.5, 1.0]))
    assert own["g"].response is not None and gone["g"].response is not None
    assert own["g"].response > 0.8 > 0.2 > gone["g"].response


def test_what_was_said_is_read_back_from_the_journal_as_it_was(bundle: Path) -> None:
    own, groups = load_caused("1", bundle, NAMES, {}).told(np.array([0.0, 1.0, 1.0]))
    said = Learned(effects=own, responses=groups)
    assert learned_of({"learned": asdict(said)}) == said


def test_a_bundle_that_answers_otherwise_or_asks_for_what_is_not_served_is_refused(bundle: Path) -> None:
    model = load_caused("1", bundle, NAMES, {}).form
    golden = of_effects(model, np.array([[0.0, 1.0], [np.nan, np.nan]]))
    load_caused("1", bundle, NAMES, {"golden": golden})
    golden["told"][0][1] += 0.01
    with pytest.raises(LearnedError, match="do not answer"):
        load_caused("1", bundle, NAMES, {"golden": golden})
    with pytest.raises(LearnedError, match="not served: b"):
        load_caused("1", bundle, ("a",), {})
