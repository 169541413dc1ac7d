"""Labels by hand, and the same for one member and for many."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.entities import SegmentRules
from features.segments import label, lifecycle, value_label

RULES = SegmentRules(
    new_days=45, at_risk_gaps=2.5, lapsed_days=180, high_spend_365d=1200.0, potential_spend_365d=350.0, at_risk_days=60
)
REGULAR = {"recency_days": 20.0, "tenure_days": 400.0, "lifetime_baskets": 12.0, "recency_over_gap": 1.0}


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        ({}, "active", "last purchase 20 days ago, 1.0 times their usual gap, at most 2.5"),
        ({"recency_over_gap": 2.5}, "active", "at most 2.5"),
        ({"recency_over_gap": 2.6}, "at-risk", "2.6 times their usual gap, more than 2.5"),
        ({"recency_days": 100.0, "recency_over_gap": 1.1}, "active", "1.1 times their usual gap"),
        ({"recency_days": 180.0}, "active", "180 days ago"),
        ({"recency_days": 181.0}, "lapsed", "181 days ago, more than 180"),
        ({"tenure_days": 45.0, "recency_over_gap": 9.0}, "new", "with us for 45 days, at most 45"),
        ({"tenure_days": 46.0}, "active", "usual gap"),
        ({"lifetime_baskets": 2.0, "recency_over_gap": 9.0}, "active", "20 days ago, at most 60; no rhythm known yet"),
        ({"lifetime_baskets": 2.0, "recency_days": 61.0}, "at-risk", "61 days ago, more than 60; no rhythm known yet"),
        ({"recency_over_gap": math.nan, "recency_days": 61.0}, "at-risk", "no rhythm known yet"),
        ({"recency_over_gap": math.inf, "recency_days": 10.0}, "active", "no rhythm known yet"),
        ({"recency_days": math.nan, "tenure_days": 180.0}, "new", "no purchase yet"),
        ({"recency_days": math.nan, "tenure_days": 181.0}, "lapsed", "no purchase in the 181 days since enrolment"),
        ({"recency_days": math.nan, "tenure_days": math.nan}, "new", "no purchase yet"),
    ],
)
def test_a_member_gets_the_lifecycle_that_the_rules_say_with_the_reason(
    change: dict[str, float], expected: str, reason: str
) -> None:
    found, why = lifecycle({**REGULAR, **change}, RULES)
    assert found == expected
    assert reason in why


@pytest.mark.parametrize(
    ("spend", "expected"),
    [(1200.0, "high"), (1199.99, "potential"), (350.0, "potential"), (349.99, "low"), (-5.0, "low"), (math.nan, "low")],
)
def test_the_value_label_follows_the_spend_of_a_year(spend: float, expected: str) -> None:
    found, why = value_label({"spend_365d": spend}, RULES)
    assert found == expected
    assert "365 days" in why


def test_a_member_of_whom_nothing_is_known_is_new_and_low() -> None:
    assert lifecycle({}, RULES)[0] == "new"
    assert value_label({}, RULES)[0] == "low"


NUMBERS = st.one_of(
    st.sampled_from([math.nan, math.inf, 0.0, 2.0, 2.5, 3.0, 45.0, 60.0, 180.0, 350.0, 1200.0]), st.floats(0, 2000)
)
MEMBERS = st.fixed_dictionaries(dict.fromkeys((*REGULAR, "spend_365d"), NUMBERS))


@given(st.lists(MEMBERS, min_size=1, max_size=8))
def test_many_at_once_get_the_labels_they_get_one_by_one(members: list[dict[str, float]]) -> None:
    table = label(pd.DataFrame(members, index=[f"m{i}" for i in range(len(members))]), RULES)
    assert table["lifecycle"].tolist() == [lifecycle(member, RULES)[0] for member in members]
    assert table["value"].tolist() == [value_label(member, RULES)[0] for member in members]
    assert table.index[0] == "m0"
