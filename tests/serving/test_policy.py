from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import policy
from serving.exploration import Exploration, expected_loss, probabilities
from serving.policy import PolicyError
from tests.serving.deciding import AT, CONFIGS, DAY, POLICY, varied


def wrong(**over: object) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        varied(**over)
    return caught.value.errors


def test_the_example_policy_comes_back_from_its_own_text() -> None:
    assert policy.parse(POLICY.text) == POLICY
    assert policy.parse(POLICY.text).version == POLICY.version


def test_comments_and_order_do_not_change_the_version_and_numbers_do(tmp_path: Path) -> None:
    text = (CONFIGS / "policy.yaml").read_text(encoding="utf-8")
    (tmp_path / "policy.yaml").write_text("# another comment\n" + text, encoding="utf-8")
    assert policy.load(tmp_path / "policy.yaml").version == POLICY.version
    assert varied(delta=0.9).version != POLICY.version


def test_inverse_gap_weights_are_those_worked_out_by_hand() -> None:
    """K = 3 within 1 of the best; q = 1/(3 + 4·0.5) = 0.2 and 1/(3 + 4·1) = 1/7; a tenth is spread evenly."""
    found = probabilities([1.0, 0.5, 0.0, -0.1], Exploration(allowance=1.0, gamma=4.0, floor=0.1))
    assert found[1] == pytest.approx(0.9 * 0.2 + 0.1 / 3)
    assert found[2] == pytest.approx(0.9 / 7 + 0.1 / 3)
    assert found[3] == 0.0
    assert found[0] == pytest.approx(1 - found[1] - found[2])


def test_without_exploration_the_best_gets_everything_and_the_first_of_equals() -> None:
    assert probabilities([1.0, 3.0, 3.0], None) == [0.0, 1.0, 0.0]


def test_without_an_allowance_only_equals_share() -> None:
    assert probabilities([2.0, 2.0, 1.9], Exploration(allowance=0.0, gamma=9.0, floor=0.0)) == [0.5, 0.5, 0.0]


def test_a_vanishing_allowance_does_not_break_the_chances() -> None:
    """The smallest positive float: gamma over it is infinite, and infinity times no gap is no number."""
    found = probabilities([1.0, 1.0, 0.0], Exploration(allowance=5e-324, gamma=9.0, floor=0.1))
    assert found == [0.5, 0.5, 0.0]


scores = st.lists(st.floats(-1000, 1000), min_size=1, max_size=30)
explorations = st.builds(Exploration, allowance=st.floats(0, 100), gamma=st.floats(0, 1000), floor=st.floats(0, 1))


@given(scores=scores, exploration=explorations | st.none())
def test_chances_are_chances_and_none_goes_to_what_loses_more_than_the_allowance(
    scores: list[float], exploration: Exploration | None
) -> None:
    found = probabilities(scores, exploration)
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert all(0.0 <= chance <= 1.0 + 1e-12 for chance in found)
    allowance = exploration.allowance if exploration else 0.0
    assert all(chance == 0.0 for chance, score in zip(found, scores, strict=True) if max(scores) - score > allowance)


@given(scores=scores, exploration=explorations)
def test_no_candidate_inside_the_allowance_is_rarer_than_the_floor(
    scores: list[float], exploration: Exploration
) -> None:
    found = probabilities(scores, exploration)
    near = [one for one, score in zip(found, scores, strict=True) if max(scores) - score <= exploration.allowance]
    assert min(near) >= exploration.floor / len(near) - 1e-12


@given(chances=st.lists(st.floats(0.001, 1), min_size=1, max_size=20), number=st.floats(0, 1, exclude_max=True))
def test_a_draw_falls_on_the_part_of_the_line_that_holds_the_number(chances: list[float], number: float) -> None:
    total = math.fsum(chances)
    shares = [one / total for one in chances]
    index = policy.draw(shares, number)
    assert sum(shares[:index]) - 1e-9 <= number <= sum(shares[: index + 1]) + 1e-9


def test_a_draw_never_falls_on_what_has_no_chance() -> None:
    assert policy.draw([0.0, 1.0, 0.0], 0.0) == 1
    assert policy.draw([0.5, 0.5 - 1e-12, 0.0], 1.0 - 2**-53) == 1


def test_the_numbers_behind_draws_are_even() -> None:
    """Chi-square over 100 cells, 99 degrees of freedom: 148.2 is passed once in a thousand."""
    cells = [0] * 100
    for index in range(20_000):
        cells[int(policy.unit(f"salt|m{index}|offer|home|7|1") * 100)] += 1
    assert sum((cell - 200) ** 2 / 200 for cell in cells) < 148.2


def test_the_same_key_gives_the_same_number_on_every_machine() -> None:
    """53 bits of BLAKE2b-64 of the key, as coreutils' `b2sum -l 64` prints it."""
    assert policy.unit("tessera") == (0x012D698870EBBB0C >> 11) / 2**53


def test_periods_and_reward_windows_change_at_midnight_utc() -> None:
    midnight = 20_000 * DAY
    assert policy.period(midnight, "offer", POLICY) == policy.period(midnight + DAY - 1, "offer", POLICY) == 20_000
    assert policy.period(midnight - 1, "offer", POLICY) == 19_999
    assert policy.period(midnight, "product", POLICY) is None
    assert policy.window(14 * DAY, "offer", POLICY) == 1
    assert policy.window(14 * DAY - 1, "offer", POLICY) == 0


