"""Who came into a segment and who left it between two moments, over all members known at both."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd

from features import behavior, filters, segments
from features.entities import Programme

LABELS = ("lifecycle", "value")


def labelled(tables: Path, programme: Programme, at: datetime) -> pd.DataFrame:
    """Every member known at `at`, as their labels and rule segments were then.

    Returns:
        Index `member_id`; columns `lifecycle`, `value` (text), and a bool column for each rule segment by its id.
    """
    pairs = _known(tables, at)
    found = behavior.historical(tables, pairs, programme).set_index("member_id")
    labels = segments.label(found, programme.segments)
    ranks = found["tier_rank"].fillna(0).clip(0, len(programme.tiers) - 1).astype(int)
    labels["tier"] = [programme.tiers[rank].id for rank in ranks]
    for one in programme.rule_segments:
        labels[one.id] = _fits(one.when, found, labels)
    return labels.drop(columns="tier")


def _fits(when: str, features: pd.DataFrame, labels: pd.DataFrame) -> list[bool]:
    test, asked = filters.compile(when, {}), filters.names(when)
    columns = [(labels if name in labels else features)[name].tolist() for name in asked]
    if not asked:
        return [test({})] * len(features)
    rows = zip(*columns, strict=True)
    return [test({name: value for name, value in zip(asked, row, strict=True) if value == value}) for row in rows]


_KNOWN = """
select distinct member_id from read_parquet($file) where occurred_at <= $at and known_at <= $at order by member_id
"""


def _known(tables: Path, at: datetime) -> pd.DataFrame:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows = connection.execute(_KNOWN, {"file": str(tables / "members.parquet"), "at": at}).fetchall()
    ids = pd.Series([row[0] for row in rows], dtype="object")
    return pd.DataFrame({"member_id": ids, "at": pd.Series([at] * len(ids), dtype="datetime64[us, UTC]")})


def moved(before: pd.DataFrame, now: pd.DataFrame, label: str) -> pd.DataFrame:
    """Members by their label before (rows) and now (columns); who was not known before stands in the row `(joined)`.

    >>> one = pd.DataFrame({"value": ["low", "low"]}, index=["a", "b"])
    >>> other = pd.DataFrame({"value": ["low", "high", "low"]}, index=["a", "b", "c"])
    >>> moved(one, other, "value").loc["low"].to_dict()
    {'high': 1, 'low': 1}
    """
    then = before[label].astype(str).reindex(now.index).fillna("(joined)")
    return pd.crosstab(then.rename("before"), now[label].astype(str).rename("now"))


def stayed(before: pd.DataFrame, now: pd.DataFrame, label: str) -> float:
    """Share of the members known at both moments whose label is the same; NaN if there are none."""
    both = before.index.intersection(now.index)
    return float((before.loc[both, label] == now.loc[both, label]).mean()) if len(both) else float("nan")
