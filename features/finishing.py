"""From a member's state to all features at a moment: one Python function, written from the SQL of the features.

Rows are sorted by time, so a window is two positions found by bisection, a sum over a window is the difference of two
running sums, and a count of a flag or a word is a search in bytes. What several features share is computed once.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from features import aggregates
from features.expressions import ExpressionError, Node, parse, scalar
from features.relations import Feature, Relation, microseconds
from features.states import COLUMNS, RELATIONS, State

Finisher = Callable[[State, datetime | float], NDArray[np.float64]]
_DAY_US = 86_400_000_000
_NAMES: Mapping[str, Any] = {
    "nan": math.nan,
    "accumulate": accumulate,
    "bisect_left": bisect_left,
    "bisect_right": bisect_right,
    **{
        function.__name__: function
        for function in (
            aggregates.total,
            aggregates.mean,
            aggregates.lowest,
            aggregates.highest,
            aggregates.median,
            aggregates.nullif,
            aggregates.coalesce,
            aggregates.lags,
            aggregates.to_the_newest,
            aggregates.sums_by,
            aggregates.highest_by,
        )
    },
}


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
    """The Python text of `finish(columns, at)`, for a curious reader and for `finisher`."""
    relations = {relation.name: relation for relation in RELATIONS}
    body = _Body()
    writers: dict[str, _Writer] = {}
    values = []
    for feature in features:
        if feature.relation not in relations:
            raise ExpressionError(f"feature {feature.name}: no relation {feature.relation!r}, only {sorted(relations)}")
        writer = writers.setdefault(feature.relation, _Writer(relations[feature.relation], body))
        values.append(scalar(parse(feature.sql), writer.outside, writer.aggregate))
    return "\n".join(["def finish(columns, at):", *body.lines, f"    return ({', '.join(values)},)", ""])


@dataclass(slots=True)
class _Body:
    """The assignments written so far; the same text is assigned once."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def let(self, text: str) -> str:
        """The variable that holds this text's value."""
        if text not in self.names:
            self.names[text] = f"v{len(self.names)}"
            self.lines.append(f"    {self.names[text]} = {text}")
        return self.names[text]


@dataclass(frozen=True, slots=True)
class _Window:
    """Positions from `first` up to `end` of the rows that count, and what else a row must pass."""

    first: str
    end: str
    tests: tuple[Node, ...]


