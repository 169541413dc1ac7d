"""What a relation is: which rows a member's features are taken from, as SQL (`features.member_facts` has them).

A relation is a member's facts of one kind, a row per fact. A row counts at `at` if and only if it happened by then, was
known by then and is younger than the relation's horizon. DuckDB runs these texts for many members and times in one
pass; the state of a member online is the same rows, stored (see `features.states`). The texts keep to what sqlglot
carries over to Spark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlglot
from sqlglot import exp


@dataclass(frozen=True, slots=True)
class Stored:
    """A column that the facts bring and the state keeps.

    Kinds: `whole` a whole number; `flag` 0 or 1; `word` one of `words`, or null; `name` any text, of which only
    sameness matters; `moment` a time in microseconds, or null.
    """

    name: str
    kind: Literal["whole", "flag", "word", "name", "moment"] = "whole"
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A member's facts of one kind."""

    name: str
    facts: str
    """SQL over the typed tables: member_id, occurred_us, known_us, row_key and the stored columns. Parts of one fact
    that were known at different times are rows of their own, and `gathered` adds up those known at `at`."""
    stored: tuple[Stored, ...]
    gathered: Mapping[str, str] = field(default_factory=dict)
    """Stored column → aggregate over the known rows with the same time, key and the rest. Empty: a row is a fact."""
    derived: tuple[tuple[str, str], ...] = ()
    """Columns that follow from the rows that count: name → SQL over the row, or a window over the member's rows."""
    horizon_days: int | None = None
    """Rows of this age or older do not count."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature of a member, defined once: an aggregate over the rows of one relation."""

    name: str
    family: str
    """What an ablation drops together."""
    relation: str
    sql: str
    doc: str
    derived: tuple[tuple[str, str], ...] = ()
    """Columns it needs beyond those of the relation: name → SQL, as `Relation.derived`; one name has one text."""


def microseconds(at: datetime) -> int:
    """An aware time as microseconds since 1970, exactly."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def counted(relation: Relation, *, upcoming: bool = False) -> str:
    """SQL for the rows that count for each row of the table `pairs` (pair, member_id, at_us).

    Args:
        relation: Its facts stand in the table `facts_<name>`.
        upcoming: Also the rows that are known at `at` and happen later; a state keeps them.
    """
    limits = ["facts.known_us <= pairs.at_us"]
    if not upcoming:
        limits.append("facts.occurred_us <= pairs.at_us")
    if relation.horizon_days is not None:
        limits.append(f"pairs.at_us - facts.occurred_us < {relation.horizon_days * 86_400_000_000}")
    columns = ["pair", "at_us", "occurred_us", "row_key", *(column.name for column in relation.stored)]
    keys = [name for name in columns if name not in relation.gathered]
    chosen = keys + [f"{text} as {name}" for name, text in relation.gathered.items()]
    group = f" group by {', '.join(keys)}" if relation.gathered else ""
    joined = f"pairs join facts_{relation.name} as facts on facts.member_id = pairs.member_id"
    return f"select {', '.join(chosen)} from {joined} where {' and '.join(limits)}{group}"


def derived(relation: Relation, features: Sequence[Feature] = ()) -> dict[str, str]:
    """All derived columns that these features of a relation rest on, in an order in which they can be made."""
    return {**dict(relation.derived), **{name: text for feature in features for name, text in feature.derived}}


def with_derived(relation: Relation, rows: str, features: Sequence[Feature] = ()) -> str:
    """SQL for the rows with their derived columns, those that `features` bring too; windows stay inside a pair."""
    for name, text in derived(relation, features).items():
        rows = f"select *, {_inside_pair(text)} as {name} from ({rows}) as counted"
    return rows


def to_spark(text: str) -> str:
    """The same SQL in Spark's dialect."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for node in list(tree.find_all(exp.Anonymous)):
        if node.name.lower() == "epoch_us":
            node.set("this", "unix_micros")
    for part in list(tree.find_all(exp.Extract)):
        if part.name.lower() == "isodow":
            part.set("this", exp.var("DAYOFWEEK_ISO"))
    return str(tree.sql(dialect="spark"))


def _inside_pair(text: str) -> str:
    tree = sqlglot.parse_one(text, read="duckdb")
    for window in tree.find_all(exp.Window):
        window.set("partition_by", [exp.column("pair"), *(window.args.get("partition_by") or [])])
    return str(tree.sql(dialect="duckdb"))
