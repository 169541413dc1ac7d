"""Popularity with lists of regions: one member and many."""

from __future__ import annotations

import numpy as np
import pytest

from features.learned import Histories, LearnedError, MemberHistory, Popularity, from_arrays, to_arrays

IDS = np.array(["apple", "bread", "cheese", "dill"])
AT = 86_400_000.0


def test_a_member_gets_the_popular_products_of_the_own_region_and_of_all_where_it_has_none() -> None:
    scores, regional = np.array([0.4, 0.3, 0.2, 0.1], np.float32), np.eye(4, dtype=np.float32)[:2]
    form = Popularity(IDS, scores, np.array(["north", "south"]), regional)
    asked = ["south", "east", "", "north", "zoo"]
    starts, none = np.zeros(6, np.int64), np.empty(0)
    many = Histories(4, starts, none.astype(np.int32), none.astype(np.float32), none, None, np.array(asked))
    wanted = np.stack([regional[1], scores, scores, regional[0], scores])
    assert np.array_equal(form.score_many(many, AT), wanted)
    assert np.array_equal(form.score_many(many.part(3, 5), AT), wanted[3:])
    for row, region in enumerate(asked):
        assert np.array_equal(form.score(MemberHistory(region=region), AT), wanted[row])
        assert many.member(row).region == region
    with pytest.raises(LearnedError, match="regional"):
        Popularity(IDS, scores, np.array(["north"]), regional)


def test_popularity_saved_before_there_were_regions_is_read_without_them() -> None:
    form = Popularity(IDS, np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    arrays = {name: array for name, array in to_arrays(form).items() if name in {"product_ids", "scores"}}
    back = from_arrays("popularity", arrays)
    assert isinstance(back, Popularity)
    assert len(back.regions) == 0
    assert back.score(MemberHistory(region="north"), AT) is back.scores