class _Writer:
    """Writes the features of one relation."""

    def __init__(self, relation: Relation, body: _Body) -> None:
        self._relation = relation
        self._let = body.let
        self._derived = dict(relation.derived)
        self._stored = {column.name: column for column in relation.stored}
        times = self._let(f"columns[{COLUMNS[relation.name, 'occurred_us']}]")
        self._end = self._let(f"bisect_right({times}, at)")
        self._start = "0"
        if relation.horizon_days is not None:
            self._start = self._let(f"bisect_right({times}, at - {relation.horizon_days * _DAY_US})")
        self._times = self._let(f"{times}[{self._start}:{self._end}]")
        self._n = self._let(f"len({self._times})")

    def outside(self, name: str) -> str:
        """A column outside any aggregate is an error."""
        raise ExpressionError(f"{name}: a feature is an aggregate, and this column stands outside one")

    def aggregate(self, node: Node) -> str | None:
        """Python text for an aggregate, or None if the node is something else."""
        filtered = isinstance(node, exp.Filter)
        function = node.this if filtered else node
        if not isinstance(function, exp.AggFunc):
            return None
        window = self._window(node.expression.this if filtered else None)
        write = _AGGREGATES.get(type(function))
        if write is None:
            raise ExpressionError(f"{node.sql()!r}: {type(function).__name__} is not in the common subset")
        return self._let(write(self, function.this, window))

    def count(self, what: Node, window: _Window) -> str:
        """`count(*)` and `count(distinct column)`."""
        if isinstance(what, exp.Distinct):
            return f"len(set({self._values(what.expressions[0], window)}))"
        if not isinstance(what, exp.Star):
            return f"len({self._values(what, window)})"
        if not window.tests:
            return f"{window.end} - {window.first}"
        found = self._in_bytes(window)
        if found is None:
            return f"len({self._values(exp.Literal.number(1), window)})"
        column, codes = found
        return " + ".join(f"{column}.count({code}, {window.first}, {window.end})" for code in codes)

    def sum(self, what: Node, window: _Window) -> str:
        """`sum`."""
        if window.tests or not isinstance(what, exp.Column):
            return f"total({self._values(what, window)})"
        running = self._let(f"list(accumulate({self._column(what.name)}, initial=0))")
        return f"{running}[{window.end}] - {running}[{window.first}] if {window.end} > {window.first} else nan"

    def lowest(self, what: Node, window: _Window) -> str:
        """`min`."""
        return self._edge_age(what, window, newest=True) or f"lowest({self._values(what, window)})"

    def highest(self, what: Node, window: _Window) -> str:
        """`max`."""
        return self._edge_age(what, window, newest=False) or f"highest({self._values(what, window)})"

    def mean(self, what: Node, window: _Window) -> str:
        """`avg`."""
        return f"mean({self._values(what, window)})"

    def median(self, what: Node, window: _Window) -> str:
        """`median`."""
        return f"median({self._values(what, window)})"

    def _window(self, where: Node | None) -> _Window:
        first, end, tests = ["0"], [self._n], []
        for test in [] if where is None else list(_conjuncts(where)):
            position = self._position(test)
            if position is None:
                tests.append(test)
            else:
                (first if isinstance(test, exp.LT | exp.LTE) else end).append(position)
        both = (
            f"max({', '.join(first)})" if len(first) > 2 else first[-1],
            f"min({', '.join(end)})" if len(end) > 2 else end[-1],
        )
        return _Window(self._named(both[0]), self._named(both[1]), tuple(tests))

    def _named(self, text: str) -> str:
        return self._let(text) if "(" in text else text

    def _position(self, test: Node) -> str | None:
        """Where a bound on the age cuts the rows: age < d exactly when occurred_us > at − d days."""
        search = {exp.LT: "bisect_right", exp.LTE: "bisect_left", exp.GT: "bisect_left", exp.GTE: "bisect_right"}
        bound = test.args.get("expression")
        is_age = isinstance(test.this, exp.Column) and test.this.name == "age_days"
        if type(test) not in search or not is_age or not isinstance(bound, exp.Literal):
            return None
        days = float(bound.this) * _DAY_US
        if days != int(days):
            raise ExpressionError(f"{test.sql()!r}: a bound on age_days is a whole number of microseconds")
        return self._let(f"{search[type(test)]}({self._times}, at - {int(days)})")

    def _in_bytes(self, window: _Window) -> tuple[str, list[int]] | None:
        """If the only test is on a flag or a word: its column as bytes and the codes that pass."""
        if len(window.tests) != 1:
            return None
        codes = self._codes(window.tests[0])
        return None if codes is None else (self._column(window.tests[0].this.name), codes)

    def _codes(self, test: Node) -> list[int] | None:
        if not isinstance(test, exp.EQ | exp.In) or not isinstance(test.this, exp.Column):
            return None
        column = self._stored.get(test.this.name)
        if column is None or column.kind not in ("flag", "word"):
            return None
        literals = test.expressions if isinstance(test, exp.In) else [test.expression]
        return [self._code(test, literal) for literal in literals]

    def _code(self, test: Node, literal: Node) -> int:
        words = self._stored[test.this.name].words
        if not words:
            return int(literal.this)
        if literal.this not in words:
            raise ExpressionError(f"{test.sql()!r}: {literal.this!r} is none of {words}")
        return words.index(literal.this) + 1

    def _edge_age(self, what: Node, window: _Window, *, newest: bool) -> str | None:
        """The age of the newest or oldest row of a window, without looking at the others."""
        if not isinstance(what, exp.Column) or what.name != "age_days":
            return None
        if not window.tests:
            row = f"{window.end} - 1" if newest else window.first
            return f"(at - {self._times}[{row}]) / {float(_DAY_US)} if {window.end} > {window.first} else nan"
        found = self._in_bytes(window)
        if found is None or len(found[1]) != 1:
            return None
        search = "rfind" if newest else "find"
        row = self._let(f"{found[0]}.{search}({found[1][0]}, {window.first}, {window.end})")
        return f"(at - {self._times}[{row}]) / {float(_DAY_US)} if {row} >= 0 else nan"

    def _values(self, what: Node, window: _Window) -> str:
        """The values of an expression over the rows of a window, missing ones left out."""
        names: list[str] = []
        value = scalar(what, _note(names), self._row_leaf(names))
        tests = [scalar(test, _note(names), self._row_leaf(names)) for test in window.tests]
        if isinstance(what, exp.Column) and self._may_be_missing(what.name):
            tests.append(f"{value} == {value}")
        if isinstance(what, exp.Column) and not tests:
            return self._let(self._part(what.name, window))
        over = self._over(names, [self._part(name, window) for name in names])
        condition = f" if {' and '.join(tests)}" if tests else ""
        return self._let(f"[{value} {over}{condition}]")

    def _part(self, name: str, window: _Window) -> str:
        column = self._column(name)
        return column if (window.first, window.end) == ("0", self._n) else f"{column}[{window.first}:{window.end}]"

    def _over(self, names: Sequence[str], columns: Sequence[str]) -> str:
        if not names:
            raise ExpressionError(f"{self._relation.name}: an aggregate over rows names at least one column")
        if len(names) == 1:
            return f"for x_{names[0]} in {columns[0]}"
        return f"for {', '.join(f'x_{name}' for name in names)} in zip({', '.join(columns)})"

    def _row_leaf(self, names: list[str]) -> Callable[[Node], str | None]:
        def leaf(node: Node) -> str | None:
            if isinstance(node, exp.EQ | exp.In):
                codes = self._codes(node)
                if codes is not None:
                    value = _note(names)(node.this.name)
                    return f"({' or '.join(f'{value} == {code}' for code in codes)})"
            return None

        return leaf

    def _may_be_missing(self, name: str) -> bool:
        if name not in self._derived:
            return name in self._stored and self._stored[name].kind == "moment"
        missing = any(
            column.kind == "moment" and column.name in self._derived[name] for column in self._stored.values()
        )
        return missing or "lag(" in self._derived[name]

    def _column(self, name: str) -> str:
        """The variable that holds a column over all rows that count."""
        if name == "occurred_us":
            return self._times
        if name in self._stored:
            whole = self._let(f"columns[{COLUMNS[self._relation.name, name]}]")
            return self._let(f"{whole}[{self._start}:{self._end}]")
        if name in self._derived:
            return self._let(self._derive(parse(self._derived[name])))
        raise ExpressionError(f"{name}: relation {self._relation.name} has no such column")

    def _derive(self, tree: Node) -> str:
        if isinstance(tree, exp.Window):
            return self._over_rows(tree)
        names: list[str] = []
        windows: dict[str, str] = {}

        def leaf(node: Node) -> str | None:
            if not isinstance(node, exp.Window):
                return None
            name = f"w{len(windows)}"
            windows[name] = self._let(self._over_rows(node))
            return _note(names)(name)

        def row(name: str) -> str:
            return "at" if name == "at_us" else _note(names)(name)

        value = scalar(tree, row, leaf)
        return f"[{value} {self._over(names, [windows.get(name) or self._column(name) for name in names])}]"

    def _over_rows(self, window: exp.Window) -> str:
        """A window over the member's rows as a list with a value for each row."""
        function = window.this
        values = self._column(function.this.name)
        keys = [self._column(key.name) for key in window.args.get("partition_by") or []]
        if isinstance(function, exp.Lag) and len(keys) == 1:
            return f"lags({values}, {keys[0]})"
        if isinstance(function, exp.Sum) and not keys:
            return f"to_the_newest({values})"
        if isinstance(function, exp.Sum | exp.Max) and len(keys) == 1 and not window.args.get("order"):
            return f"{'sums_by' if isinstance(function, exp.Sum) else 'highest_by'}({values}, {keys[0]})"
        raise ExpressionError(f"{window.sql()!r}: a window that features/finishing.py does not know")


def _conjuncts(where: Node) -> Sequence[Node]:
    return list(where.flatten()) if isinstance(where, exp.And) else [where]


def _note(names: list[str]) -> Callable[[str], str]:
    """What stands for a column in a row, noting that the row needs it."""

    def name(column: str) -> str:
        if column not in names:
            names.append(column)
        return f"x_{column}"

    return name


_AGGREGATES: Mapping[type[Any], Callable[[_Writer, Node, _Window], str]] = {
    exp.Count: _Writer.count,
    exp.Sum: _Writer.sum,
    exp.Min: _Writer.lowest,
    exp.Max: _Writer.highest,
    exp.Avg: _Writer.mean,
    exp.Median: _Writer.median,
}
