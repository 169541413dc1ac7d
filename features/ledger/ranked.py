"""The tier of each basket's moment where tiers are held beyond the window: by the very definition of the features."""

from __future__ import annotations

import duckdb

from features.cutoffs import collect, feature_sql
from features.entities import Programme
from features.member_facts import of
from features.standing import tier_features
from features.table_files import quote

RATE = "decimal(9, 4)"


def make_priced(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """Make the table `priced` from `facts`, `baskets`, `occasions` and, where it is there, `enrolments`.

    What happened before the moment counts, and of that all, whenever it became known: a ledger is computed anew.

    Args:
        db: The ledger's session. Without a table `enrolments` (member_id, enrolled_at) a membership begins with the
            first purchase.
        programme: Its tiers and how they are held.
    """
    db.execute("create temp table if not exists enrolments (member_id varchar, enrolled_at timestamptz)")
    db.execute("create or replace temp view purchases as select * replace (occurred_at as known_at) from facts")
    db.execute("create or replace temp view members as select * from enrolments")
    db.execute(
        """create or replace temp table moments as
        select member_id, basket_id, basket_id as key, 'purchase' as kind, moment, known_at, bought from baskets
        union all select member_id, null, key, kind, moment, known_at, null from occasions"""
    )
    db.execute(
        """create or replace temp table pairs as
        select row_number() over () as pair, member_id, at_us from (
            select distinct member_id, epoch_us(moment) - 1 as at_us from moments
        )"""
    )
    relation = of(programme)["standing"]
    collect(db, relation)
    ranks = feature_sql(relation, tier_features(programme)[:1])
    cases = " ".join(f"when {rank} then {quote(tier.id)}" for rank, tier in enumerate(programme.tiers))
    rates = " ".join(f"when {rank} then {tier.earn_rate!r}::{RATE}" for rank, tier in enumerate(programme.tiers))
    db.execute(
        f"""create temp table priced as
        with ranks as ({ranks}), placed as (
            select moments.*, cast(coalesce(ranks.tier_rank, 0) as integer) as tier_rank from moments
            join pairs on pairs.member_id = moments.member_id and pairs.at_us = epoch_us(moments.moment) - 1
            left join ranks on ranks.pair = pairs.pair
        )
        select member_id, basket_id, key, kind, moment, known_at, bought,
            case tier_rank {rates} end as rate, case tier_rank {cases} end as tier from placed"""
    )
