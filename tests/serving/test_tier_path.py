from __future__ import annotations

import secrets
from contextlib import closing
from itertools import combinations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import history
from features.learned.faults import LearnedError
from features.learned.tier_outcome import TierOutcome, from_json, to_json
from features.workspace import Workspace
from serving.house import House, open_house
from serving.problems import RefusedError
from serving.tier_path import Option, cheapest, together
from serving.views import Views
from tests.serving.running import Running

MODEL = TierOutcome((0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0), (-3.0, *[0.0] * 6), 0.3, 3.5, 0.3, 0.2)


def option(name: str, effect: float, cost: float, times: int = 1) -> Option:
    return Option(name, name, "offer", effect, cost, "prior", times)


_OPTIONS = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.integers(1, 3), st.floats(0.01, 0.6), st.integers(0, 20)),
    max_size=12,
    unique_by=lambda one: one[:2],
)


@given(drawn=_OPTIONS, wanted=st.floats(0.01, 0.95))
def test_no_set_of_three_is_cheaper_than_the_one_that_is_found(
    drawn: list[tuple[str, int, float, int]], wanted: float
) -> None:
    offered = [option(name, effect, float(cost), times) for name, times, effect, cost in drawn]
    every = [
        some
        for size in (1, 2, 3)
        for some in combinations(offered, size)
        if len({one.id for one in some}) == size and together(some) >= wanted
    ]
    found = cheapest(offered, wanted)
    assert (found is None) == (not every)
    if found is not None:
        assert sum(one.cost for one in found) == min(sum(one.cost for one in some) for some in every)


def test_effects_of_several_do_not_add_up() -> None:
    assert together([option("a", 0.5, 1.0), option("b", 0.5, 1.0)]) == pytest.approx(0.75)


def ready(ws: Workspace) -> House:
    ws.tier_outcome.write_bytes(to_json(MODEL))
    return open_house(ws, secrets.token_bytes, open_door=True, patient=True)


def test_members_are_told_their_outlook_and_what_would_change_it(ws: Workspace) -> None:
    members = sorted(history.read(ws.tables, "members", ["member_id"])["member_id"].unique())[:25]
    steps = []
    with closing(ready(ws)) as house:
        for member in members:
            outlook = Views(house).member(member)["tier"]["outlook"]
            assert sum(outlook["chance"].values()) == pytest.approx(1.0)
            found = Views(house).tier_path(member)
            for goal in found["goals"]:
                assert goal["chance"] <= goal["best_chance"] + 1e-12
                steps += [(goal, step) for step in goal["paths"]]
                if goal["goal"] == "reach":
                    assert goal["chance"] == pytest.approx(outlook["chance"]["upgrade"])
    reached = [(goal, step) for goal, step in steps if step["reached"]]
    assert len(reached) < len(steps)
    for goal, step in reached:
        assert goal["chance"] < step["target"] <= step["chance"] + 1e-9 <= goal["best_chance"] + 2e-9
        assert step["cost"] == pytest.approx(sum(one["cost"] for one in step["set"]))
    nothing = next(goal for goal, step in steps if not any(one["reached"] for one in goal["paths"]))
    assert nothing["text"].startswith("Noth")


def test_without_a_forecast_no_chance_is_told_and_no_path(ws: Workspace) -> None:
    with closing(open_house(ws, secrets.token_bytes, open_door=True, patient=True)) as house:
        assert Views(house).member("M0000001")["tier"]["outlook"]["chance"] is None
        with pytest.raises(RefusedError, match="tessera tiers --fit"):
            Views(house).tier_path("M0000001")


def test_the_path_is_a_route_of_the_service(service: Running) -> None:
    with service.http() as http:
        assert http.get("/v1/members/nobody/tier-path").status_code == 404
        assert "/v1/members/{member_id}/tier-path" in http.get("/openapi.json").json()["paths"]


def test_parameters_survive_their_file() -> None:
    assert from_json(to_json(MODEL)) == MODEL
    broken = {**orjson.loads(to_json(MODEL)), "within": -1.0}
    with pytest.raises(LearnedError, match="variance is not above 0"):
        from_json(orjson.dumps(broken))
