from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import aggregates
from features.behavior import definitions
from features.expressions import ExpressionError, parse, scalar
from features.finishing import finisher, source
from features.relations import Feature
from features.states import empty
from tests.features.small_history import PROGRAMME, T0

values = st.lists(st.integers(-1000, 1000) | st.just(math.nan), max_size=20)


def feature(sql: str, relation: str = "baskets") -> Feature:
    return Feature("tried", "tried", relation, sql, "Tried.")


def evaluated(sql: str, **columns: float) -> float:
    scope: dict[str, Any] = {"nan": math.nan, "nullif": aggregates.nullif, "coalesce": aggregates.coalesce, **columns}
    return float(eval(scalar(parse(sql), lambda name: name), scope))


def in_duckdb(sql: str, **columns: float) -> float:
    chosen = ", ".join(
        f"{'null' if value != value else repr(value)}::double as {name}" for name, value in columns.items()
    )
    row = duckdb.sql(f"select cast({sql} as double) from (select {chosen})").fetchone()
    return math.nan if row is None or row[0] is None else float(row[0])


@pytest.mark.parametrize(
    "sql",
    [
        "x + y * 2 - 3",
        "(x - y) / nullif(y, 0)",
        "coalesce(x, y, 7)",
        "case when x > y then 1 when x < y then 2 else 3 end",
        "case when x >= 1 and y <= 1 then x end",
        "case when x is null then 1 when y is not null then 2 else 3 end",
        "case when x = y or x <> 1 then 1 else 0 end",
        "-x + nullif(x, y)",
    ],
)
@given(x=st.sampled_from([-2.0, 0.0, 1.0, 1.5, math.nan]), y=st.sampled_from([0.0, 1.0, 3.0, math.nan]))
@settings(max_examples=20, deadline=None)
def test_an_expression_means_the_same_in_python_and_in_duckdb(sql: str, x: float, y: float) -> None:
    assert evaluated(sql, x=x, y=y) == pytest.approx(in_duckdb(sql, x=x, y=y), nan_ok=True)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("sum(spend) / count(*)", "nullif"),
        ("sum(spend) / 0", "nullif"),
        ("stddev(spend)", "Stddev is not in the common subset"),
        ("sum(spend) filter (where not bought = 1)", "without `not`"),
        ("spend", "stands outside"),
        ("sum(turnover)", "no such column"),
        ("count(*) filter (where part = 'noon')", "'noon' is none of"),
        ("list_sum(list(spend))", "not in the common subset"),
        ("count(*) filter (where age_days < 0.0000000000001)", "microseconds"),
        ("sum(1)", "names at least one column"),
    ],
)
def test_what_only_one_engine_understands_is_refused_with_the_way_out(sql: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        source([feature(sql)])


def test_an_unknown_relation_is_named_together_with_those_there_are() -> None:
    with pytest.raises(ExpressionError, match=r"no relation 'basket', only .*'baskets'"):
        source([feature("count(*)", "basket")])


def test_what_features_share_is_computed_once() -> None:
    text = source(definitions(PROGRAMME))
    assert text.count("median(") == 1
    assignments = [line.split(" = ", 1)[1] for line in text.splitlines() if " = " in line]
    assert len(set(assignments)) == len(assignments)


def test_features_of_a_member_nobody_knows_are_zeros_and_missing() -> None:
    found = finisher(
        [feature("count(*)"), feature("sum(spend)"), feature("min(age_days)"), feature("coalesce(sum(spend), 0)")]
    )
    np.testing.assert_array_equal(found(empty(), T0), [0.0, math.nan, math.nan, 0.0])


@pytest.mark.parametrize(
    ("function", "sql"),
    [
        (aggregates.total, "sum(v)"),
        (aggregates.mean, "avg(v)"),
        (aggregates.lowest, "min(v)"),
        (aggregates.highest, "max(v)"),
        (aggregates.median, "median(v)"),
    ],
)
@given(values=values)
@settings(max_examples=25, deadline=None)
def test_aggregates_are_those_of_duckdb(
    function: Callable[[Sequence[float]], float], sql: str, values: list[float]
) -> None:
    kept = [value for value in values if value == value]
    assert function(kept) == pytest.approx(over_rows(f"select {sql}", values)[0], nan_ok=True)


@pytest.mark.parametrize(
    ("function", "sql"),
    [
        (
            lambda v, _: aggregates.to_the_newest(v),
            "sum(v) over (order by i rows between current row and unbounded following)",
        ),
        (aggregates.lags, "lag(v) over (partition by k order by i)"),
        (aggregates.sums_by, "sum(v) over (partition by k)"),
        (aggregates.highest_by, "max(v) over (partition by k)"),
    ],
)
@given(values=st.lists(st.integers(-50, 50), max_size=15), holes=st.booleans(), seed=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_windows_are_those_of_duckdb(
    function: Callable[[list[float], list[int]], list[float]], sql: str, values: list[float], holes: bool, seed: int
) -> None:
    keys = np.random.default_rng(seed).integers(0, 4, size=len(values)).tolist()
    if holes and "max" in sql:
        values = [math.nan if i % 3 == 0 else value for i, value in enumerate(values)]
    assert function(values, keys) == pytest.approx(over_rows(f"select {sql}", values, keys), nan_ok=True)


def over_rows(select: str, values: Sequence[float], keys: Sequence[int] | None = None) -> list[float]:
    rows = [
        (i, "null" if v != v else v, k) for i, (v, k) in enumerate(zip(values, keys or [0] * len(values), strict=True))
    ]
    listed = ", ".join(f"({i}, {v}, {k})" for i, v, k in rows) or "(0, null, 0)"
    where = "" if rows else " where false"
    order = " order by i" if "over" in select else ""
    found = duckdb.sql(f"{select} from (select * from (values {listed}) t(i, v, k){where}){order}").fetchall()
    return [math.nan if value is None else float(value) for (value,) in found]
