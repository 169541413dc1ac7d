"""The union of a table on disk with rows that come in: one row for each key, whatever the order of coming."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pandas as pd

from features import returns
from features.border import BorderError, no_rejects
from features.table_files import (
    SQL_TYPES,
    as_arrow,
    count,
    quote,
    read_frame,
    replacing,
    session,
    table_path,
    texts_as_arrow,
    write_sorted,
)
from features.tables import Table

SAME_KEY = "SAME_KEY_OTHER_CONTENT"
"""The rule of rows that say something else under a key that is already taken."""

_INFERRED = "inferred/reverses.parquet"

Rows = pd.DataFrame | Path
"""Rows of a typed table: a frame, or a Parquet file (a glob names several) for more than memory holds."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of one table."""

    rows: int
    added: int
    repeated: int
    rejected: pd.DataFrame
    tied: int = 0
    alone: int = 0


def merge_table(tables_dir: Path, table: Table, rows: Rows, gone: str | None) -> Merged:
    """Unite one table on disk with incoming rows and replace its file.

    Args:
        tables_dir: The folder of the tables.
        table: Which.
        rows: What comes in.
        gone: An SQL condition; rows on disk that meet it are dropped first.
    """
    with session() as db:
        before = _bring_together(db, tables_dir, table, rows, gone)
        came = count(db, "everything") - before
        lost = _one_per_key(db, table)
        kept = count(db, "kept")
        merged = Merged(kept, kept - before, before + came - kept - len(lost), lost)
        if table.name == "purchases":
            return _write_purchases(db, tables_dir, table, merged)
        with replacing(table_path(tables_dir, table.name)) as tmp:
            write_sorted(db.execute(_in_order(table, "kept")), table, tmp)
        return merged


def _write_purchases(db: duckdb.DuckDBPyConnection, tables_dir: Path, table: Table, merged: Merged) -> Merged:
    """Tie the returns, then write the purchases and, beside them, which ties were only inferred.

    Between the two files the list of inferred ties holds the old and the new ones, so that a merge cut off here takes
    none of them for given when it runs again.
    """
    ties = _tie_returns(db)
    alone = count(db, "kept", "quantity < 0 and reverses is null") - len(ties)
    path = tables_dir / _INFERRED
    old = read_frame(path, ["purchase_id", "reverses"]) if path.exists() else ties[:0]
    _write_ties(pd.concat([ties, old]), path)
    source = (
        "(select k.* replace (coalesce(k.reverses, t.reverses) as reverses) "
        "from kept k left join ties t using (purchase_id))"
    )
    with replacing(table_path(tables_dir, table.name)) as tmp:
        write_sorted(db.execute(_in_order(table, source)), table, tmp)
    _write_ties(ties, path)
    return replace(merged, tied=len(ties), alone=alone)


def _write_ties(ties: pd.DataFrame, path: Path) -> None:
    with replacing(path) as tmp:
        texts_as_arrow(ties.drop_duplicates().sort_values(["purchase_id", "reverses"])).to_pandas().to_parquet(tmp)


def _in_order(table: Table, source: str) -> str:
    names = [c.name for c in table.columns]
    order = [name for name in ("member_id", "occurred_at", *table.key) if name in names]
    return f"select {', '.join(names)} from {source} order by {', '.join(dict.fromkeys(order))}"


def _bring_together(db: duckdb.DuckDBPyConnection, tables_dir: Path, table: Table, rows: Rows, gone: str | None) -> int:
    """Make the view `everything`: what is on disk and what comes; how many rows are on disk (and stay)."""
    old = table_path(tables_dir, table.name)
    names = ", ".join(c.name for c in table.columns)
    new = _incoming_sql(db, table, rows)
    if not old.exists():
        db.execute(f"create view everything as {new}")
        return 0
    where = f"where ({gone}) is not true" if gone else ""
    db.execute(f"create view disk as select {names} from read_parquet({quote(old)}) {where}")
    db.execute(f"create view everything as {_without_inferred(tables_dir, table, 'disk')} union all {new}")
    return count(db, "disk")


def _incoming_sql(db: duckdb.DuckDBPyConnection, table: Table, rows: Rows) -> str:
    if isinstance(rows, Path):
        source = f"read_parquet({quote(rows)}, union_by_name = true)"
        given = {str(d[0]) for d in db.execute(f"select * from {source} limit 0").description}
    else:
        db.register("incoming", as_arrow(rows, table))
        source, given = "incoming", set(rows.columns)
    missing = [c.name for c in table.columns if c.required and c.name not in given]
    if missing:
        raise BorderError(f"{table.name}: column {', '.join(missing)} is missing from the rows to merge; add it.")
    columns = ", ".join(
        f"cast({c.name if c.name in given else 'null'} as {SQL_TYPES[c.kind]}) as {c.name}" for c in table.columns
    )
    return f"select {columns} from {source}"


def _without_inferred(tables_dir: Path, table: Table, relation: str) -> str:
    """The relation with the ties that were only inferred taken off again, for they may come out differently now."""
    ties = tables_dir / _INFERRED
    if table.name != "purchases" or not ties.exists():
        return f"select * from {relation}"
    return (
        "select d.* replace (case when t.purchase_id is null then d.reverses end as reverses) "
        f"from {relation} d left join read_parquet({quote(ties)}) t using (purchase_id)"
    )


def _one_per_key(db: duckdb.DuckDBPyConnection, table: Table) -> pd.DataFrame:
    """Make the table `kept`, one row for each key, and return the rows that lost with other content.

    Only keys whose hash occurs twice are compared, so that millions of rows that come once pass at the cost of a hash.
    """
    key = ", ".join(table.key)
    columns = ", ".join(c.name for c in table.columns)
    db.execute(f"create temp table twice as select hash({key}) h from everything group by 1 having count(*) > 1")
    db.execute(f"create temp table kept as select * from everything e anti join twice t on hash({key}) = t.h")
    db.execute(
        f"""create temp table contested as
        select *, row_number() over (partition by {key} order by known_at, content) = 1 as first from (
            select distinct {columns}, md5(cast(row({columns}) as varchar)) as content
            from everything e semi join twice t on hash({key}) = t.h)"""
    )
    db.execute(f"insert into kept select {columns} from contested where first")
    lost = db.execute(
        f"""select to_json(struct_pack({", ".join(f"{c.name} := {c.name}" for c in table.columns)}))::varchar as value
        from contested where not first order by {key}, known_at, content"""
    ).df()
    rejected = {"file": table.name, "row": 0, "column": ",".join(table.key), "rule": SAME_KEY, "value": lost["value"]}
    return pd.DataFrame(rejected, index=lost.index) if len(lost) else no_rejects()


def _tie_returns(db: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Tie the returns in `kept` that name no sale, and write the ties into it."""
    columns = ", ".join(returns.NEEDS)
    concerned = db.execute(
        f"""select {columns} from kept semi join (
            select distinct member_id, product_id from kept where quantity < 0 and reverses is null
        ) using (member_id, product_id)"""
    ).df()
    ties = returns.tie(concerned)
    db.register("ties", texts_as_arrow(ties))
    return ties
