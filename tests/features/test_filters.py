from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import filters
from features.filters import FilterError

COFFEE = {"id": "p1", "category": "coffee", "margin": 0.4, "fresh": True, "tags": ("fair", "dark")}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("category == $c and margin > 0", True),
        ("category == $c and margin > 1", False),
        ("category == 'tea' or margin >= 0.4", True),
        ("category == 'tea' or margin >= 0.4 and fresh == false", False),
        ("(category == 'tea' or margin >= 0.4) and fresh == true", True),
        ("not category == 'tea'", True),
        ("not (category == 'coffee' or fresh == true)", False),
        ("category in ('tea', $c)", True),
        ("category not in ('tea', \"milk\")", True),
        ("tags in ('dark')", True),
        ("tags not in ('dark')", False),
        ("margin != 0.4", False),
        ("margin < -1.5", False),
        ("margin<=0.4", True),
        ("category != 'tea'", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, kept: bool) -> None:
    assert filters.compile(text, {"c": "coffee"})(COFFEE) is kept


@pytest.mark.parametrize(
    "text", ["colour == 'red'", "colour != 'red'", "colour in ('red')", "colour not in ('red')", "colour > 1"]
)
def test_a_field_that_is_not_there_fits_no_test(text: str) -> None:
    assert filters.compile(text, {})(COFFEE) is False


@pytest.mark.parametrize("text", ["category > 1", "margin == 'x'", "fresh == 1", "margin == true", "category < 'a'"])
def test_unlike_things_never_compare(text: str) -> None:
    assert filters.compile(text, {})(COFFEE) is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "filter, character 1: found the end where the name of a field was expected"),
        ("category ==", "character 12: found the end where a value"),
        ("category = 'x'", "character 10: \"= 'x'\" has no meaning here"),
        ("category == $d", 'names $d, but filter_values has no "d"; add it'),
        ("margin > 0)", 'found ")" where "and", "or" or the end was expected'),
        ("(margin > 0", 'found the end where ")" was expected'),
        ("margin > 0 margin", 'found "margin" where "and", "or" or the end'),
        ("__import__('os')", 'found "(" where one of =='),
        ("and == 1", 'found "and" where the name of a field was expected'),
        ("margin > 1.2.3", "has no meaning here"),
        ("category == 'open", "has no meaning here"),
        ("(" * 50 + "a == 1" + ")" * 50, "nested deeper than 20"),
        ("not " * 50 + "a == 1", "nested deeper than 20"),
        ("a == 1 or " * 200 + "a == 1", "at most 1000 are allowed"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError) as caught:
        filters.compile(text, {"c": "coffee"})
    assert said in str(caught.value)


def test_true_and_one_are_different_values() -> None:
    assert filters.compile("fresh == $v", {"v": True})(COFFEE) is True
    assert filters.compile("fresh == $v", {"v": 1.0})(COFFEE) is False


@given(st.text(max_size=60) | st.text(alphabet="abc $'\"()<>=!,.019 andornotin", max_size=60))
def test_any_text_is_a_filter_or_a_filter_error(text: str) -> None:
    try:
        test = filters.compile(text, {"c": "coffee"})
    except FilterError:
        return
    assert test(COFFEE) in (True, False)
