"""From a member's state to all features at a moment: one Python function, written from the SQL of the features.

Rows are sorted by time, so a window is two positions found by bisection, a sum over a window is the difference of two
running sums, and a count of a flag or a word is a search in bytes. What several features share is computed once.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from features import aggregates
from features.expressions import ExpressionError, Node, parse, scalar
from features.member_rows import DAY_US, Body, MemberRows, Window
from features.relations import Feature, Relation, microseconds
from features.states import RELATIONS, State

Finisher = Callable[[State, datetime | float], NDArray[np.float64]]
_NAMES: Mapping[str, Any] = {
    "nan": math.nan,
    "accumulate": accumulate,
    "bisect_left": bisect_left,
    "bisect_right": bisect_right,
    **{name: value for name, value in vars(aggregates).items() if callable(value) and not name.startswith("_")},
}
_SEARCH = {exp.LT: "bisect_right", exp.LTE: "bisect_left", exp.GT: "bisect_left", exp.GTE: "bisect_right"}


def finisher(features: Sequence[Feature]) -> Finisher:
    """Compile features to one function of a state and a moment.

    Args:
        features: From `features.behavior.definitions`.

    Returns:
        A function of a state and a time (aware, or epoch seconds) that gives the values in the order of `features`,
        float64, NaN where one is missing. The time must not lie before the state was made.

    Raises:
        ExpressionError: A feature's SQL is outside the common subset.
    """
    scope: dict[str, Any] = dict(_NAMES)
    exec(compile(source(features), "<features>", "exec"), scope)  # noqa: S102 — the text is our own, written from the AST
    finish = scope["finish"]

    def finished(state: State, at: datetime | float) -> NDArray[np.float64]:
        at_us = microseconds(at) if isinstance(at, datetime) else round(at * 1e6)
        return np.array(finish(state.columns, at_us), dtype=np.float64)

    return finished


def source(features: Sequence[Feature]) -> str:
    """The Python text of `finish(columns, at)`, for `finisher` and for a curious reader."""
    relations = {relation.name: relation for relation in RELATIONS}
    body = Body()
    writers: dict[str, _Writer] = {}
    values = []
    for feature in features:
        if feature.relation not in relations:
            raise ExpressionError(f"feature {feature.name}: no relation {feature.relation!r}, only {sorted(relations)}")
        if feature.relation not in writers:
            beside = [other for other in features if other.relation == feature.relation]
            writers[feature.relation] = _Writer(relations[feature.relation], body, beside)
        writer = writers[feature.relation]
        values.append(scalar(parse(feature.sql), _outside, writer.aggregate))
    return "\n".join(["def finish(columns, at):", *body.lines, f"    return ({', '.join([*values, ''])})", ""])


class _Writer:
    """Writes the aggregates over one relation."""

    def __init__(self, relation: Relation, body: Body, features: Sequence[Feature]) -> None:
        self._rows = MemberRows(relation, body, features)
        self._let = body.let

    def aggregate(self, node: Node) -> str | None:
        """The variable that holds an aggregate's value, or None if the node is something else."""
        filtered = isinstance(node, exp.Filter)
        function = node.this if filtered else node
        if not isinstance(function, exp.AggFunc):
            return None
        write = _AGGREGATES.get(type(function))
        if write is None:
            raise ExpressionError(f"{node.sql()!r}: {type(function).__name__} is not in the common subset")
        return self._let(write(self, function.this, self._window(node.expression.this if filtered else None)))

    def count(self, what: Node, window: Window) -> str:
        """`count(*)`, `count(column)` and `count(distinct column)`."""
        if isinstance(what, exp.Distinct):
            return f"len(set({self._rows.values(what.expressions[0], window)}))"
        if not isinstance(what, exp.Star):
            return f"len({self._rows.values(what, window)})"
        if not window.tests:
            return f"{window.end} - {window.first}"
        found = self._rows.in_bytes(window)
        if found is None:
            return f"len({self._rows.values(exp.Literal.number(1), window)})"
        column, codes = found
        return " + ".join(f"{column}.count({code}, {window.first}, {window.end})" for code in codes)

    def sum(self, what: Node, window: Window) -> str:
        """`sum`."""
        if window.tests or not isinstance(what, exp.Column):
            return f"total({self._rows.values(what, window)})"
        if (window.first, window.end) == ("0", self._rows.n):
            return f"total({self._rows.column(what.name)})"
        running = self._let(f"list(accumulate({self._rows.column(what.name)}, initial=0))")
        return f"{running}[{window.end}] - {running}[{window.first}] if {window.end} > {window.first} else nan"

    def lowest(self, what: Node, window: Window) -> str:
        """`min`."""
        return self._edge_age(what, window, newest=True) or f"lowest({self._rows.values(what, window)})"

    def highest(self, what: Node, window: Window) -> str:
        """`max`."""
        return self._edge_age(what, window, newest=False) or f"highest({self._rows.values(what, window)})"

    def mean(self, what: Node, window: Window) -> str:
        """`avg`."""
        return f"mean({self._rows.values(what, window)})"

    def median(self, what: Node, window: Window) -> str:
        """`median`."""
        return f"median({self._rows.values(what, window)})"

    def _window(self, where: Node | None) -> Window:
        first, end, tests = "0", self._rows.n, []
        for test in _conjuncts(where):
            if not _bounds_age(test):
                tests.append(test)
            elif isinstance(test, exp.LT | exp.LTE):
                first = self._position(test) if first == "0" else self._let(f"max({first}, {self._position(test)})")
            else:
                end = self._position(test) if end == self._rows.n else self._let(f"min({end}, {self._position(test)})")
        return Window(first, end, tuple(tests))

    def _position(self, test: Node) -> str:
        """Where a bound on the age cuts the rows: age < d exactly when occurred_us > at − d days."""
        days = float(test.expression.this) * DAY_US
        if days != int(days):
            raise ExpressionError(f"{test.sql()!r}: a bound on age_days is a whole number of microseconds")
        return self._let(f"{_SEARCH[type(test)]}({self._rows.times}, at - {int(days)})")

    def _edge_age(self, what: Node, window: Window, *, newest: bool) -> str | None:
        """The age of the newest or oldest row of a window, without looking at the others."""
        if not isinstance(what, exp.Column) or what.name != "age_days":
            return None
        if not window.tests:
            row = f"{window.end} - 1" if newest else window.first
            return f"(at - {self._rows.times}[{row}]) / {float(DAY_US)} if {window.end} > {window.first} else nan"
        found = self._rows.in_bytes(window)
        if found is None or len(found[1]) != 1:
            times = self._rows.values(exp.column("occurred_us"), window)
            return f"(at - {times}[{-1 if newest else 0}]) / {float(DAY_US)} if {times} else nan"
        search = "rfind" if newest else "find"
        row = self._let(f"{found[0]}.{search}({found[1][0]}, {window.first}, {window.end})")
        return f"(at - {self._rows.times}[{row}]) / {float(DAY_US)} if {row} >= 0 else nan"


_AGGREGATES: Mapping[type[Any], Callable[[_Writer, Node, Window], str]] = {
    exp.Count: _Writer.count,
    exp.Sum: _Writer.sum,
    exp.Min: _Writer.lowest,
    exp.Max: _Writer.highest,
    exp.Avg: _Writer.mean,
    exp.Median: _Writer.median,
}


def _outside(name: str) -> str:
    raise ExpressionError(f"{name}: a feature is an aggregate, and this column stands outside one")


def _conjuncts(where: Node | None) -> list[Node]:
    if where is None:
        return []
    return list(where.flatten()) if isinstance(where, exp.And) else [where]


def _bounds_age(test: Node) -> bool:
    is_age = isinstance(test.this, exp.Column) and test.this.name == "age_days"
    return is_age and type(test) in _SEARCH and isinstance(test.expression, exp.Literal)
