from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product as combinations
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.entities import Candidate, Catalog, Conditions, Economics
from serving import assignment
from serving.assignment import NONE, Experiment, Experiments, Variant
from serving.decide import decide, period_key
from serving.policy import Policy, nothing_is_drawn
from serving.snapshot import Ask, Contact, Decision, Learned, Placement, ResponseEstimate, Snapshot
from tests.serving.deciding import (
    AT,
    CATALOG,
    CERTAIN,
    CONSENTS,
    DAY,
    EVERYBODY,
    FEATURES,
    KNOWN,
    POLICY,
    ask,
    member,
    offers,
    stranger,
    varied,
)

FAMILIES = ("offer", "action", "benefit")


def run(
    snapshot: Snapshot | None = None,
    asked: Ask | None = None,
    learned: Learned = KNOWN,
    catalog: Catalog = CATALOG,
    policy: Policy = POLICY,
    experiments: Experiments = NONE,
) -> Decision:
    return decide(snapshot or member(), asked or ask(), learned, catalog, policy, experiments)


def gift(name: str, net: float, **over: Any) -> Candidate:
    """A gift that is worth `net` to our member: margin 10 a basket, response and effect 0.5, nothing else."""
    economics = Economics(cost=10.0 - 2 * net, response=0.5, effect_share=1 / 0.85, retention=0.0)
    return Candidate(name, "offer", "gift", name, economics=economics, **over)


def ids(decision: Decision) -> list[str]:
    return [result.id for result in decision.results]


def by_rank(decision: Decision) -> Iterator[tuple[Any, Any]]:
    yield from zip(decision.results, decision.chances, strict=True)


def passed_once_in_a_thousand(freedom: int) -> float:
    """The chi-square value passed with probability 0.001 (Wilson & Hilferty 1931)."""
    return float(freedom * (1 - 2 / (9 * freedom) + 3.0902 * math.sqrt(2 / (9 * freedom))) ** 3)


def chi_square(observed: Counter[Any], expected: dict[Any, float]) -> tuple[float, int]:
    assert set(observed) <= {name for name, count in expected.items() if count > 0}
    cells = {name: count for name, count in expected.items() if count >= 5}
    return sum((observed[name] - count) ** 2 / count for name, count in cells.items()), len(cells) - 1


def test_the_test_catalogue_is_worth_what_it_says() -> None:
    found = run(catalog=offers(gift("a", 1.0), gift("b", 0.8)), policy=CERTAIN, asked=ask(count=2))
    assert [(result.id, result.value.net) for result in found.results] == [("a", 1.0), ("b", 0.8)]


