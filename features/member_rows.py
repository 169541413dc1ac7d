"""A member's rows of one relation in the Python text of a finisher: stored columns sliced, derived ones worked out.

Every column stands in a variable over all rows that count, in the order of time; a window is two positions in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from features.expressions import ExpressionError, Node, parse, scalar
from features.relations import Feature, Relation, derived
from features.states import COLUMNS

DAY_US = 86_400_000_000


@dataclass(slots=True)
class Body:
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
class Window:
    """Positions from `first` up to `end` of the rows that count, and what else a row must pass."""

    first: str
    end: str
    tests: tuple[Node, ...]


class MemberRows:
    """The rows of one relation that count at `at`."""

    def __init__(self, relation: Relation, body: Body, features: Sequence[Feature] = ()) -> None:
        self.let = body.let
        self._relation = relation
        self._derived = derived(relation, features)
        self._stored = {column.name: column for column in relation.stored}
        times = self.let(f"columns[{COLUMNS[relation.name, 'occurred_us']}]")
        self._end = self.let(f"bisect_right({times}, at)")
        self._start = "0"
        if relation.horizon_days is not None:
            self._start = self.let(f"bisect_right({times}, at - {relation.horizon_days * DAY_US})")
        self.times = self.let(f"{times}[{self._start}:{self._end}]")
        self.n = self.let(f"len({self.times})")

    def column(self, name: str) -> str:
        """The variable that holds a column.

        Raises:
            ExpressionError: The relation has no such column.
        """
        if name == "occurred_us":
            return self.times
        if name in self._stored:
            whole = self.let(f"columns[{COLUMNS[self._relation.name, name]}]")
            return self.let(f"{whole}[{self._start}:{self._end}]")
        if name in self._derived:
            return self.let(self._derive(parse(self._derived[name])))
        raise ExpressionError(f"{name}: relation {self._relation.name} has no such column")

    def values(self, what: Node, window: Window) -> str:
        """The variable that holds an expression's values over the rows of a window, missing ones left out."""
        names: list[str] = []
        value = scalar(what, _noting(names), self._leaf(names))
        tests = [scalar(test, _noting(names), self._leaf(names)) for test in window.tests]
        if isinstance(what, exp.Column) and self._may_be_missing(what.name):
            tests.append(f"{value} == {value}")
        if isinstance(what, exp.Column) and not tests:
            return self.let(self._part(what.name, window))
        over = self._over(names, [self._part(name, window) for name in names])
        condition = f" if {' and '.join(tests)}" if tests else ""
        return self.let(f"[{value} {over}{condition}]")

    def in_bytes(self, window: Window) -> tuple[str, list[int]] | None:
        """If the only test of a window is on a flag or a word: its column, which is bytes, and the codes that pass."""
        if len(window.tests) != 1:
            return None
        codes = self._codes(window.tests[0])
        return None if codes is None else (self.column(window.tests[0].this.name), codes)

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

    def _leaf(self, names: list[str]) -> Callable[[Node], str | None]:
        def leaf(node: Node) -> str | None:
            codes = self._codes(node)
            if codes is None:
                return None
            value = _noting(names)(node.this.name)
            return f"({' or '.join(f'{value} == {code}' for code in codes)})"

        return leaf

    def _may_be_missing(self, name: str) -> bool:
        if name not in self._derived:
            return name in self._stored and self._stored[name].kind == "moment"
        moments = [column.name for column in self._stored.values() if column.kind == "moment"]
        return "lag(" in self._derived[name] or any(moment in self._derived[name] for moment in moments)

    def _part(self, name: str, window: Window) -> str:
        column = self.column(name)
        return column if (window.first, window.end) == ("0", self.n) else f"{column}[{window.first}:{window.end}]"

    def _over(self, names: Sequence[str], columns: Sequence[str]) -> str:
        if not names:
            raise ExpressionError(f"{self._relation.name}: an aggregate over rows names at least one column")
        if len(names) == 1:
            return f"for x_{names[0]} in {columns[0]}"
        return f"for {', '.join(f'x_{name}' for name in names)} in zip({', '.join(columns)})"

    def _derive(self, tree: Node) -> str:
        if isinstance(tree, exp.Window):
            return self._over_rows(tree)
        names: list[str] = []
        windows: dict[str, str] = {}

        def leaf(node: Node) -> str | None:
            if not isinstance(node, exp.Window):
                return None
            name = f"w{len(windows)}"
            windows[name] = self.let(self._over_rows(node))
            return _noting(names)(name)

        def row(name: str) -> str:
            return "at" if name == "at_us" else _noting(names)(name)

        value = scalar(tree, row, leaf)
        return f"[{value} {self._over(names, [windows.get(name) or self.column(name) for name in names])}]"

    def _over_rows(self, window: exp.Window) -> str:
        """A window over the member's rows: a list with a value for each row."""
        function = window.this
        keys = [self.column(key.name) for key in window.args.get("partition_by") or []]
        ordered = window.args.get("order") is not None
        name = "sums_within" if _ranged(window) else _WINDOWS.get((type(function), len(keys), ordered))
        if name is None or not isinstance(function.this, exp.Column):
            raise ExpressionError(f"{window.sql()!r}: a window that features/member_rows.py does not know")
        bounds = [] if name != "sums_within" else [self.times, _span(window)]
        return f"{name}({', '.join([self.column(function.this.name), *keys, *bounds])})"


_WINDOWS = {
    (exp.Lag, 1, True): "lags",
    (exp.Sum, 0, True): "to_the_newest",
    (exp.Sum, 1, False): "sums_by",
    (exp.Max, 1, False): "highest_by",
    (exp.Max, 0, False): "highest_of_all",
}
"""(function, columns it is partitioned by, whether it is ordered) → its function in `features.aggregates`."""


def _ranged(window: exp.Window) -> bool:
    """Whether it is a sum over the rows of a stretch of time up to the row."""
    spec = window.args.get("spec")
    return isinstance(window.this, exp.Sum) and spec is not None and spec.args["kind"].upper() == "RANGE"


def _span(window: exp.Window) -> str:
    spec = window.args["spec"]
    if spec.args["start_side"].upper() != "PRECEDING" or spec.args["end"].upper() != "CURRENT ROW":
        raise ExpressionError(f"{window.sql()!r}: a range reaches from so many microseconds before up to the row")
    return str(int(spec.args["start"].this))


def _noting(names: list[str]) -> Callable[[str], str]:
    """What stands for a column in a row, noting that the row needs it."""

    def name(column: str) -> str:
        if column not in names:
            names.append(column)
        return f"x_{column}"

    return name
