"""Ledger arithmetic: points that follow from purchases by the programme's rules, and the law every ledger obeys.

Each basket earns one lot, at the rate of the tier its member has at that moment. A return takes back what the returned
part had earned; what is left of a lot expires. For each lot and any stretch of time
`opening + issued − redeemed − expired − reversed = closing`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd

from features import history
from features.border import finish
from features.entities import Programme, Tier
from features.redemptions import spend_first_in_first_out
from features.table_files import as_arrow, quote, session, table_path
from features.tables import POINTS, PURCHASES

DERIVED = "derived"
"""The `source` of entries that were computed from purchases."""

_MONEY = "decimal(18, 4)"
_NEEDS = ("purchase_id", "basket_id", "member_id", "quantity", "amount", "reverses", "occurred_at", "known_at")


def derive(
    purchases: pd.DataFrame, programme: Programme, upto: datetime, redemptions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Points entries for a history that has none.

    A basket earns `floor(rate · amount)` points, its amount being the sum of its sales, at the rate of the highest tier
    whose spend the member had reached, net of returns, in that tier's window before the basket. A return of a known
    sale reverses as many points as `floor` of what stays of the basket falls, as long as the lot holds them and has not
    expired; a return without a known sale reverses nothing, for nothing was issued here. Amounts are counted exactly,
    to a ten-thousandth. The answer does not depend on the order of the rows.

    Args:
        purchases: The table of purchases, at least its columns used here.
        programme: Tiers, rates and how long points live.
        upto: Lots that expire after this moment are still open; purchases after it are left out.
        redemptions: Columns `entry_id, member_id, points` (> 0), `occurred_at` and `known_at`: what members redeemed,
            taken from their lots first in, first out. A redemption of more points than there are takes what there is.

    Returns:
        Rows of the table of points, sorted by member, time and entry; `source` is "derived".
    """
    with session() as db:
        db.register("given", as_arrow(purchases[list(_NEEDS)], PURCHASES))
        entries = _entries(db, "given", programme, upto)
    if redemptions is None or redemptions.empty:
        return entries
    return spend_first_in_first_out(entries, redemptions[redemptions["occurred_at"] <= upto])


def refresh(tables_dir: Path, programme: Programme) -> int | None:
    """Compute the points of a history that has none of its own, in place of what was computed before.

    Args:
        tables_dir: The folder of the tables; purchases must be merged already.
        programme: The rules.

    Returns:
        How many entries there are now, or None where the history has entries of its own and is left alone.
    """
    sources = history.read(tables_dir, "points", ["source"])["source"]
    if len(sources) and not (sources == DERIVED).any():
        return None
    source = f"read_parquet({quote(table_path(tables_dir, 'purchases'))})"
    with session() as db:
        entries = _entries(db, source, programme, history.ends_at(tables_dir))
    history.merge(tables_dir, {"points": entries}, superseding={"points": f"source = '{DERIVED}'"})
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


def _entries(db: duckdb.DuckDBPyConnection, source: str, programme: Programme, upto: datetime) -> pd.DataFrame:
    """The ledger of the purchases in a relation."""
    query = f"create temp table facts as select {', '.join(_NEEDS)} from {source} where occurred_at <= ?"
    db.execute(query, [upto])
    _make_baskets(db)
    _make_lots(db, programme)
    _make_changes(db)
    _make_expiries(db, upto)
    return finish(db.execute(_ENTRIES).df(), POINTS)


def _make_baskets(db: duckdb.DuckDBPyConnection) -> None:
    """The table `baskets`: what was bought in each, and the member's movements of money at its time."""
    db.execute(
        f"""create temp table baskets as
        select member_id, basket_id, min(occurred_at) as moment, max(known_at) as known_at,
            cast(sum(cast(amount as {_MONEY})) as {_MONEY}) as bought
        from facts where quantity > 0 group by member_id, basket_id"""
    )


