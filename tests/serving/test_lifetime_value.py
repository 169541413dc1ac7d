import shutil
from pathlib import Path

import numpy as np
import pytest

from features import catalog, history
from features.behavior import names
from features.learned.lifetime import DERIVED, HABITS, Lifetime, save_lifetime
from features.learned.lifetime_golden import of_lifetime
from features.learned.trees import Trees
from features.workspace import Workspace
from serving.bundles import exactly, take_up
from serving.champions import Champions
from serving.openapi import document
from tests.serving import small_programme
from tests.serving.running import Running, served

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


BUYER = "M0000001"
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


def test_a_profile_over_http_shows_it_where_a_model_serves_and_null_where_none_does(
    built_home: Path, tmp_path: Path, service: Running
) -> None:
    with service.http() as http:
        assert http.get(f"/v1/members/{BUYER}").json()["lifetime_value"] is None
    ws = Workspace(shutil.copytree(built_home, tmp_path / "home"))
    put(ws, "1")
    small_programme.crown(ws, lifetime="1")
    with served(ws.root) as running, running.http() as http:
        told = http.get(f"/v1/members/{BUYER}").json()["lifetime_value"]
    lines = history.read(ws.tables, "purchases")
    own = lines[lines["member_id"] == BUYER]
    a_time = own["amount"].sum() / own.loc[own["quantity"] > 0, "basket_id"].nunique()  # a return is no basket
    assert told["months_12"]["value"] == pytest.approx(2 * 12 * a_time / 4, rel=1e-4)  # bought lately: twice as much
    assert told["months_36"]["value"] == pytest.approx(2 * told["months_12"]["value"], rel=1e-6)
    for months in (told["months_12"], told["months_36"]):
        assert (months["low"], months["high"]) == pytest.approx((months["value"] / 2, months["value"] * 2), rel=1e-6)
        assert months["extrapolated"]
    assert (told["basis"], told["learned_days"], told["confidence"]) == ("model", 90, 0.8)


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
