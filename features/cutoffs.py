"""Features of many members at many times in one pass: the engine of training and batch work."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from features import facts
from features.relations import Feature, Relation, counted, with_derived

PAIRS_AT_ONCE = 60_000
"""Pairs of member and time in one query; with some hundred facts a member this stays below 2 GB."""


def compute(
    tables: Path,
    pairs: pd.DataFrame,
    features: Sequence[Feature],
    relations: Mapping[str, Relation],
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> pd.DataFrame:
    """Features as they were known at each member's time.

    Args:
        tables: Folder of the typed tables.
        pairs: Columns `member_id` and `at` (aware times); members nobody knows are allowed.
        features: What to compute.
        relations: The relations they are taken from, by name.
        pairs_at_once: Pairs in one query.

    Returns:
        One row for each row of `pairs`, in their order: `member_id`, `at` and a float64 column for each feature. A
        missing value is NaN; a member without facts has counts of 0.
    """
    values = np.full((len(pairs), len(features)), np.nan)
    at_us = pd.DatetimeIndex(pairs["at"]).as_unit("us").asi8
    with facts.connect() as connection:
        for positions in _chunks(pairs["member_id"].to_numpy(dtype=object), pairs_at_once):
            chunk = pd.DataFrame(
                {
                    "pair": np.arange(len(positions)),
                    "member_id": pairs["member_id"].to_numpy(dtype=object)[positions],
                    "at_us": at_us[positions],
                }
            )
            values[positions] = _chunk(connection, tables, chunk, features, relations)
    found = pd.DataFrame(values, columns=[feature.name for feature in features])
    found.insert(0, "member_id", pairs["member_id"].to_numpy(dtype=object))
    found.insert(1, "at", pd.DatetimeIndex(pairs["at"]))
    return found


def feature_sql(relation: Relation, features: Sequence[Feature]) -> str:
    """The text that computes these features of one relation for all rows of the table `pairs`."""
    rows = with_derived(relation, counted(relation), features)
    chosen = ", ".join(f"cast({feature.sql} as double) as {feature.name}" for feature in features)
    return f"select pair, {chosen} from ({rows}) as facts_at group by pair"


def _chunks(member_ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Positions of pairs in the order of their members, so that a query reads neighbours in the files."""
    order = np.argsort(member_ids, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _chunk(
    connection: duckdb.DuckDBPyConnection,
    tables: Path,
    chunk: pd.DataFrame,
    features: Sequence[Feature],
    relations: Mapping[str, Relation],
) -> np.ndarray:
    wanted, numbers = np.unique(chunk["member_id"].to_numpy(dtype=object), return_inverse=True)
    facts.load(connection, tables, wanted.tolist())
    connection.register("pairs", chunk.assign(member_id=numbers))
    values = np.full((len(chunk), len(features)), np.nan)
    by_relation = sorted(range(len(features)), key=lambda i: features[i].relation)
    for name, columns in itertools.groupby(by_relation, key=lambda i: features[i].relation):
        chosen = list(columns)
        values[:, chosen] = _one_relation(connection, relations[name], [features[i] for i in chosen], len(chunk))
    connection.unregister("pairs")
    return values


def _one_relation(
    connection: duckdb.DuckDBPyConnection, relation: Relation, features: Sequence[Feature], n_pairs: int
) -> np.ndarray:
    collect(connection, relation)
    text = feature_sql(relation, features)
    found = connection.execute(text).fetchnumpy()
    values = np.tile(_without_facts(connection, relation, features), (n_pairs, 1))
    pair = found.pop("pair")
    values[pair] = np.column_stack([np.ma.filled(column, np.nan) for column in found.values()])
    connection.execute(f"drop table facts_{relation.name}")
    return values


def collect(connection: duckdb.DuckDBPyConnection, relation: Relation) -> None:
    """Make the table `facts_<relation>` from the attached tables."""
    connection.execute(f"create or replace temp table facts_{relation.name} as {relation.facts}")


def _without_facts(
    connection: duckdb.DuckDBPyConnection, relation: Relation, features: Sequence[Feature]
) -> np.ndarray:
    """What the features are over no rows at all: the law of SQL, not ours (a count is 0, a sum is missing)."""
    rows = with_derived(relation, counted(relation), features)
    chosen = ", ".join(f"cast({feature.sql} as double)" for feature in features)
    row = connection.execute(f"select {chosen} from ({rows}) as facts_at where false").fetchone()
    return np.array([np.nan if value is None else value for value in row or ()], dtype=np.float64)
