"""Members who are alike in all that is declared are offered the same on the same terms."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from serving import value
from serving.assignment import Experiments
from serving.decide import Appraisal, appraise
from serving.snapshot import Learned, Snapshot
from tests.serving.deciding import CATALOG, FEATURES, POLICY, ask, member

NOBODY_TRIED = Experiments("none", ())
UNDECLARED = ("share_discounted_90d", "share_on_offer", "avg_discount", "age", "gender", "surname_rank", "region_rank")
"""What no rule of the example catalogue asks about: past sensitivity to price, and traits of the person."""


def _seen(snapshot: Snapshot) -> Appraisal:
    return appraise(snapshot, ask(), Learned(churn=0.2), CATALOG, POLICY, NOBODY_TRIED)


def _terms(seen: Appraisal) -> dict[str, tuple[float, ...]]:
    """What each candidate gives to whoever uses it: rates of the basket, money and points."""
    found: dict[str, tuple[float, ...]] = {}
    for candidate, _ in seen.allowed:
        one = value.terms(candidate, POLICY)
        found[candidate.id] = (one.share_off, one.money_off, one.cost, one.points, one.more_points)
    return found


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(min_size=1, max_size=12),
    traits=st.dictionaries(st.sampled_from(UNDECLARED), st.floats(-5, 500)),
    zone=st.sampled_from([None, "Europe/Berlin", "Europe/Lisbon"]),
)
def test_who_somebody_is_changes_neither_what_may_be_offered_nor_its_terms(
    name: str, traits: dict[str, float], zone: str | None
) -> None:
    one = member()
    noon = round(one.at / 86400) * 86400 + 12 * 3600.0
    one = replace(one, at=noon)
    other = replace(one, member_id=name, features={**one.features, **traits}, timezone=zone)
    first, second = _seen(one), _seen(other)
    assert first.held_out or second.held_out or {c.id for c, _ in first.allowed} == {c.id for c, _ in second.allowed}
    if first.held_out == second.held_out:
        assert first.suppressed == second.suppressed
        assert _terms(first) == _terms(second)
        bills = [{c.id: worth.lines for c, worth in seen.allowed} for seen in (first, second)]
        assert bills[0] == bills[1]


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.fixed_dictionaries(
        {
            "recency_over_gap": st.floats(0.1, 6.0),
            "spend_365d": st.floats(0, 4000),
            "avg_basket_value": st.floats(1, 200),
            "baskets_365d": st.floats(0, 100),
            "points_balance": st.floats(0, 5000),
            "tier_rank": st.sampled_from([0.0, 1.0, 2.0, 3.0]),
        }
    ),
    churn=st.floats(0, 1),
)
def test_terms_of_a_candidate_are_the_same_for_everybody_who_may_have_it(
    numbers: dict[str, float], churn: float
) -> None:
    """What differs between members is who is given what; who may have it hangs on conditions that are written down."""
    one = replace(member(), features={**FEATURES, **numbers})
    mine, theirs = _seen(member()), appraise(one, ask(), Learned(churn=churn), CATALOG, POLICY, NOBODY_TRIED)
    both = _terms(mine).keys() & _terms(theirs).keys()
    assert {name: _terms(mine)[name] for name in both} == {name: _terms(theirs)[name] for name in both}
    for lost in theirs.suppressed:
        if lost.id in _terms(mine) and not (mine.held_out or theirs.held_out):
            asked = next(each.conditions for each in CATALOG.offers if each.id == lost.id)
            assert any(getattr(asked, name) not in (None, ()) for name in _DECLARED[lost.code]), lost


_DECLARED = {
    "TIER": ("tiers",),
    "LIFECYCLE": ("lifecycles",),
    "VALUE": ("values",),
    "SEGMENT": ("segments",),
    "TENURE": ("min_tenure_days",),
    "POINTS": ("min_points",),
    "POINTS_EXPIRING": ("min_points_expiring_30d",),
    "BASKETS": ("min_baskets_365d",),
    "RECENCY": ("min_recency_days", "max_recency_days"),
    "CHURN": ("min_churn",),
    "NEXT_TIER": ("max_spend_to_next_tier",),
}
"""Reason of a drop → the conditions a marketer wrote that it stands for."""
