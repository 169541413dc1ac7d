from __future__ import annotations

import random
import string
from dataclasses import replace
from pathlib import Path

import pytest
from growthbook.core import chooseVariation, gbhash, getBucketRanges
from hypothesis import given
from hypothesis import strategies as st

from serving import assignment
from serving.assignment import Experiment, ExperimentError, Experiments, Variant
from tests.serving.deciding import AT, CATALOG, CONFIGS, DAY, POLICY, varied

EXAMPLE = (CONFIGS / "experiments" / "2026-points-or-money.yaml").read_text(encoding="utf-8")
MEMBERS = [f"M{index:08d}" for index in range(20_000)]


def experiment(**over: object) -> Experiment:
    plain = Experiment(
        key="points",
        layer="offers",
        layer_salt="layer-1",
        layer_buckets=((0, 10_000),),
        salt="points-1",
        families=("offer",),
        tiers=(),
        lifecycles=(),
        start=AT - DAY,
        ends=None,
        coverage=1.0,
        variants=(Variant("control", 0.5), Variant("treat", 0.5, frozenset({"double-points"}))),
    )
    return replace(plain, **over)  # type: ignore[arg-type]


def enrol(one: Experiment, name: str, **over: object) -> assignment.Enrolment:
    where = {"family": "offer", "at": AT, "tier": "silver", "lifecycle": "active", "exposures": {}, **over}
    return assignment.enrol(Experiments("v", (one,)), member_id=name, **where)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seed", "identity", "place"),
    [
        ("seed", "a", 0.0505),
        ("seed", "b", 0.2696),
        ("foo", "ab", 0.2575),
        ("foo", "def", 0.2019),
        ("90850943850283058242805", "123", 0.7516),
    ],
)
def test_the_hash_gives_the_published_values(seed: str, identity: str, place: float) -> None:
    assert assignment.u(seed, identity) == place


@pytest.mark.parametrize(
    ("coverage", "weights", "expected"),
    [
        (1.0, [0.5, 0.5], [(0, 0.5), (0.5, 1)]),
        (0.5, [0.5, 0.5], [(0, 0.25), (0.5, 0.75)]),
        (0.5, [0.4, 0.6], [(0, 0.2), (0.4, 0.7)]),
        (1.0, [0.4, 0.1], [(0, 0.5), (0.5, 1)]),
        (-0.2, [0.5, 0.5], [(0, 0), (0.5, 0.5)]),
        (1.5, [0.4, 0.6], [(0, 0.4), (0.4, 1)]),
    ],
)
def test_ranges_are_the_published_ones(
    coverage: float, weights: list[float], expected: list[tuple[float, float]]
) -> None:
    assert [pytest.approx(one) for one in expected] == assignment.ranges(coverage, weights)


def test_twenty_thousand_random_members_get_the_variant_that_growthbook_gives() -> None:
    rng = random.Random(7)
    letters = string.ascii_letters + string.digits + "._:@+=~-"
    for _ in range(20_000):
        seed = "".join(rng.choices(letters, k=rng.randint(1, 20)))
        identity = "".join(rng.choices(letters, k=rng.randint(1, 30)))
        coverage, weight = rng.random(), rng.random()
        place = assignment.u(seed, identity)
        assert place == gbhash(seed, identity, 2)
        mine = assignment.chosen(place, assignment.ranges(coverage, [weight, 1 - weight]))
        theirs = chooseVariation(place, getBucketRanges(2, coverage, [weight, 1 - weight]))
        assert (-1 if mine is None else mine) == theirs


@given(
    identity=st.text(string.ascii_letters + string.digits, min_size=1, max_size=20),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
    weight=st.floats(0.01, 0.99),
)
def test_raising_coverage_moves_nobody_to_another_variant(
    identity: str, low: float, high: float, weight: float
) -> None:
    low, high = sorted((low, high))
    arms = (Variant("a", weight), Variant("b", 1 - weight))
    before = assignment.variant(experiment(coverage=low, variants=arms), identity)
    after = assignment.variant(experiment(coverage=high, variants=arms), identity)
    assert before is None or before == after


def test_weights_are_kept_within_chance() -> None:
    arms = (Variant("a", 0.2), Variant("b", 0.8))
    found = [assignment.variant(experiment(variants=arms), name) for name in MEMBERS]
    assert 0.19 < sum(one == arms[0] for one in found) / len(MEMBERS) < 0.21


def test_layer_and_variant_are_independent() -> None:
    inside = [name for name in MEMBERS if assignment.bucket("layer-1", name) < 5_000]
    treated = [name for name in inside if assignment.u("points-1", name) >= 0.5]
    assert 0.48 < len(treated) / len(inside) < 0.52