def _make_lots(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """The table `lots`: each basket with the rate of the moment and the points it earns."""
    windows = sorted({tier.window_days for tier in programme.tiers if tier.min_spend > 0})
    sums = "".join(f", {_spend_in(days)} as spend_{days}" for days in windows)
    db.execute(
        f"""create temp table lots as
        with moves as (
            select member_id, null as basket_id, occurred_at as moment, known_at, cast(amount as {_MONEY}) as spent,
                null as bought from facts
            union all
            select member_id, basket_id, moment, known_at, 0, bought from baskets
        ), spending as (select *{sums} from moves)
        select member_id, basket_id, member_id || ':' || basket_id as lot_id, moment, known_at, bought,
            {_rate(programme.tiers)} as rate, floor(bought * rate) as issued,
            moment + to_days({programme.points.expiry_days}) as expires_at
        from spending where basket_id is not null and issued > 0"""
    )


def _spend_in(days: int) -> str:
    """Spend of the days before a moment: younger than `days`, and not of the moment itself."""
    return (
        "coalesce(sum(spent) over (partition by member_id order by moment "
        f"range between to_microseconds({days * 86_400_000_000 - 1}) preceding and to_microseconds(1) preceding), 0)"
    )


def _rate(tiers: tuple[Tier, ...]) -> str:
    """The earn rate of the highest tier reached, as SQL."""
    cases = [
        f"when spend_{tier.window_days} >= cast({tier.min_spend!r} as {_MONEY}) then {tier.earn_rate!r}::decimal(9, 4)"
        for tier in reversed(tiers)
        if tier.min_spend > 0
    ]
    lowest = f"{tiers[0].earn_rate!r}::decimal(9, 4)"
    return f"case {' '.join(cases)} else {lowest} end" if cases else lowest


def _make_changes(db: duckdb.DuckDBPyConnection) -> None:
    """The table `changes`: what each return takes back from the lot of its sale, as long as the lot lives."""
    db.execute(
        f"""create temp table changes as
        with returned as (
            select r.purchase_id, l.lot_id, l.member_id, l.issued, l.bought, l.rate, l.expires_at,
                r.occurred_at as moment, r.known_at,
                sum(cast(-r.amount as {_MONEY})) over (
                    partition by l.lot_id order by r.occurred_at, r.purchase_id
                    rows between unbounded preceding and current row) as back
            from facts r join facts s on r.reverses = s.purchase_id and r.member_id = s.member_id
            join lots l on l.member_id = s.member_id and l.basket_id = s.basket_id
            where r.quantity < 0 and r.occurred_at >= l.moment and r.occurred_at < l.expires_at
        ), staying as (
            select *, floor(cast(greatest(bought - back, 0) as {_MONEY}) * rate) as stays from returned
        ), lowest as (
            select *, min(stays) over (partition by lot_id order by moment, purchase_id
                rows between unbounded preceding and current row) as left_over from staying
        )
        select *, coalesce(lag(left_over) over (partition by lot_id order by moment, purchase_id), issued) - left_over
            as reversed from lowest"""
    )


def _make_expiries(db: duckdb.DuckDBPyConnection, upto: datetime) -> None:
    """The table `expiries`: what is left of each lot when its time is over."""
    db.execute(
        """create temp table expiries as
        with taken as (select lot_id, sum(reversed) as points from changes group by lot_id)
        select l.*, l.issued - coalesce(t.points, 0) as expired
        from lots l left join taken t using (lot_id) where l.expires_at <= ? and expired > 0""",
        [upto],
    )


_ENTRIES = f"""
select * from (
    select 'earn:' || lot_id as entry_id, member_id, 'earn' as type, issued::double as points, lot_id, expires_at,
        '{DERIVED}' as source, moment as occurred_at, known_at from lots
    union all
    select 'reverse:' || lot_id || ':' || purchase_id, member_id, 'reverse', -reversed::double, lot_id, expires_at,
        '{DERIVED}', moment, known_at from changes where reversed > 0
    union all
    select 'expire:' || lot_id, member_id, 'expire', -expired::double, lot_id, expires_at,
        '{DERIVED}', expires_at, greatest(expires_at, known_at) from expiries
) order by member_id, occurred_at, entry_id
"""
