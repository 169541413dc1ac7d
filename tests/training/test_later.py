"""What follows a reward window: planted effects are found through the index, and nothing is made of nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from training.effects import EffectConfig, drawn
from training.effects.later import LaterStory, Past, TooFewFollowedError, learn_later
from training.effects.later_rows import Margins
from training.effects.zero import to_zero
from training.lifetime_frames import lines

Floats = NDArray[np.float64]
CONFIGS = Path(__file__).parents[2] / "configs"
END = datetime(2026, 1, 1, tzinfo=UTC)
FAST = EffectConfig(folds=2, trees=30, leaves=6, rounds=(15,), shallow_leaves=(3,), ridges=(0.3,))
KINDS, ARMS = ("do_nothing", "gift", "points"), ("do_nothing", "g", "p")


def _learned(seed: int, *, moves: float, n: int = 6000) -> LaterStory:
    """The rest of a year brings 50 times a state, each window before it 5 times; the second arm moves the state."""
    rng = np.random.default_rng(seed)

    def came(state: Floats) -> Floats:
        """Two windows of the margin that such a state brings."""
        return 5 * state[:, None] + rng.normal(0, 1, (len(state), 2))

    then, state = rng.normal(size=(8000, 2)), rng.normal(size=8000)
    past = Past(then, came(state), 50 * state + rng.normal(0, 10, 8000))
    before, arm, mine = rng.normal(size=(n, 2)), rng.integers(0, 3, n), rng.normal(size=n)
    margins = came(mine + moves * (arm == 2))
    margins[:20] = np.nan
    units = drawn(before, arm, np.full((n, 3), 1 / 3), np.zeros(n), KINDS)
    return learn_later(units, margins, past, ("a", "b"), ARMS, FAST)[1]


def test_what_an_arm_moves_is_worth_what_the_past_says_of_it_beside_what_came() -> None:
    """0.2 of the state is 2 while it is followed and 10 afterwards. The other arm moves nothing."""
    found = [{name: money for name, money, _ in _learned(seed, moves=0.2, n=20_000).levels} for seed in range(4)]
    assert np.mean([one["p"] for one in found]) == pytest.approx(12.0, abs=1.5)
    assert abs(np.mean([one["g"] for one in found])) < 0.5


def test_where_nothing_is_moved_next_to_nothing_is_said() -> None:
    stories = [_learned(seed, moves=0.0, n=3000) for seed in range(8)]
    served = np.array([[money for _, money, _ in story.levels[:2]] for story in stories])
    raw = np.array([[money for _, money, _ in story.raw] for story in stories])
    assert np.sqrt((served**2).mean()) < 0.5 * np.sqrt((raw**2).mean())


def test_decisions_that_could_not_be_followed_say_nothing() -> None:
    units = drawn(np.zeros((50, 2)), np.arange(50) % 3, np.full((50, 3), 1 / 3), np.zeros(50), KINDS)
    with pytest.raises(TooFewFollowedError, match="at least 400 of each"):
        learn_later(units, np.full((50, 2), np.nan), Past(np.zeros((9, 2)), np.zeros((9, 2)), np.zeros(9)),
                    ("a", "b"), ARMS, FAST)  # fmt: skip


def test_clear_estimates_stay_and_unclear_ones_go_to_nothing() -> None:
    error = np.eye(3) * 0.25
    clear, _ = to_zero(np.array([5.0, 5.5, 4.5]), error, ("a", "a", "b"), 1.0)
    assert clear[:3] == pytest.approx([5.0, 5.5, 4.5], rel=0.1) and clear[3] > 3.0
    unclear, variance = to_zero(np.array([0.5, -0.3, 0.2]), error, ("a", "a", "b"), 1.0)
    assert np.abs(unclear).max() < 0.15 and (variance > 0).all()
    alone, _ = to_zero(np.array([6.0, 0.1, -0.1]), error, ("a", "b", "c"), 1.0)
    assert alone[0] > 4.5 and np.abs(alone[1:3]).max() < 0.5


def test_an_estimate_far_less_certain_than_effects_are_large_says_next_to_nothing() -> None:
    """Three arms, all 3 below nothing with a common error of 2, where 1 is usual."""
    mean, _ = to_zero(np.full(3, -3.0), np.full((3, 3), 4.0) + np.eye(3), ("a", "b", "c"), 0.5)
    assert mean.min() > -0.5 and mean.max() < 0


def test_margins_of_any_stretch_are_those_of_the_lines_in_it(tmp_path: Path) -> None:
    tables = simulate(WORLDS["strong"], members=60, products=40, days=200, ends_at=END, seed=4)
    history.merge(tmp_path, dict(tables))
    programme = catalog.load(CONFIGS / "catalog").programme
    margins, whole = Margins(tmp_path, programme), lines(tmp_path, programme)
    at = whole["occurred_at"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    rng = np.random.default_rng(1)
    who = rng.choice(np.array([*whole["member_id"].unique(), "stranger"], object), 200)
    begins = END.timestamp() * 1e6 - rng.uniform(0, 250, 200) * 86_400e6
    ends = begins + rng.uniform(0, 90, 200) * 86_400e6
    found = margins.between(who, begins, ends)
    wanted = [
        whole["amount"][((whole["member_id"] == one) & (at > low) & (at <= high)).to_numpy()].sum()
        for one, low, high in zip(who, begins, ends, strict=True)
    ]
    assert np.any(found != 0) and found == pytest.approx(wanted, abs=1e-6)
