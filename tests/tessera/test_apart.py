"""Work in a process of its own: its answer comes back, its faults and ceilings are told."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tessera.bench.apart import ApartError, apart
from tessera.bench.long_history import Size, long_history


def _half(value: int) -> int:
    return value // 2


def _hold(megabytes: int) -> int:
    return int(np.ones(megabytes * 2**17).sum())


def _fail(what: str) -> int:
    raise ValueError(what)


def test_an_answer_comes_back_and_a_fault_is_told() -> None:
    assert apart(_half, 42, memory_gb=8, seconds=60) == 21
    with pytest.raises(ApartError, match="ValueError: no such thing"):
        apart(_fail, "no such thing", memory_gb=8, seconds=60)


def test_who_wants_more_memory_than_there_is_or_never_ends_is_ended() -> None:
    with pytest.raises(ApartError, match="out of memory at 4 GB"):
        apart(_hold, 6 * 1024, memory_gb=4, seconds=60)
    with pytest.raises(ApartError, match="ended after 0 min"):
        apart(time.sleep, 60, memory_gb=8, seconds=0.2)


def test_a_made_up_history_has_the_size_that_was_asked_for_and_unequal_products() -> None:
    found = long_history(Size(300, 400, 5_000), seed=1)
    assert found.counts.shape == (300, 400)
    assert len(found.buys) == 5_000
    buyers = np.sort(np.bincount(found.counts.indices, minlength=400))[::-1]
    assert buyers[:40].sum() > 0.3 * buyers.sum()
    assert np.array_equal(found.counts.indices, long_history(Size(300, 400, 5_000), seed=1).counts.indices)
