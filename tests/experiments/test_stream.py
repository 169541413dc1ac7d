from __future__ import annotations

import numpy as np
import pytest

from experiments.allocation import stream
from experiments.allocation.stream import Scene


def test_prices_solved_every_hour_earn_nearly_what_hindsight_would_and_never_overspend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "DAYS", 2)
    monkeypatch.setattr(stream, "PER_DAY", 1_500)
    drawn = stream.stream(Scene("as forecast"), seed=4)
    best = stream.bound(drawn)
    by_prices = stream.earned(drawn, 6, 0.0, seed=4)
    assert 0.95 * best < by_prices <= best
    rich = stream.stream(Scene("richer", richer=2.0), seed=4)
    assert stream.bound(rich) > 1.2 * best
    assert np.array_equal(rich.values, drawn.values)
    assert stream.earned(drawn, 6, 0.003, seed=4) <= best
