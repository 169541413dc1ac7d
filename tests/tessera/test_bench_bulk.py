"""The benchmark of lists for everybody compares like with like."""

from __future__ import annotations

import numpy as np

from tessera.bench import bulk


def test_every_way_that_makes_lists_makes_the_ones_of_brute_force() -> None:
    for ground in bulk.grounds(members=120, products=600, dimensions=8):
        for filtered in (False, True):
            found = {one.who: one for one in bulk.measure(ground, filtered=filtered)}
            assert found["Tessera"].same == 1.0
            assert found["implicit recommend"].same > 0.95
            assert filtered or found["LightFM predict"].same > 0.95
            assert all(one.per_second > 0 for one in found.values())


def test_in_the_made_up_history_members_like_few_kinds_and_buy_little_of_what_is_popular_in_them() -> None:
    bought = bulk.history(300, 4_000, np.random.default_rng(0))
    assert np.asarray(bought.sum(axis=1)).ravel().tolist() == [30.0] * 300
    kinds = [len(set((bought[row].indices // 20).tolist())) for row in range(300)]
    assert max(kinds) == 3
