"""The expressions of `features.behavior`, compiled to Python: the engine of serving.

sqlglot reads the same SQL text that DuckDB runs. Here it becomes Python text over single values (`scalar`); what an
aggregate over a member's rows becomes stands in `features.finishing`. Missing is NaN, as SQL's null behaves: it runs
through arithmetic, fails every comparison and is skipped by aggregates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sqlglot import exp, parse_one

Node: TypeAlias = Any
"""A node of sqlglot's syntax tree (an `exp.Expression`)."""
Name = Callable[[str], str]
"""Column name → Python text for its value."""
Leaf = Callable[[Node], str | None]
"""Takes over a node before its kind is looked at; None leaves it."""


class ExpressionError(ValueError):
    """A feature's SQL that only one of the two engines would understand."""


def parse(sql: str) -> Node:
    """The syntax tree of a feature's or derived column's SQL."""
    return parse_one(sql, read="duckdb")


def scalar(node: Node, name: Name, leaf: Leaf | None = None) -> str:
    """Python text for an expression over single values.

    Args:
        node: Its syntax tree.
        name: What stands for a column.
        leaf: Takes over nodes of its own, such as aggregates.

    Raises:
        ExpressionError: The expression uses what is not in the common subset.
    """
    taken = leaf(node) if leaf else None
    if taken is not None:
        return taken
    for kind, compile_kind in _KINDS.items():
        if isinstance(node, kind):
            return compile_kind(node, lambda inner: scalar(inner, name, leaf), name)
    raise ExpressionError(
        f"{node.sql()!r}: {type(node).__name__} is not in the common subset of features/expressions.py"
    )


_Inner = Callable[[Node], str]


def _binary(sign: str) -> Callable[[Node, _Inner, Name], str]:
    return lambda node, inner, _: f"({inner(node.left)} {sign} {inner(node.right)})"


def _division(node: Node, inner: _Inner, _: Name) -> str:
    below = node.right
    safe = isinstance(below, exp.Nullif) or (isinstance(below, exp.Literal) and float(below.this) != 0)
    if not safe:
        raise ExpressionError(
            f"{node.sql()!r}: divide by a number or by nullif(…, 0), so that no engine divides by zero"
        )
    return f"({inner(node.left)} / {inner(below)})"


def _differs(node: Node, inner: _Inner, _: Name) -> str:
    left, right = inner(node.left), inner(node.right)
    return f"({left} < {right} or {left} > {right})"


def _literal(node: Node, _inner: _Inner, _: Name) -> str:
    if node.is_string:
        raise ExpressionError(f"{node.sql()!r}: a text stands only beside a word column (= or in)")
    return str(node.this)


def _nullif(node: Node, inner: _Inner, _: Name) -> str:
    value, other = inner(node.this), inner(node.expression)
    return f"({value} or nan)" if other == "0" else f"nullif({value}, {other})"


def _coalesce(node: Node, inner: _Inner, _: Name) -> str:
    first, *others = [inner(part) for part in [node.this, *node.expressions]]
    if first.isidentifier() and len(others) == 1:
        return f"({first} if {first} == {first} else {others[0]})"
    return f"coalesce({', '.join([first, *others])})"


def _case(node: Node, inner: _Inner, _: Name) -> str:
    default = node.args.get("default")
    text = inner(default) if default is not None else "nan"
    for branch in reversed(node.args["ifs"]):
        text = f"({inner(branch.args['true'])} if {inner(branch.this)} else {text})"
    return text


def _is_null(node: Node, inner: _Inner, _: Name) -> str:
    if not isinstance(node.expression, exp.Null):
        raise ExpressionError(f"{node.sql()!r}: only `is null` is in the common subset")
    value = inner(node.this)
    return f"({value} != {value})"


def _not(node: Node, inner: _Inner, _: Name) -> str:
    """Only `is not null`: any other negation of a missing value would be true here and missing in SQL."""
    test = node.this
    if not (isinstance(test, exp.Is) and isinstance(test.expression, exp.Null)):
        raise ExpressionError(f"{node.sql()!r}: say it without `not`, which means something else for missing values")
    value = inner(test.this)
    return f"({value} == {value})"


_KINDS: Mapping[type[Any], Callable[[Node, _Inner, Name], str]] = {
    exp.Paren: lambda node, inner, _: f"({inner(node.this)})",
    exp.Column: lambda node, _inner, name: name(node.name),
    exp.Literal: _literal,
    exp.Null: lambda _node, _inner, _: "nan",
    exp.Neg: lambda node, inner, _: f"(-{inner(node.this)})",
    exp.Add: _binary("+"),
    exp.Sub: _binary("-"),
    exp.Mul: _binary("*"),
    exp.Div: _division,
    exp.LT: _binary("<"),
    exp.LTE: _binary("<="),
    exp.GT: _binary(">"),
    exp.GTE: _binary(">="),
    exp.EQ: _binary("=="),
    exp.NEQ: _differs,
    exp.And: _binary("and"),
    exp.Or: _binary("or"),
    exp.Nullif: _nullif,
    exp.Coalesce: _coalesce,
    exp.Case: _case,
    exp.Is: _is_null,
    exp.Not: _not,
}
