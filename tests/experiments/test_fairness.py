"""Gaps between groups: planted ones are flagged, those that declared rules explain are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.fairness import gaps


def _given(seed: int, *, by_tier: float = 1.0, by_region: float = 1.0, members: int = 4000) -> pd.DataFrame:
    """Gold members get it `by_tier` times as often, those of the north `by_region` times; the north has more gold."""
    dice = np.random.default_rng(seed)
    north = dice.random(members) < 0.4
    gold = dice.random(members) < np.where(north, 0.8, 0.2)
    chance = 0.3 * np.where(gold, by_tier, 1.0) * np.where(north, by_region, 1.0)
    got = (dice.random(members) < chance).astype(float)
    return pd.DataFrame(
        {
            "member_id": [f"m{each}" for each in range(members)],
            "tier": np.where(gold, "gold", "bronze"),
            "region": np.where(north, "north", "south"),
            "discount": 5 * got,
            "points": 0.0,
            "net": got,
            "gets:five-off": got,
        }
    )


def _verdicts(given: pd.DataFrame, threshold: float = 0.8) -> dict[tuple[str, str], str]:
    found = gaps(given, ("tier", "region"), ("tier",), threshold=threshold)
    return {(one.group, one.measure): one.verdict for one in found}


def test_what_follows_from_a_declared_tier_is_explained_and_what_follows_from_a_region_is_flagged() -> None:
    explained = _verdicts(_given(1, by_tier=2.5))
    assert explained["north", "discount"] == explained["south", "discount"] == "explained"
    assert explained["gold", "discount"] == "explained"
    flagged = _verdicts(_given(1, by_region=0.5))
    assert flagged["north", "gets:five-off"] == flagged["south", "gets:five-off"] == "flagged"


def test_a_gap_hidden_by_tiers_is_found_behind_equal_means() -> None:
    """Twice for gold makes up for the north's loss in the plain means, not among members of one tier."""
    found = gaps(_given(2, by_tier=2.5, by_region=0.6), ("region",), ("tier",))
    north = next(one for one in found if (one.group, one.measure) == ("north", "discount"))
    assert north.ratio > 0.8 > north.high and north.verdict == "flagged"
    assert north.low < 0.6 < north.high


def test_where_nothing_differs_next_to_nothing_is_flagged() -> None:
    verdicts = [verdict for seed in range(20) for verdict in _verdicts(_given(seed, members=1500)).values()]
    assert verdicts.count("flagged") == 0


def test_a_threshold_that_is_no_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="four fifths"):
        gaps(_given(1, members=100), ("region",), (), threshold=1.2)
