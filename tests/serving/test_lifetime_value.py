from pathlib import Path

import numpy as np
import pytest

from features import catalog
from features.behavior import names
from features.learned.lifetime import DERIVED, HABITS, Lifetime, save_lifetime
from features.learned.lifetime_golden import of_lifetime
from features.learned.trees import Trees
from features.workspace import Workspace
from serving.bundles import exactly, take_up
from serving.champions import Champions
from serving.openapi import document
from tests.serving import small_programme

FEATURES = (*HABITS, "spend_90d")


@pytest.fixture
def features(ws: Workspace) -> tuple[str, ...]:
    return names(catalog.load(ws.catalog).programme)


def form() -> Lifetime:
    """Nobody leaves, purchases come at 1/30 a day, a year at a time; trees double what active members are worth."""
    one = np.array
    trees = Trees(
        feature_names=one([*FEATURES, *DERIVED], np.str_),
        split_starts=one([0, 1], np.int32),
        leaf_starts=one([0, 2], np.int32),
        feature=one([FEATURES.index("spend_90d")], np.int32),
        threshold=one([0.0]),
        missing=one([2], np.int8),
        default_left=one([True]),
        left=one([-1], np.int32),
        right=one([-2], np.int32),
        split_value=one([0.0]),
        leaf_value=one([0.0, np.log(2.0)]),
        leaf_count=one([10.0, 10.0]),
    )
    table = np.log(np.broadcast_to(one([3.0, 12.0, 24.0])[:, None, None], (3, 2, 2)))
    return Lifetime(
        trees=trees,
        buying=one([1.0, 30.0, 1e-9, 1.0]),
        spending=one([1e9, 1.0 + 1e-9, 1e-9]),
        frequency=one([0.0, 100.0]),
        age=one([0.0, 1096.0]),
        purchases=np.ascontiguousarray(table),
        points=one([0.0]),
        low=one([0.5]),
        high=one([2.0]),
        level=float(np.log(0.25)),
        power=1.0,
        days=90.0,
        discount=0.1,
        confidence=0.8,
    )


def put(ws: Workspace, version: str, **golden: object) -> Path:
    folder = ws.bundles / "lifetime" / version
    save_lifetime(form(), folder)
    return small_programme.describe(folder, "lifetime", version, **golden)


def row(features: tuple[str, ...], **values: float) -> np.ndarray:
    found = np.full(len(features), np.nan)
    for name, value in values.items():
        found[features.index(name)] = value
    return found


MEMBER = {"lifetime_baskets": 4.0, "first_purchase_days": 100.0, "recency_days": 5.0, "lifetime_spend": 80.0}


def test_a_profile_says_value_interval_and_what_it_rests_on(ws: Workspace, features: tuple[str, ...]) -> None:
    """By hand: 3 purchases of 20 in 90 days at a margin of 1/4 are 15; 12 in a year 60, 24 in three years 120."""
    put(ws, "1")
    small_programme.crown(ws, lifetime="1")
    champions, faults = take_up(ws, features, Champions())
    assert not faults
    assert champions.lifetime is not None
    told = champions.lifetime.told(row(features, **MEMBER))
    assert told is not None
    months = {count: told.pop(f"months_{count}") for count in (12, 36)}
    assert told == {
        "basis": "model", "measure": "net_margin", "learned_days": 90, "confidence": 0.8, "discount_per_year": 0.1,
    }  # fmt: skip
    assert months[12] == pytest.approx({"value": 60, "low": 30, "high": 120, "extrapolated": True}, rel=1e-6)
    assert months[36] == pytest.approx({"value": 120, "low": 60, "high": 240, "extrapolated": True}, rel=1e-6)
    active = champions.lifetime.told(row(features, **MEMBER, spend_90d=40.0))
    assert active is not None
    assert active["months_12"]["value"] == pytest.approx(120, rel=1e-6)


def test_who_never_bought_has_none_and_so_has_everybody_without_a_model(
    ws: Workspace, features: tuple[str, ...]
) -> None:
    put(ws, "1")
    small_programme.crown(ws, lifetime="1")
    champions, _ = take_up(ws, features, Champions())
    assert champions.lifetime is not None
    assert champions.lifetime.told(row(features, lifetime_baskets=0.0)) is None
    assert Champions().lifetime is None


def test_a_model_that_answers_otherwise_or_wants_what_is_not_served_is_refused(
    ws: Workspace, features: tuple[str, ...]
) -> None:
    asked = np.array([[4.0, 100.0, 5.0, 80.0, 40.0]])
    golden = of_lifetime(form(), asked)
    put(ws, "1", golden=golden)
    assert exactly(ws, {"lifetime": "1"}, features).lifetime is not None
    golden["worth"][0][0] += 1.0
    put(ws, "2", golden=golden)
    small_programme.crown(ws, lifetime="2")
    _, faults = take_up(ws, features, Champions())
    assert "does not answer as it did" in faults[0]
    put(ws, "3")
    small_programme.crown(ws, lifetime="3")
    _, faults = take_up(ws, tuple(name for name in features if name != "spend_90d"), Champions())
    assert "features that are not served: spend_90d" in faults[0]


def test_the_openapi_document_describes_it(features: tuple[str, ...]) -> None:
    schemas = document()["components"]["schemas"]
    wanted = schemas["Member"]["properties"]["lifetime_value"]["anyOf"]
    assert wanted == [{"$ref": "#/components/schemas/LifetimeValue"}, {"type": "null"}]
    assert {"months_12", "months_36", "basis"} <= set(schemas["LifetimeValue"]["required"])
    assert set(HABITS) <= set(features)
