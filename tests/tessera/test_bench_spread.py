"""Learners without locks: runs on two threads differ, and not by much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from tessera.bench.spread import LOCK_FREE, spread
from training.interactions import build
from training.split import after, truth

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", LOCK_FREE)
def test_five_runs_on_two_threads_lie_around_the_run_on_one(recipe: str) -> None:
    history = simulate(WORLDS["weak"], members=600, products=200, days=400, ends_at=AT, seed=1)
    cut = AT - timedelta(days=28)
    before = build(history["purchases"], history["products"], history["members"], cut)
    found = spread(recipe, before, truth(before, after(history["purchases"], cut, 28)).bought)
    assert len(found.together) == 5
    assert max(abs(ndcg - found.alone) for ndcg in found.together) < 0.05
    assert max(found.together) - min(found.together) < 0.05
