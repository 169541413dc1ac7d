"""Ledger arithmetic: points that follow from purchases and engagements by the rules, and the law every ledger obeys.

Each basket earns one lot at the rate of the tier its member has at that moment, and one more for each earning rule that
holds. A return takes back what the returned part had earned; what is left of a lot expires. For each lot and any
stretch of time `opening + issued − redeemed − expired − reversed = closing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd

from features import history
from features.border import empty, finish
from features.entities import Programme
from features.ledger import audiences, burns, issuing
from features.table_files import as_arrow, quote, session, table_path, texts_as_arrow
from features.tables import ENGAGEMENTS, MEMBERS, POINTS, PRODUCTS, PURCHASES, Table

DERIVED = burns.DERIVED
"""The `source` of entries that were computed from purchases."""

_NEEDS = (
    *("purchase_id", "basket_id", "member_id", "product_id", "quantity", "amount", "reverses"),
    *("occurred_at", "known_at"),
)
_ENGAGED = ("engagement_id", "member_id", "type", "topic", "occurred_at", "known_at")
_GOODS = ("product_id", "category")


def derive(
    purchases: pd.DataFrame,
    programme: Programme,
    upto: datetime,
    redemptions: pd.DataFrame | None = None,
    *,
    engagements: pd.DataFrame | None = None,
    products: pd.DataFrame | None = None,
    audience: Mapping[str, frozenset[str]] | None = None,
    given: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Points entries for a history that has none.

    A basket earns `floor(rate · amount)` points, its amount being the sum of its sales, at the rate of the highest tier
    whose spend the member had reached, net of returns, in that tier's window before the basket. Every earning rule that
    holds issues a lot of its own. A return of a known sale reverses as many points as what stays of the basket falls
    short of what was issued; a return without a known sale reverses nothing, for nothing was issued here. What a member
    had already spent of a returned basket comes out of the other lots (`features.ledger.book`). Amounts are counted
    exactly, to a ten-thousandth. The answer does not depend on the order of the rows.

    Args:
        purchases: The table of purchases, at least its columns used here.
        programme: Tiers, rates, how long points live, earning rules.
        upto: Lots that expire after this moment are still open; what happens after it is left out.
        redemptions: Columns `entry_id, member_id, points` (> 0), `occurred_at` and `known_at`: what members redeemed,
            taken from the lots that expire soonest. A redemption of more points than there are takes what there is.
            With a column `restores` (null, or the entry_id of a redemption) a row gives points back instead; with a
            column `share` it takes that share of what there is.
        engagements: The table of engagements; without it no engagement earns.
        products: The table of products, for rules that name categories.
        audience: Rule → the members it is for, for rules that name segments.
        given: Points that came from elsewhere (`earn` and `adjust` rows of the table of points): they are redeemed and
            expire with the others, and are not repeated in the answer.

    Returns:
        Rows of the table of points, sorted by member, time and entry; `source` is "derived".
    """
    with session() as db:
        _register(db, "facts", purchases, PURCHASES, _NEEDS, upto)
        _register(db, "engagements", engagements, ENGAGEMENTS, _ENGAGED, upto)
        _register(db, "goods", products, PRODUCTS, _GOODS, None)
        _register_audience(db, audience or {})
        return _ledger(db, programme, upto, redemptions, given)


def refresh(tables_dir: Path, programme: Programme) -> int | None:
    """Compute the points of a history that has none of its own, in place of what was computed before.

    Points that the service's events earned and redeemed take part: redemptions are spread over the lots anew each time,
    because a late purchase or return may change which lots there were.

    Args:
        tables_dir: The folder of the tables; purchases must be merged already.
        programme: The rules.

    Returns:
        How many entries there are now, or None where the history has entries of its own and is left alone.
    """
    found = history.read(tables_dir, "points")
    if not found["source"].isin([DERIVED, burns.EVENT]).all():
        return None
    ends = history.ends_at(tables_dir)
    ends = max([ends, *found.loc[found["source"] == burns.EVENT, "occurred_at"]])
    wishes = burns.remember(tables_dir, found)
    with session() as db:
        for name, table, columns in _SOURCES:
            _read(db, name, tables_dir, table, columns, None if name == "goods" else ends)
        _read(db, "enrolments", tables_dir, MEMBERS, ("member_id", "enrolled_at"), None)
        _register_audience(db, audiences.of(tables_dir, programme))
        given = found[(found["source"] == burns.EVENT) & (found["type"] != "redeem")]
        entries = _ledger(db, programme, ends, wishes, given)
    gone = f"source = '{DERIVED}' or (source = '{burns.EVENT}' and type = 'redeem')"
    history.merge(tables_dir, {"points": entries}, superseding={"points": gone})
    return len(entries)


