"""Filter expressions, such as `category == $c and margin > 0`: read, checked, made into a function.

Grammar::

    any    := all ("or" all)*
    all    := not ("and" not)*
    not    := "not" not | "(" any ")" | test
    test   := name operator value | name ["not"] "in" "(" value ("," value)* ")"
    value  := number | 'text' | "text" | true | false | $name
    name   := letters, digits and _ | `whatever stands in backquotes`

A name that a candidate does not have fits no test, and `!=` neither; numbers compare with numbers and text with text.
Nothing is ever evaluated as code.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Scalar = str | float | bool
Test = Callable[[Mapping[str, object]], bool]

LONGEST = 1000
DEEPEST = 20
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?(?![\w.]))|(?P<text>'[^']*'|"[^"]*")|(?P<value>\$[A-Za-z_]\w{0,63})"""
    r"""|(?P<name>[A-Za-z_]\w{0,63}|`[^`]{1,100}`)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = frozenset(("and", "or", "not", "in", "true", "false"))


class FilterError(ValueError):
    """The expression cannot be used; the message says where and why."""


def compile(text: str, values: Mapping[str, Scalar]) -> Test:  # noqa: A001 - the word callers expect
    """The expression as a function of a candidate's fields.

    >>> keep = compile("category == $c and margin > 0", {"c": "coffee"})
    >>> keep({"category": "coffee", "margin": 0.4}), keep({"category": "tea", "margin": 0.4}), keep({})
    (True, False, False)

    Raises:
        FilterError: what is wrong, at which character, and what would be right there.
    """
    return _compiled(text, tuple(sorted((name, type(value).__name__, value) for name, value in values.items())))


@lru_cache(maxsize=1024)
def _compiled(text: str, values: tuple[tuple[str, str, Scalar], ...]) -> Test:
    if len(text) > LONGEST:
        raise FilterError(f"the filter has {len(text)} characters; at most {LONGEST} are allowed, shorten it")
    parser = _Parser(text, {name: value for name, _, value in values})
    test = parser.either(0)
    if parser.kind != "end":
        raise parser.wrong('"and", "or" or the end')
    return test


def names(text: str) -> tuple[str, ...]:
    """The fields an expression without `$values` asks about, each once, in their order.

    Raises:
        FilterError: as `compile`.
    """
    parser = _Parser(text, {})
    parser.either(0)
    return tuple(dict.fromkeys(parser.names))


def _tokens(text: str) -> list[tuple[str, str, int]]:
    found, place = [], 0
    end = len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            place = end - len(text[place:end].lstrip())
            raise FilterError(f"filter, character {place + 1}: {text[place : place + 10]!r} has no meaning here")
        found.append((match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        place = match.end()
    return [*found, ("end", "", len(text))]


class _Parser:
    """Recursive descent over the tokens; every method leaves the place behind what it read."""

    def __init__(self, text: str, values: Mapping[str, Scalar]) -> None:
        self._tokens = _tokens(text)
        self._place = 0
        self._values = values
        self.names: list[str] = []
        """The fields that are asked about, in the order of the text."""

    @property
    def kind(self) -> str:
        return self._tokens[self._place][0]

    @property
    def word(self) -> str:
        return self._tokens[self._place][1]

    def wrong(self, expected: str) -> FilterError:
        _, word, place = self._tokens[self._place]
        found = f'"{word}"' if word else "the end"
        return FilterError(f"filter, character {place + 1}: found {found} where {expected} was expected")

    def _take(self, word: str) -> bool:
        if self.kind in ("name", "sign") and self.word == word:
            self._place += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self.wrong(f'"{word}"')

    def either(self, depth: int) -> Test:
        tests = [self._both(depth)]
        while self._take("or"):
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self, depth: int) -> Test:
        tests = [self._negated(depth)]
        while self._take("and"):
            tests.append(self._negated(depth))
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _negated(self, depth: int) -> Test:
        if depth > DEEPEST:
            raise FilterError(f"the filter is nested deeper than {DEEPEST}; write it flatter")
        if self._take("not"):
            test = self._negated(depth + 1)
            return lambda row: not test(row)
        if self._take("("):
            test = self.either(depth + 1)
            self._need(")")
            return test
        return self._test()

    def _test(self) -> Test:
        if self.kind != "name" or self.word in _WORDS:
            raise self.wrong("the name of a field")
        name = self.word.strip("`")
        self.names.append(name)
        self._place += 1
        if self._take("not"):
            self._need("in")
            among = self._list()
            return lambda row: name in row and not _among(row[name], among)
        if self._take("in"):
            among = self._list()
            return lambda row: name in row and _among(row[name], among)
        return self._comparison(name)

    def _comparison(self, name: str) -> Test:
        compare = _COMPARE.get(self.word) if self.kind == "sign" else None
        if compare is None:
            raise self.wrong('one of ==, !=, <, <=, >, >=, "in"')
        self._place += 1
        value = self._value()
        return lambda row: _alike(row.get(name), value) and compare(row[name], value)

    def _list(self) -> tuple[Scalar, ...]:
        self._need("(")
        found = [self._value()]
        while self._take(","):
            found.append(self._value())
        self._need(")")
        return tuple(found)

    def _value(self) -> Scalar:
        kind, word = self.kind, self.word
        self._place += 1
        if kind == "number":
            return float(word)
        if kind == "text":
            return word[1:-1]
        if kind == "name" and word in ("true", "false"):
            return word == "true"
        if kind == "value" and word[1:] in self._values:
            return self._values[word[1:]]
        self._place -= 1
        if kind == "value":
            raise FilterError(f'the filter names {word}, but filter_values has no "{word[1:]}"; add it')
        raise self.wrong("a value (a number, a text in quotes, true, false or $name)")


def _alike(found: object, value: Scalar) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return isinstance(found, bool) and isinstance(value, bool)
    if isinstance(value, str):
        return isinstance(found, str)
    return isinstance(found, int | float)


def _among(found: object, among: tuple[Scalar, ...]) -> bool:
    if isinstance(found, tuple | list):
        return any(_among(one, among) for one in found)
    return any(_alike(found, value) and found == value for value in among)
