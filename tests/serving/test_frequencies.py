"""What is logged as a chance is how often it comes: every slate worked out on every way, and counted."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.entities import Budget, Catalog
from serving import slate
from serving.assignment import NONE
from serving.decide import decide
from serving.policy import draw, nothing_is_drawn
from serving.snapshot import Ask, Contact, Estimate, Learned, Placement, Snapshot
from tests.serving import enumerated
from tests.serving.deciding import AT, CATALOG, CONSENTS, DAY, FEATURES, varied

POLICY = varied(
    holdout={"share": 0.0},
    contact={"quiet_hours": []},
    families={
        "offer": {"do_nothing_floor": 0.1},
        "action": {"do_nothing_floor": 0.1},
        "benefit": {"explore": True},
    },
    exploration={"allowance": 1.0, "gamma": 3.0, "floor": 0.3, "share": 0.2, "least": 0.02},
)
LIMITED = replace(
    CATALOG,
    version="limited",
    budgets=(
        Budget("cash", "Cash", "money", 1000.0),
        Budget("points", "Points", "points", 50_000.0, families=("offer",)),
        Budget("quota", "Quota", "messages", 100.0),
        Budget("stock", "Gifts", "units", 20.0, types=("gift",)),
    ),
)


@dataclass(frozen=True)
class Case:
    """One kind of member with one request; `gone` is what a reservation is refused for, once it was drawn."""

    snapshot: Snapshot
    asked: Ask
    learned: Learned
    gone: frozenset[str]


def case(seed: int) -> Case:
    """Features, contacts, prices, empty budgets, pauses, effects and places, all by the seed."""
    rng = random.Random(seed)
    every = [*CATALOG.offers, *CATALOG.actions]
    features = {name: value * rng.uniform(0.3, 2.0) for name, value in FEATURES.items()} | {
        "tier_rank": float(rng.randrange(4))
    }
    contacts = tuple(
        Contact(AT - rng.uniform(0.1, 80) * DAY, one.id, one.type, one.family, rng.choice(("app", "email", "push")))
        for one in rng.sample(every, rng.randrange(6))
    )
    effects = {
        one.id: Estimate(rng.uniform(0.05, 0.6), rng.gauss(0.08, 0.1), -0.2, 0.3, "experiment")
        for one in every
        if rng.random() < 0.6
    }
    snapshot = Snapshot(
        f"case{seed}", AT, known=rng.random() < 0.9, features=features,
        consents={name: rng.random() < 0.8 for name in CONSENTS},
        contacts=tuple(sorted(contacts, key=lambda one: one.at)),
        paused=frozenset(one.id for one in rng.sample(every, rng.randrange(3))),
        prices={"cash": rng.choice((0.0, 0.4)), "points": rng.choice((0.0, 0.002)), "quota": rng.choice((0.0, 0.05))},
        spent_out=frozenset(rng.sample(("cash", "points", "quota", "stock"), int(rng.random() < 0.2))),
    )  # fmt: skip
    places = tuple(Placement(f"place{number}", rng.randrange(1, 3)) for number in range(rng.randrange(1, 3)))
    asked = Ask(
        rng.choice(("offer", "action", "offer", "action", "benefit")),
        places,
        channel=rng.choice(("app", "web", "email", "push")),
    )
    learned = Learned(churn=rng.random(), products=(("p1", 1.0),), effects=effects)
    return Case(snapshot, asked, learned, frozenset(one.id for one in rng.sample(every, 4)))


def slates(of: Case, catalog: Catalog = LIMITED, fell: float | None = None) -> tuple[Any, Any]:
    return enumerated.slates(of.snapshot, of.asked, of.learned, catalog, POLICY, fell)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10**6))
def test_on_every_way_the_product_of_the_logged_chances_is_the_chance_of_the_slate(seed: int) -> None:
    true, logged = slates(case(seed))
    assert sum(true.values()) == pytest.approx(1.0, abs=1e-12)
    assert logged == pytest.approx(true, rel=1e-9, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_after_a_refusal_the_chances_are_those_of_members_on_whom_no_floor_fell(seed: int) -> None:
    found = case(seed)
    again = replace(found, snapshot=replace(found.snapshot, refused=found.gone))
    true, logged = slates(again, fell=0.0)
    assert logged == pytest.approx(true, rel=1e-9, abs=1e-15)


def counted(cases: int, keys: int) -> tuple[list[tuple[float, int]], list[tuple[float, int]], int]:
    """Decide for `cases` × `keys` members, and again for those who drew what is gone: statistics of both."""
    first, second, redecided = [], [], 0
    for seed in range(cases):
        one = case(seed)
        seen: Counter[Any] = Counter()
        after: dict[frozenset[str], Counter[Any]] = defaultdict(Counter)
        for key in range(keys):
            snapshot = replace(one.snapshot, member_id=f"{seed}-{key}")
            found = decide(snapshot, one.asked, one.learned, LIMITED, POLICY, NONE)
            seen[enumerated.of(found)] += 1
            refused = frozenset(each.id for each in found.results if each.id in one.gone and each.probability < 1.0)
            if refused and one.asked.family != "benefit":
                redecided += 1
                again = decide(replace(snapshot, refused=refused), one.asked, one.learned, LIMITED, POLICY, NONE)
                after[refused][enumerated.of(again)] += 1
        first.append(enumerated.chi_square(seen, slates(one)[1]))
        for refused, many in after.items():
            without = replace(one, snapshot=replace(one.snapshot, refused=refused))
            second.append(enumerated.chi_square(many, slates(without)[1]))
    return first, second, redecided


def said(title: str, found: list[tuple[float, int]]) -> float:
    p = enumerated.p_value(found)
    freedom = sum(one for _, one in found)
    print(f"{title}: chi-square {sum(one for one, _ in found):.1f}, {freedom} degrees of freedom, p = {p:.3f}")
    return p


def test_whole_slates_come_as_often_as_logged_and_so_do_those_after_a_refusal() -> None:
    first, second, redecided = counted(cases=25, keys=300)
    assert redecided > 600
    assert said("slates", first) > 0.001
    assert said("after a refusal", second) > 0.001


@pytest.mark.slow
def test_over_a_hundred_thousand_requests_slates_come_as_often_as_logged() -> None:
    first, second, redecided = counted(cases=50, keys=2_000)
    assert redecided > 10_000
    assert said("100,000 slates", first) > 0.001
    assert said(f"{redecided:,} slates after a refusal", second) > 0.001


@pytest.mark.parametrize("wrong", ["the line is cut", "the floor is forgotten", "the floor falls too often"])
def test_a_wrong_chance_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's power: each fault moves chances by a few hundredths."""
    if wrong == "the line is cut":  # the last 5 % of every line are never drawn
        monkeypatch.setattr(slate, "draw", lambda chances, number: draw(chances, 0.95 * number))
    elif wrong == "the floor is forgotten":
        monkeypatch.setattr(slate, "nothing_is_drawn", lambda *_: False)
    else:
        names = iter(range(10**9))
        monkeypatch.setattr(slate, "nothing_is_drawn", lambda *_: random.Random(next(names)).random() < 0.16)
    first, _, _ = counted(cases=12, keys=400)
    assert enumerated.p_value(first) < 1e-6


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), day=st.floats(0, 13.99), family=st.sampled_from(("offer", "action")))
def test_floor_and_holdout_are_one_draw_for_the_whole_window_whatever_else_changes(
    seed: int, day: float, family: str
) -> None:
    """Prices, effects, contacts, pauses and places differ: a member is left alone throughout, or not at all."""
    policy = varied(
        holdout={"share": 0.3, "window_days": 28},
        families={"offer": {"do_nothing_floor": 0.3}, "action": {"do_nothing_floor": 0.3}},
    )
    start = AT // (28 * DAY) * 28 * DAY
    one, other = case(seed), case(seed + 1)
    sides, floors = set(), set()
    for found, moment in ((one, start + 60.0), (other, start + day * DAY)):
        snapshot = replace(found.snapshot, member_id=f"w{seed}", at=moment, contacts=(), spent_out=frozenset())
        asked = replace(found.asked, family=family)  # type: ignore[arg-type]
        decision = decide(snapshot, asked, found.learned, LIMITED, policy, NONE)
        fell = nothing_is_drawn(snapshot.member_id, "offer", moment, policy)
        sides.add(decision.mode == "holdout")
        floors.add(fell)
        rights = {one.id for one in (*LIMITED.offers, *LIMITED.actions) if one.entitlement}
        given_ids = {each.id for each in decision.results} - rights - {"do_nothing"}
        assert not (given_ids and (fell or decision.mode == "holdout"))
        if given_ids:
            again = decide(replace(snapshot, refused=frozenset(given_ids)), asked, found.learned, LIMITED, policy, NONE)
            assert again.mode != "holdout"
            assert all(each.reasons[0].code != "NOTHING_FLOOR" for each in again.results if each.id == "do_nothing")
    assert len(sides) == len(floors) == 1
