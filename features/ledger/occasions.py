"""Occasions to earn points beside purchases: engagements, streaks of check-ins, referrals."""

from __future__ import annotations

import duckdb

from features.entities import Programme
from features.table_files import quote


def streak(days: int) -> str:
    """The kind of occasion that so many days in a row are."""
    return f"streak_{days}"


def make(db: duckdb.DuckDBPyConnection, programme: Programme) -> None:
    """Make the tables `occasions` (member_id, key, kind, moment, known_at) and `referrals` (key, referrer, referred).

    An engagement is an occasion of its type. The last of n days in a row (in the programme's time zone) with a check-in
    is one too, and then the count begins anew; it is known once all n days are. A referral is an enrolment whose
    `topic` names the member who brought the newcomer; of several of one newcomer the first counts.
    """
    db.execute(
        """create temp table referrals as
        select engagement_id as key, topic as referrer, member_id as referred, occurred_at, known_at from engagements
        where type = 'enrol' and topic is not null and topic <> member_id
        qualify row_number() over (partition by member_id order by occurred_at, engagement_id) = 1"""
    )
    db.execute(
        """create temp table occasions as
        select member_id, engagement_id as key, type as kind, occurred_at as moment, known_at
        from engagements where type <> 'enrol'
        union all select referrer, key, 'referral', occurred_at, known_at from referrals"""
    )
    for days in sorted({rule.days for rule in programme.earning.rules if rule.type == "check_in_streak"}):
        db.execute(f"insert into occasions {_streaks(days, programme.timezone)}")


def _streaks(days: int, zone: str) -> str:
    return f"""
        with visits as (
            select member_id, cast(occurred_at at time zone {quote(zone)} as date) as day, min(occurred_at) as moment,
                arg_min(known_at, (occurred_at, engagement_id)) as known_at,
                arg_min(engagement_id, (occurred_at, engagement_id)) as key
            from engagements where type = 'check_in' group by 1, 2
        ), runs as (
            select *, day - cast(row_number() over (partition by member_id order by day) as integer) as run from visits
        ), placed as (
            select *, row_number() over (partition by member_id, run order by day) as nth,
                max(known_at) over (partition by member_id, run order by day
                    rows between {days - 1} preceding and current row) as all_known from runs
        )
        select member_id, key, '{streak(days)}', moment, all_known from placed where nth % {days} = 0"""