def balances(entries: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """What each lot holds at a moment.

    Args:
        entries: The table of points.
        at: The moment; later entries do not count.

    Returns:
        Columns `member_id, lot_id, expires_at, points`; lots that hold nothing are left out.
    """
    past = entries[entries["occurred_at"] <= at]
    lots = past.groupby(["member_id", "lot_id"], as_index=False).agg({"expires_at": "max", "points": "sum"})
    return lots[lots["points"].abs() > 0].reset_index(drop=True)


def statement(entries: pd.DataFrame, since: datetime, until: datetime) -> pd.DataFrame:
    """The movements of each lot between two moments: `since < occurred_at <= until`.

    Returns:
        Indexed by `lot_id`, with the columns `opening, issued, redeemed, expired, reversed, closing`, all ≥ 0 in a
        sound ledger; `opening + issued − redeemed − expired − reversed = closing`. Adjustments count as issued.
    """
    before = entries[entries["occurred_at"] <= since].groupby("lot_id")["points"].sum()
    within = entries[(entries["occurred_at"] > since) & (entries["occurred_at"] <= until)]
    moved = within.assign(kind=within["type"].map(_COLUMN_OF)).pivot_table(
        index="lot_id", columns="kind", values="points", aggfunc="sum"
    )
    lots = before.index.union(moved.index)
    parts = {name: moved[name] if name in moved else pd.Series(dtype="float64") for name in set(_COLUMN_OF.values())}
    table = pd.DataFrame({"opening": before, **parts}, index=lots).fillna(0.0)
    for name in ("redeemed", "expired", "reversed"):
        table[name] = 0.0 - table[name]
    after = entries[entries["occurred_at"] <= until].groupby("lot_id")["points"].sum()
    table["closing"] = after.reindex(lots).fillna(0.0)
    return table[["opening", "issued", "redeemed", "expired", "reversed", "closing"]]


_COLUMN_OF = {"earn": "issued", "adjust": "issued", "redeem": "redeemed", "expire": "expired", "reverse": "reversed"}


_SOURCES: tuple[tuple[str, Table, tuple[str, ...]], ...] = (
    ("facts", PURCHASES, _NEEDS),
    ("engagements", ENGAGEMENTS, _ENGAGED),
    ("goods", PRODUCTS, _GOODS),
)


def _register(
    db: duckdb.DuckDBPyConnection,
    name: str,
    rows: pd.DataFrame | None,
    table: Table,
    columns: tuple[str, ...],
    upto: datetime | None,
) -> None:
    some = (empty(table) if rows is None else rows)[list(columns)]
    db.register(f"given_{name}", as_arrow(some, table))
    _make(db, name, f"given_{name}", columns, upto)


def _read(
    db: duckdb.DuckDBPyConnection,
    name: str,
    tables_dir: Path,
    table: Table,
    columns: tuple[str, ...],
    upto: datetime | None,
) -> None:
    path = table_path(tables_dir, table.name)
    if not path.exists():
        return _register(db, name, None, table, columns, upto)
    return _make(db, name, f"read_parquet({quote(path)})", columns, upto)


def _make(
    db: duckdb.DuckDBPyConnection, name: str, source: str, columns: tuple[str, ...], upto: datetime | None
) -> None:
    query = f"create temp table {name} as select {', '.join(columns)} from {source}"
    db.execute(query if upto is None else f"{query} where occurred_at <= ?", [] if upto is None else [upto])


def _register_audience(db: duckdb.DuckDBPyConnection, audience: Mapping[str, frozenset[str]]) -> None:
    rows = [(rule, member) for rule, members in audience.items() for member in sorted(members)]
    frame = pd.DataFrame(rows, columns=["rule", "member_id"], dtype="object")
    db.register("given_audience", texts_as_arrow(frame))
    db.execute("create temp table audience as select * from given_audience")


def _ledger(
    db: duckdb.DuckDBPyConnection,
    programme: Programme,
    upto: datetime,
    redemptions: pd.DataFrame | None,
    given: pd.DataFrame | None,
) -> pd.DataFrame:
    """The ledger of the tables in the session; members who redeem or were given points go through the book."""
    issuing.issue(db, programme)
    known = [frame for frame in (redemptions, given) if frame is not None and not frame.empty]
    members = (
        pd.DataFrame({"member_id": pd.concat([frame["member_id"] for frame in known]).unique()}) if known else None
    )
    through = pd.DataFrame({"member_id": pd.Series(dtype="object")}) if members is None else members
    db.register("given_through", texts_as_arrow(through))
    db.execute("create temp table through as select * from given_through")
    entries = finish(db.execute(_ENTRIES, [upto]).df(), POINTS)
    if members is None:
        return entries
    lots, changes = db.execute(_LOTS).df(), db.execute(_CHANGES).df()
    outside = frozenset() if given is None else frozenset(given["entry_id"])
    return burns.played(entries, burns.movements(lots, changes, redemptions, given), upto, outside)


_LOTS = """select member_id, 'earn' as kind, 'earn:' || lot_id as entry_id, issued::double as points, lot_id,
    expires_at, moment as at, known_at from lots semi join through using (member_id)"""
_CHANGES = """select member_id, 'reverse' as kind, 'reverse:' || lot_id || ':' || purchase_id as entry_id,
    reversed::double as points, lot_id, expires_at, moment as at, known_at
    from changes semi join through using (member_id) where reversed > 0"""
_ENTRIES = f"""
with own as (select * from lots anti join through using (member_id)),
alive as (
    select * from changes anti join through using (member_id) where reversed > 0 and moment < expires_at
), taken as (select lot_id, sum(reversed) as points from alive group by lot_id),
expiries as (
    select l.*, l.issued - coalesce(t.points, 0) as expired
    from own l left join taken t using (lot_id) where l.expires_at <= ? and expired > 0
)
select * from (
    select 'earn:' || lot_id as entry_id, member_id, 'earn' as type, issued::double as points, lot_id, expires_at,
        '{DERIVED}' as source, moment as occurred_at, known_at from own
    union all
    select 'reverse:' || lot_id || ':' || purchase_id, member_id, 'reverse', -reversed::double, lot_id, expires_at,
        '{DERIVED}', moment, known_at from alive
    union all
    select 'expire:' || lot_id, member_id, 'expire', -expired::double, lot_id, expires_at,
        '{DERIVED}', expires_at, greatest(expires_at, known_at) from expiries
) order by member_id, occurred_at, entry_id
"""
