"""A programme and the real public histories, for the tests of features."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from features.entities import PointsRules, Programme, SegmentRules, Tier


@pytest.fixture(scope="session")
def programme() -> Programme:
    return Programme(
        currency="EUR",
        timezone="Europe/Rome",
        tiers=(Tier("basic", "Basic", 0.0, 365, 1.0), Tier("gold", "Gold", 100.0, 30, 2.0)),
        points=PointsRules(expiry_days=90, cost_per_point=0.01, redeemed_share=0.75),
        segments=SegmentRules(45, 2.5, 180, 1200.0, 350.0, 60),
        default_margin_rate=0.25,
    )


@pytest.fixture(scope="session")
def public_data() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("TESSERA_DATA", beside))
    if not folder.is_dir():
        pytest.skip(
            "the public histories are not here: set TESSERA_DATA to the folder that holds online_retail/ and more"
        )
    return folder