def test_the_do_nothing_floor_is_drawn_once_per_reward_window_for_offers_and_actions_together() -> None:
    start = policy.window(AT, "offer", POLICY) * 14 * DAY
    names = [f"m{index}" for index in range(2_000)]
    first = {one for one in names if policy.nothing_is_drawn(one, "offer", start, POLICY)}
    assert {one for one in names if policy.nothing_is_drawn(one, "offer", start + 14 * DAY - 1, POLICY)} == first
    following = {one for one in names if policy.nothing_is_drawn(one, "offer", start + 14 * DAY, POLICY)}
    other = {one for one in names if policy.nothing_is_drawn(one, "action", start, POLICY)}
    assert 60 <= len(first) <= 140
    assert len(first & following) < len(first) / 2
    assert other == first


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (
            {"holdout": {"share": 0.9}},
            "policy.yaml: holdout.share 0.9: it should be less than or equal to 0.5; change it",
        ),
        ({"detla": 1}, 'policy.yaml: unknown key "detla"; did you mean "delta"?'),
        ({"priors": {"gifts": {"response": 0.1, "effect_share": 0.1, "retention": 0.1}}}, 'did you mean "gift"?'),
        ({"families": {"product": {"explore": True}}}, "explore must be false"),
        ({"families": {"benefit": {"do_nothing_floor": 0.1}}}, "is for offers and actions only; take it out"),
        ({"families": {"offer": {"reward_window_days": 20}}}, "no multiple of families.offer.reward_window_days 20"),
        ({"families": {"offer": {"period_days": 5}}}, "no multiple of period_days 5"),
        ({"channels": {"fax": {"contact_cost": 1, "fatigue": 1}}}, "fax"),
    ],
)
def test_a_mistake_in_the_policy_is_told(over: dict[str, object], said: str) -> None:
    assert any(said in one for one in wrong(**over))


def test_a_prior_that_is_missing_is_asked_for() -> None:
    raw = POLICY.model_dump(mode="json")
    del raw["priors"]["gift"]
    with pytest.raises(PolicyError) as caught:
        policy.parse(raw)
    assert caught.value.errors == ["policy.yaml: priors.gift is missing; every one needs its rules, add it"]


def test_a_variant_may_change_prices_but_not_what_is_randomised() -> None:
    assert policy.varied(POLICY.text, '{"exploration": {"gamma": 3.0}}').exploration.gamma == 3.0
    with pytest.raises(PolicyError, match="may not change holdout, salt"):
        policy.varied(POLICY.text, '{"salt": "x", "holdout": {"share": 0.0}}')


limits = st.builds(
    Exploration,
    allowance=st.floats(0, 100),
    gamma=st.floats(0, 1000),
    floor=st.floats(0, 1),
    share=st.floats(0, 1),
    least=st.floats(0, 10),
)


def test_a_share_of_the_best_is_kept_to_exactly_by_hand() -> None:
    """Free, 0.5 and 1 below are drawn with 0.2 and 1/7: 0.2·0.5 + 1/7 is lost; 5 % of 2 and 0.02 may be."""
    free = Exploration(allowance=1.0, gamma=4.0, floor=0.0)
    kept = free.model_copy(update={"share": 0.05, "least": 0.02})
    smaller = (0.05 * 2 + 0.02) / (0.2 * 0.5 + 1 / 7)
    found = probabilities([2.0, 1.5, 1.0], kept)
    assert found == pytest.approx([1 - smaller * (0.2 + 1 / 7), smaller * 0.2, smaller / 7])
    assert probabilities([20.0, 19.5, 19.0], kept) == probabilities([20.0, 19.5, 19.0], free)


@given(scores=scores, exploration=limits)
def test_chance_never_costs_more_than_its_share_and_no_less_than_it_may(
    scores: list[float], exploration: Exploration
) -> None:
    found = probabilities(scores, exploration)
    limit = exploration.share * max([*scores, 0.0]) + exploration.least  # type: ignore[operator]
    free = probabilities(scores, exploration.model_copy(update={"share": None, "least": 0.0}))
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert all(0.0 <= chance <= 1.0 + 1e-12 for chance in found)
    assert expected_loss(found, scores) == pytest.approx(min(limit, expected_loss(free, scores)), rel=1e-9, abs=1e-12)
    # What costs nothing is left as it was: equals of the best are never taken from.
    top = max(scores)
    others = [index for index, score in enumerate(scores) if score == top][1:]
    assert [found[index] for index in others] == [free[index] for index in others]


def test_a_policy_without_a_share_keeps_the_version_that_it_had() -> None:
    text = varied(exploration={"share": None, "least": 0.0}).text
    assert '"exploration":{"allowance":0.3,"floor":0.1,"gamma":12.0}' in text
    with_share = varied(exploration={"share": 0.01, "least": 0.002})
    assert policy.parse(with_share.text) == with_share
    assert policy.varied(with_share.text, '{"exploration": {"share": 0.0}}').exploration.share == 0.0


def test_money_beside_a_share_that_is_not_there_is_a_mistake() -> None:
    raw = POLICY.model_dump(mode="json")
    raw["exploration"] |= {"share": None, "least": 0.1}
    with pytest.raises(PolicyError, match=r"write exploration\.share too"):
        policy.parse(raw)
