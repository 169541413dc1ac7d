"""Decisions that were drawn by lot, and what followed inside the reward window: what effects are read from.

The unit is a member's first decision of a family in a reward window: later ones inside the window belong to what
follows from it. Decisions whose probability says nothing (`learnable` false) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOTHING = "do_nothing"
_DAY = 86_400_000_000


def decisions(tables: Path, at: datetime, window_days: int) -> pd.DataFrame:
    """One row for each unit whose reward window has closed by `at`, in order of member, family and time.

    Returns:
        decision_id, member_id, family, candidate_id, candidate_type, probability, propensities (JSON, empty where a
        history did not bring them), at_us; and from what was known at `at`: `responded` (accepted or redeemed),
        `baskets` in the window, `before` (baskets in the four windows before).
    """
    until = round(at.timestamp() * 1e6)
    window = window_days * _DAY
    sources = (_decided(tables, until), _stretch(tables, until))
    drawn = pd.concat([part for part in sources if len(part)] or list(sources[:1]), ignore_index=True)
    drawn = _firsts(drawn[drawn["at_us"] + window <= until], window)
    if drawn.empty:
        return drawn.assign(responded=0.0, baskets=0.0, before=0.0)
    return pd.concat([drawn, _happened(tables, drawn, window, until)], axis=1)


_COLUMNS = ("decision_id", "member_id", "family", "candidate_id", "candidate_type", "probability", "propensities")


def _decided(tables: Path, until: int) -> pd.DataFrame:
    """First ranks of the service's own offers and actions."""
    return _read(
        tables / "decisions.parquet",
        """
        select decision_id, member_id, family, candidate_id, candidate_type, probability, propensities,
          epoch_us(occurred_at) as at_us
        from read_parquet($file)
        where learnable and rank = 1 and family in ('offer', 'action') and epoch_us(known_at) <= $until
        order by member_id, family, at_us, decision_id, placement
        """,
        until,
    )


def _stretch(tables: Path, until: int) -> pd.DataFrame:
    """What a history brought that was drawn by lot before there was a journal."""
    return _read(
        tables / "offer_events.parquet",
        """
        select '' as decision_id, member_id, 'offer' as family, offer_id as candidate_id,
          offer_type as candidate_type, probability, '' as propensities, epoch_us(occurred_at) as at_us
        from read_parquet($file)
        where type = 'sent' and probability > 0 and decision_id is null and epoch_us(known_at) <= $until
        order by member_id, at_us, event_id
        """,
        until,
    )


def _read(file: Path, sql: str, until: int) -> pd.DataFrame:
    if not file.exists():
        return pd.DataFrame(
            {column: pd.Series(dtype=object) for column in _COLUMNS} | {"at_us": pd.Series(dtype="int64")}
        )
    with duckdb.connect() as connection:
        frame: pd.DataFrame = connection.execute(sql, {"file": str(file), "until": until}).df()
    return frame


def _firsts(drawn: pd.DataFrame, window: int) -> pd.DataFrame:
    """Leave out what was decided for a member and family inside the window of an earlier one that counts."""
    drawn = drawn.sort_values(["member_id", "family", "at_us"], kind="stable", ignore_index=True)
    whose = (drawn["member_id"] + "\n" + drawn["family"]).tolist()
    kept, owner, closes = [], None, 0
    for row, (who, when) in enumerate(zip(whose, drawn["at_us"].tolist(), strict=True)):
        if who != owner or when >= closes:
            kept.append(row)
            owner, closes = who, when + window
    return drawn.iloc[kept].reset_index(drop=True)


def chances(found: pd.DataFrame, of: Mapping[str, str], columns: tuple[str, ...]) -> NDArray[np.float64]:
    """Logged probability of each column for each row, (n, n_columns).

    Args:
        found: from `decisions`.
        of: candidate id → its column; the probabilities of the candidates of one column are added up.
        columns: in order.

    Returns:
        0 where a column was not possible, NaN where it was possible but not written down.
    """
    column = {candidate: columns.index(name) for candidate, name in of.items()}
    chance = np.full((len(found), len(columns)), np.nan)
    for row, text in enumerate(found["propensities"].tolist()):
        if text:
            chance[row] = 0.0
            for candidate, probability in json.loads(text).items():
                if candidate in column:
                    chance[row, column[candidate]] += probability
    known = found["probability"].to_numpy(np.float64)
    chosen = found["candidate_id"].map(column).to_numpy(np.int64)
    rows = np.flatnonzero(np.isnan(chance[np.arange(len(found)), chosen]))
    chance[rows, chosen[rows]] = known[rows]
    return chance


def positions(values: pd.Series, columns: tuple[str, ...]) -> NDArray[np.int64]:
    """Position of each value among `columns`."""
    return np.asarray(values.map({name: i for i, name in enumerate(columns)}), dtype=np.int64)


_OUTCOMES = """
with unit as (select row_number() over () - 1 as unit, * from drawn),
bought as (
  select u.unit,
    count(distinct epoch_us(p.occurred_at)) filter (where epoch_us(p.occurred_at) > u.at_us) as baskets,
    count(distinct epoch_us(p.occurred_at)) filter (where epoch_us(p.occurred_at) <= u.at_us) as before
  from unit u join read_parquet($purchases) p on p.member_id = u.member_id
    and epoch_us(p.occurred_at) > u.at_us - 4 * $window and epoch_us(p.occurred_at) <= u.at_us + $window
  where p.quantity > 0 and epoch_us(p.known_at) <= $until
  group by u.unit
), answered as (
  select distinct u.unit
  from unit u join answers a on a.member_id = u.member_id
    and (a.offer_id = u.candidate_id or (u.decision_id <> '' and a.decision_id = u.decision_id))
    and a.at_us > u.at_us and a.at_us <= u.at_us + $window
  where u.candidate_type <> 'do_nothing'
)
select coalesce(b.baskets, 0) as baskets, coalesce(b.before, 0) as before, (a.unit is not null)::int as responded
from unit u left join bought b using (unit) left join answered a using (unit)
order by u.unit
"""
_ANSWERS = """
select member_id, offer_id, decision_id, epoch_us(occurred_at) as at_us from read_parquet($file)
where type in ('accept', 'redeem') and epoch_us(known_at) <= $until
"""


def _happened(tables: Path, drawn: pd.DataFrame, window: int, until: int) -> pd.DataFrame:
    """Baskets and answers inside each unit's window: joined by member and time, whether or not a till says why."""
    values = {"purchases": str(tables / "purchases.parquet"), "window": window, "until": until}
    with duckdb.connect() as connection:
        connection.register("drawn", drawn[["decision_id", "member_id", "candidate_id", "candidate_type", "at_us"]])
        connection.register("answers", _answers(tables, until))
        frame: pd.DataFrame = connection.execute(_OUTCOMES, values).df()
    return frame


def _answers(tables: Path, until: int) -> pd.DataFrame:
    parts = []
    for name, sql in (
        ("offer_events", _ANSWERS),
        ("outcomes", _ANSWERS.replace("offer_id,", "'' as offer_id,")),
    ):
        file = tables / f"{name}.parquet"
        if file.exists():
            with duckdb.connect() as connection:
                parts.append(connection.execute(sql, {"file": str(file), "until": until}).df())
    empty = pd.DataFrame({"member_id": [""], "offer_id": ["-"], "decision_id": ["-"], "at_us": [0]})
    return pd.concat([empty, *parts], ignore_index=True)