def test_the_first_exposure_sticks_whatever_the_weights_say_since() -> None:
    one = experiment(variants=(Variant("a", 1.0), Variant("b", 0.0)))
    assert enrol(one, "m1").exposures == {"points": "a"}
    assert enrol(one, "m1", exposures={"points": "b"}).exposures == {"points": "b"}
    assert enrol(one, "m1", exposures={"points": "gone"}).exposures == {"points": "a"}


@pytest.mark.parametrize(
    ("over", "where"),
    [
        ({"start": AT + 1}, {}),
        ({"ends": AT}, {}),
        ({"coverage": 0.0}, {}),
        ({"layer_buckets": ((0, 0),)}, {}),
        ({"tiers": ("gold",)}, {}),
        ({"lifecycles": ("lapsed",)}, {}),
        ({}, {"family": "benefit"}),
    ],
)
def test_who_is_not_meant_is_not_enrolled(over: dict[str, object], where: dict[str, object]) -> None:
    assert enrol(experiment(), "m1").exposures
    assert enrol(experiment(**over), "m1", **where) == assignment.Enrolment()


def test_a_variant_withholds_what_only_the_others_give() -> None:
    one = experiment(
        variants=(Variant("a", 1.0, frozenset({"x", "y"})), Variant("b", 0.0, frozenset({"y", "z"}), '{"delta":0.0}'))
    )
    assert enrol(one, "m1").withheld == {"z"}
    other = enrol(one, "m1", exposures={"points": "b"})
    assert other.withheld == {"x"}
    assert other.overrides == ('{"delta":0.0}',)


def test_the_holdout_is_drawn_once_per_window_with_its_share() -> None:
    policy = varied(holdout={"share": 0.1})
    start = AT // (28 * DAY) * 28 * DAY
    held = {name for name in MEMBERS if assignment.held_out(name, start, policy)}
    assert 0.09 < len(held) / len(MEMBERS) < 0.11
    assert {name for name in MEMBERS if assignment.held_out(name, start + 28 * DAY - 1, policy)} == held
    following = {name for name in MEMBERS if assignment.held_out(name, start + 28 * DAY, policy)}
    assert 0.05 < len(held & following) / len(held) < 0.15


def test_the_example_experiment_fits_catalogue_and_policy() -> None:
    found = assignment.load(CONFIGS / "experiments")
    assert [one.key for one in found.experiments] == ["2026-points-or-money"]
    assert assignment.problems(found, CATALOG, POLICY) == []
    assert assignment.from_json(assignment.to_json(found)) == found


def test_no_folder_means_no_experiments(tmp_path: Path) -> None:
    assert assignment.load(tmp_path / "nowhere") == assignment.NONE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("coverage: 1.0", "coverage: 1.5", "coverage 1.5: it should be less than or equal to 1; change it"),
        ("weight: 0.5, offers: [five", "weight: 0.4, offers: [five", "add up to 0.9; they must add up to 1"),
        ("[[0, 2000]]", "[[2000, 0]]", "layer_buckets [2000, 0] is no range"),
        ("id: points,", "id: control,", 'variant "control" is written 2 times; keep one'),
        ("start: 2010-01-01", "start: 2010-01-01\nends: 2009-01-01", "ends 2009-01-01 before it starts 2010-01-01"),
        ("hash_algo: fnv1a32x2-10k", "hash_algo: fnv1a32", 'hash_algo "fnv1a32" is unknown'),
        ("coverage:", "covrage:", 'unknown key "covrage"; did you mean "coverage"?'),
    ],
)
def test_a_mistake_in_an_experiment_is_told(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in EXAMPLE
    (tmp_path / "e.yaml").write_text(EXAMPLE.replace(old, new), encoding="utf-8")
    with pytest.raises(ExperimentError) as caught:
        assignment.load(tmp_path)
    assert any(one.startswith("e.yaml: ") and said in one for one in caught.value.errors)


def test_two_experiments_may_share_neither_key_nor_salt_nor_buckets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(EXAMPLE, encoding="utf-8")
    with pytest.raises(ExperimentError) as caught:
        assignment.load(tmp_path)
    assert ["is used twice" in caught.value.errors[0], "share the salt" in caught.value.errors[1]] == [True, True]
    assert "share buckets of layer" in caught.value.errors[2]


def test_an_experiment_that_fits_neither_catalogue_nor_policy_is_told() -> None:
    one = experiment(
        tiers=("golden",),
        variants=(Variant("a", 0.5, frozenset({"double-point"})), Variant("b", 0.5, override='{"salt": "x"}')),
    )
    found = assignment.problems(Experiments("v", (one,)), CATALOG, POLICY)
    assert 'unknown offer "double-point"; did you mean "double-points"?' in found[0]
    assert 'unknown tier "golden"; did you mean "gold"?' in found[1]
    assert 'variant "b": a variant may not change salt' in found[2]