def test_an_offer_competes_for_the_next_best_action_and_an_action_never_for_an_offer() -> None:
    rich = offers(gift("a", 0.01))
    action = run(catalog=rich, policy=CERTAIN, asked=ask("action", count=40))
    assert ("a", "offer") in [(result.id, result.kind) for result in action.results]
    offer = run(catalog=rich, policy=CERTAIN, asked=ask("offer", count=40))
    assert {result.id for result in offer.results} <= {"a", "do_nothing"}


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_sum_to_one_at_every_rank_and_the_slate_is_their_product(family: str) -> None:
    for index in range(200):
        places = (Placement("hero", 1), Placement("wallet", 3))
        found = run(member(f"m{index}"), Ask(family, places, channel="app"))  # type: ignore[arg-type]
        together = math.prod(result.probability for result in found.results)
        for result, chances in by_rank(found):
            assert math.fsum(chances.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
            assert chances.probabilities[result.id] == result.probability > 0.0
            assert (chances.placement, chances.rank) == (result.placement, result.rank)
            assert result.slate_probability == pytest.approx(together, rel=1e-12)


def test_nothing_is_given_twice_and_doing_nothing_ends_its_placement() -> None:
    ended = 0
    for index in range(300):
        found = run(member(f"m{index}"), Ask("offer", (Placement("a", 3), Placement("b", 3)), channel="app"))
        given_ids = [one for one in ids(found) if one != "do_nothing"]
        assert len(given_ids) == len(set(given_ids))
        for place in ("a", "b"):
            here = [result for result in found.results if result.placement == place]
            assert [result.rank for result in here] == list(range(1, len(here) + 1))
            assert all(result.id != "do_nothing" for result in here[:-1])
            ended += here[-1].id == "do_nothing"
    assert ended > 10


SHELF = offers(gift("a", 1.0), gift("b", 0.9), gift("c", 0.85), gift("d", 0.2))
OPEN = varied(
    holdout={"share": 0.0},
    families={"offer": {"do_nothing_floor": 0.2}},
    exploration={"allowance": 0.5, "gamma": 2.0, "floor": 0.1, "share": None, "least": 0.0},
)
EVEN = varied(
    holdout={"share": 0.0},
    families={"offer": {"do_nothing_floor": 0.2}},
    exploration={"allowance": 2.0, "gamma": 2.0, "floor": 0.1, "share": None, "least": 0.0},
)


def test_observed_frequencies_match_the_logged_ones_over_a_hundred_thousand_keys() -> None:
    first: Counter[str] = Counter()
    found = run(catalog=SHELF, policy=OPEN)
    for index in range(100_000):
        first[run(member(f"k{index}"), catalog=SHELF, policy=OPEN).results[0].id] += 1
    expected = {name: chance * 100_000 for name, chance in found.chances[0].probabilities.items()}
    statistic, freedom = chi_square(first, expected)
    assert freedom == 3
    assert statistic < passed_once_in_a_thousand(freedom)
    assert expected["d"] == 0.0
    assert expected["do_nothing"] == pytest.approx(20_000)


def test_whole_slates_come_as_often_as_their_probability_says() -> None:
    """Two placements: a floor that fell on the first is likelier on the second, and nothing can come by chance too."""
    asked = Ask("offer", (Placement("hero", 2), Placement("wallet", 1)), channel="app")
    seen: Counter[tuple[str, ...]] = Counter()
    expected: dict[tuple[str, ...], float] = {}
    for index in range(30_000):
        found = run(member(f"s{index}"), asked, catalog=SHELF, policy=EVEN)
        slate = tuple(f"{result.placement}{result.rank}{result.id}" for result in found.results)
        seen[slate] += 1
        expected[slate] = found.results[0].slate_probability * 30_000
    assert sum(expected.values()) == pytest.approx(30_000, rel=0.002)
    statistic, freedom = chi_square(seen, expected)
    assert freedom > 20
    assert statistic < passed_once_in_a_thousand(freedom)


def test_given_that_nothing_came_first_the_floor_is_likelier_by_bayes_rule() -> None:
    asked = Ask("offer", (Placement("hero", 1), Placement("wallet", 1)), channel="app")
    decisions = [run(member(f"b{index}"), asked, catalog=SHELF, policy=EVEN) for index in range(400)]
    empty = next(one for one in decisions if ids(one)[0] == "do_nothing")
    filled = next(one for one in decisions if ids(one)[0] != "do_nothing")
    at_first = empty.chances[0].probabilities["do_nothing"]
    drawn = (at_first - 0.2) / 0.8
    fallen = 0.2 / at_first
    assert empty.chances[1].probabilities["do_nothing"] == pytest.approx(fallen + (1 - fallen) * drawn)
    assert filled.chances[1].probabilities["do_nothing"] < drawn + 0.2 * (1 - drawn)


def test_the_same_inputs_give_the_same_bytes() -> None:
    for family in FAMILIES:
        snapshot = replace(member(), contacts=(Contact(AT - DAY, "five-off", "discount_amount", "offer", "app"),))
        assert orjson.dumps(run(snapshot, ask(family, 3))) == orjson.dumps(run(snapshot, ask(family, 3)))


def test_within_a_period_the_draw_is_the_same_and_the_next_day_it_is_new() -> None:
    names = [f"m{index}" for index in range(300)]
    today = [ids(run(member(name), policy=EVERYBODY)) for name in names]
    later = [ids(run(replace(member(name), at=AT + DAY / 2), policy=EVERYBODY)) for name in names]
    tomorrow = [ids(run(replace(member(name), at=AT + DAY), policy=EVERYBODY)) for name in names]
    assert today == later
    assert sum(one != other for one, other in zip(today, tomorrow, strict=True)) > 15


def test_members_families_placements_and_salts_are_drawn_apart() -> None:
    def firsts(asked: Ask, policy: Policy) -> list[str]:
        return [run(member(f"m{index}"), asked, catalog=SHELF, policy=policy).results[0].id for index in range(300)]

    one = firsts(ask(), EVEN)
    assert len(set(one)) == 5
    for other in (
        firsts(Ask("offer", (Placement("wallet"),), channel="app"), EVEN),
        firsts(ask(), varied(**{**EVEN.model_dump(mode="json"), "salt": "another"})),
    ):
        assert 100 < sum(a != b for a, b in zip(one, other, strict=True)) < 290


def test_after_a_refused_reservation_the_candidate_is_gone_and_the_draw_is_fresh() -> None:
    refused = replace(member(), refused=frozenset({"a"}))
    found = run(refused, catalog=SHELF, policy=EVEN)
    assert "a" not in ids(found)
    assert [(one.id, one.stage) for one in found.suppressed] == [("a", "stock")]
    changed = 0
    without = offers(*SHELF.offers[1:])
    for index in range(200):
        again = run(replace(member(f"m{index}"), refused=frozenset({"a"})), catalog=SHELF, policy=EVEN)
        changed += ids(again) != ids(run(member(f"m{index}"), catalog=without, policy=EVEN))
    assert changed > 40


numbers = st.floats(0, 2000, allow_nan=False) | st.just(math.nan)
snapshots = st.builds(
    lambda name, values, known, consent: Snapshot(
        name,
        AT,
        known=known,
        features=dict(zip(FEATURES, values, strict=True)) if known else {},
        consents={**CONSENTS, "personalisation": consent} if known else {},
    ),
    st.text("abc0123", min_size=1, max_size=6),
    st.lists(numbers, min_size=len(FEATURES), max_size=len(FEATURES)),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(snapshot=snapshots, family=st.sampled_from(FAMILIES), count=st.integers(1, 4), churn=st.floats(0, 1) | st.none())
def test_the_laws_hold_for_any_member(snapshot: Snapshot, family: Any, count: int, churn: float | None) -> None:
    found = run(snapshot, ask(family, count), Learned(churn=churn, products=KNOWN.products), policy=EVERYBODY)
    assert orjson.dumps(found) == orjson.dumps(
        run(snapshot, ask(family, count), Learned(churn=churn, products=KNOWN.products), policy=EVERYBODY)
    )
    assert len(found.results) <= count
    for result, chances in by_rank(found):
        assert math.fsum(chances.probabilities.values()) == pytest.approx(1.0, abs=1e-12)
        assert 0.0 < result.probability <= 1.0
        assert result.value.net == pytest.approx(
            sum(getattr(result.value.bill, line) for line in result.value.bill.__slots__), abs=1e-9
        )
    everything = {one.id for one in (*CATALOG.offers, *CATALOG.actions, *CATALOG.benefits)}
    given_ids, dropped = set(ids(found)) - {"do_nothing"}, {one.id for one in found.suppressed}
    assert not given_ids & dropped
    assert given_ids | dropped <= everything


@settings(max_examples=40, deadline=None)
@given(snapshot=snapshots, place=st.integers(0, 12), net=st.floats(-5, 50))
def test_adding_a_candidate_that_nobody_may_have_changes_nothing_but_its_own_drop(
    snapshot: Snapshot, place: int, net: float
) -> None:
    barred = gift("barred", net, conditions=Conditions(min_tenure_days=1e9))
    more = replace(CATALOG, offers=(*CATALOG.offers[:place], barred, *CATALOG.offers[place:]))
    before, after = run(snapshot, ask(count=3)), run(snapshot, ask(count=3), catalog=more)
    assert [one.id for one in after.suppressed if one not in before.suppressed] == ["barred"]
    assert replace(after, suppressed=before.suppressed) == before


def test_the_do_nothing_floor_leaves_a_member_alone_for_the_whole_reward_window_and_only_then() -> None:
    start = AT // (14 * DAY) * 14 * DAY
    policy = varied(holdout={"share": 0.0}, families={"offer": {"do_nothing_floor": 0.3, "explore": False}})
    fallen = [f"m{i}" for i in range(60) if nothing_is_drawn(f"m{i}", "offer", start, policy)]
    assert 8 <= len(fallen) <= 30
    for name, day in combinations(fallen, (0, 5, 13)):
        found = run(replace(member(name), at=start + day * DAY), ask(count=3), policy=policy)
        assert ids(found) == ["do_nothing"]
        assert found.mode == "explore"
        assert found.results[0].probability == pytest.approx(0.3)
        assert found.results[0].reasons[0].code == "NOTHING_FLOOR"
    others = [name for name in fallen if not nothing_is_drawn(name, "offer", start + 14 * DAY, policy)]
    assert others
    assert all(ids(run(replace(member(name), at=start + 14 * DAY), policy=policy)) != ["do_nothing"] for name in others)


def held() -> str:
    return next(f"m{i}" for i in range(500) if assignment.held_out(f"m{i}", AT, POLICY))


@pytest.mark.parametrize("family", ["offer", "action"])
def test_who_is_held_out_gets_no_discretionary_offer_or_action(family: Any) -> None:
    found = run(member(held()), ask(family, 3))
    assert found.mode == "holdout"
    assert ids(found) == ["do_nothing"]
    assert found.results[0].probability == 1.0
    assert found.results[0].reasons[0].code == "HOLDOUT"
    shown = {one.id for one in run(member(held()), ask(family, 20), policy=EVERYBODY).suppressed}
    assert {one.id for one in found.suppressed if one.code == "HOLDOUT"}.isdisjoint(shown)


def test_who_is_held_out_keeps_rights_service_messages_and_product_lists() -> None:
    expiring = member(held(), points_expiring_30d=500.0)
    assert ids(run(expiring, ask("action"))) == ["points-expiry-reminder"]
    rights = {one.id for one in CATALOG.benefits if one.entitlement}
    given_ids = ids(run(expiring, ask("benefit", 20)))
    assert given_ids
    assert set(given_ids) <= rights
    found = run(expiring, ask("product", 3))
    assert (found.mode, ids(found)) == ("exploit", ["p1", "p2", "p3"])


@settings(max_examples=60, deadline=None)
@given(
    name=st.text("abc0123", min_size=1, max_size=6),
    tier=st.integers(0, 3),
    mailed=st.integers(0, 5),
    consent=st.booleans(),
    floor=st.sampled_from([0.0, 0.9]),
)
def test_a_right_of_the_tier_is_never_withheld(name: str, tier: int, mailed: int, consent: bool, floor: float) -> None:
    policy = varied(
        holdout={"share": 0.5}, families={family: {"do_nothing_floor": floor} for family in ("offer", "action")}
    )
    snapshot = replace(
        member(name, tier_rank=float(tier)),
        consents={**CONSENTS, "personalisation": consent},
        contacts=tuple(Contact(AT - day * DAY, "x", "gift", "offer", "email") for day in range(mailed, 0, -1)),
    )
    mine = CATALOG.programme.tiers[tier].id
    rights = {
        one.id
        for one in CATALOG.benefits
        if one.entitlement and (not one.conditions.tiers or mine in one.conditions.tiers)
    }
    found = run(snapshot, ask("benefit", 20, channel="email"), policy=policy)
    assert rights <= set(ids(found))
    assert all(result.probability == 1.0 for result in found.results if result.id in rights)
    assert set(ids(found)[: len(rights)]) == rights


def test_benefits_are_ordered_by_what_they_are_worth_to_the_member() -> None:
    found = run(asked=ask("benefit", 20), policy=CERTAIN)
    rights = [one.value.score for one in found.results if one.probability == 1.0][: len(found.results) - 1]
    assert rights == sorted(rights, reverse=True)
    assert found.mode == "exploit"


def test_a_policy_may_put_discretionary_benefits_to_chance_but_never_rights() -> None:
    policy = varied(
        holdout={"share": 0.0},
        families={"benefit": {"explore": True}},
        exploration={"allowance": 50.0, "share": None, "least": 0.0},
    )
    catalog = replace(
        CATALOG,
        version="benefits",
        benefits=(
            *CATALOG.benefits,
            replace(gift("one", 1.0), family="benefit"),
            replace(gift("two", 0.9), family="benefit"),
        ),
    )
    orders = set()
    for index in range(60):
        found = run(member(f"m{index}"), ask("benefit", 20), catalog=catalog, policy=policy)
        assert "do_nothing" not in ids(found)
        count = sum(one.entitlement for one in CATALOG.benefits if one.id in ids(found))
        assert all(result.probability == 1.0 for result in found.results[:count])
        orders.add(tuple(ids(found)[count:]))
    assert len(orders) > 1


def test_what_loses_money_is_not_given_to_fill_a_placement() -> None:
    found = run(catalog=offers(gift("a", 1.0), gift("b", -1.0)), policy=CERTAIN, asked=ask(count=3))
    assert ids(found) == ["a", "do_nothing"]
    assert found.mode == "exploit"


def test_a_lever_decides_between_two_that_are_nearly_alike() -> None:
    plain, pushed = gift("a", 1.0), gift("b", 0.8, lever=1.5)
    found = run(catalog=offers(plain, pushed), policy=CERTAIN)
    assert (ids(found), found.results[0].value.score) == (["b"], 0.8)


def test_an_unknown_member_gets_a_cold_start_answer_that_says_so() -> None:
    found = run(stranger(), policy=CERTAIN)
    assert ids(found) != ["do_nothing"]
    assert found.results[0].reasons[-1].code == "COLD_START"
    assert run(stranger(), ask("product", 2)).results[0].reasons[0].code == "POPULAR"


def test_an_experiments_estimate_decides_and_is_named_as_basis() -> None:
    learned = replace(KNOWN, responses={"gift": ResponseEstimate(0.5, 0.0, -0.02, 0.02)})
    found = run(catalog=offers(gift("a", 1.0)), policy=CERTAIN, learned=learned)
    assert ids(found) == ["do_nothing"]
    assert run(catalog=offers(gift("a", 1.0)), policy=CERTAIN).results[0].value.basis == "prior"


def trial(*variants: Variant) -> Experiments:
    one = Experiment(
        "trial", "layer", "ls", ((0, 10_000),), "trial-salt", ("offer",), (), (), AT - DAY, None, 1.0, variants
    )
    return Experiments("v", (one,))


def test_a_variant_gets_its_own_offers_and_the_exposure_is_written_with_the_decision() -> None:
    both = trial(Variant("left", 0.5, frozenset({"a"})), Variant("right", 0.5, frozenset({"b"})))
    catalog = offers(gift("a", 1.0), gift("b", 0.9))
    seen = {}
    for index in range(40):
        found = run(member(f"m{index}"), catalog=catalog, policy=CERTAIN, experiments=both)
        assert found.exposures == {"trial": found.variant}
        assert found.experiment == "trial"
        seen[found.variant] = (ids(found), [(one.id, one.code) for one in found.suppressed])
    assert seen == {"left": (["a"], [("b", "OTHER_VARIANT")]), "right": (["b"], [("a", "OTHER_VARIANT")])}


def test_a_variant_may_change_the_policy_and_the_stamp_names_what_it_was_made_from() -> None:
    both = trial(Variant("old", 0.0, frozenset({"a"})), Variant("new", 1.0, frozenset({"a"}), '{"delta":5.0}'))
    catalog = offers(Candidate("a", "offer", "gift", "A", economics=Economics(cost=1.0)))
    plain, changed = run(catalog=catalog, policy=CERTAIN), run(catalog=catalog, policy=CERTAIN, experiments=both)
    assert changed.results[0].value.bill.lifetime == pytest.approx(5 * plain.results[0].value.bill.lifetime)
    assert (changed.policy_version, changed.variant) == (CERTAIN.version, "new")


def test_who_is_held_out_takes_part_in_no_experiment() -> None:
    found = run(member(held()), experiments=trial(Variant("a", 0.5), Variant("b", 0.5, frozenset({"five-off"}))))
    assert (found.experiment, found.exposures) == (None, {})


def test_products_come_in_order_without_repeats_or_what_was_excluded() -> None:
    asked = Ask("product", (Placement("a", 1), Placement("b", 5)), exclude=("p2",))
    found = run(replace(member(), paused=frozenset({"p9"})), asked)
    assert [(one.placement, one.rank, one.id) for one in found.results] == [("a", 1, "p1"), ("b", 1, "p3")]
    assert [(one.id, one.code) for one in found.suppressed] == [("p2", "EXCLUDED")]
    assert [one.probabilities for one in found.chances] == [{"p1": 1.0}, {"p3": 1.0}]


def test_a_product_recommendation_names_the_products_and_is_dropped_without_any() -> None:
    asked = ask("action", include=("picked-for-you",))
    found = run(asked=asked, policy=CERTAIN)
    assert found.results[0].content["product_ids"] == "p1,p2,p3"
    assert "picked-for-you" not in ids(run(asked=asked, policy=CERTAIN, learned=Learned()))


def test_the_price_of_recent_contacts_can_make_silence_the_best_answer() -> None:
    catalog = offers(gift("a", 0.2))
    tired = replace(
        member(), contacts=tuple(Contact(AT - hour * 3600, "x", "gift", "offer", "app") for hour in range(30, 0, -1))
    )
    assert ids(run(catalog=catalog, policy=CERTAIN)) == ["a"]
    assert ids(run(tired, catalog=catalog, policy=CERTAIN)) == ["do_nothing"]


def keys(asks: Iterable[Ask], at: float = AT) -> set[str | None]:
    return {period_key(one, "m1", at, POLICY) for one in asks}


def test_a_period_has_one_key_however_often_and_with_whatever_explanation_one_asks() -> None:
    assert len(keys([ask(), ask(explain="full"), ask(context={"store": "s1"})])) == 1
    assert keys([ask()]) == keys([ask()], AT + DAY - 3601)
    assert keys([ask()]) != keys([ask()], AT + DAY)
    assert keys([ask("product")]) == {None}


def test_whatever_can_change_who_is_eligible_has_a_key_of_its_own() -> None:
    asks = [
        ask(),
        ask("action"),
        ask(count=2),
        ask(channel="email"),
        ask(exclude=("a",)),
        ask(include=("a",)),
        ask(context={"basket_value": 10.0}),
        ask(filter="type == 'gift'"),
        Ask("offer", (Placement("other"),), channel="app"),
    ]
    assert len(keys(asks)) == len(asks)
