"""What each type of candidate does, read from decisions that were drawn by lot.

Every decision was logged with the probability of everything it could have been. Weighting by its inverse makes those
who got a type, and those who got nothing, both stand for all who could have got either (Horvitz & Thompson 1952,
normalised as Hájek 1971). What a member's habits before the decision let expect is taken off the outcome first, which
changes no mean but narrows intervals (Deng et al. 2013). Intervals are by members, whose decisions hang together
(linearised variance, Liang & Zeger 1986).

The unit is a member's first decision of a family in a reward window: later ones inside the window belong to what
follows from it. Decisions whose probability says nothing (`learnable` false) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

NOTHING = "do_nothing"
ESTIMATES = "response.json"
_NORMAL_95 = 1.959964
_DAY = 86_400_000_000


class NothingDrawnError(ValueError):
    """No decision that says anything was drawn by lot; the policy's priors stand."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class ResponseConfig:
    """How effects are read."""

    window_days: int = Field(default=28, ge=1)
    """How long after a decision its outcome counts; the policy's reward window."""
    enough: int = Field(default=200, ge=1)
    """Decisions of a type, and as many of doing nothing, below which nothing is exported: the prior says more."""
    least_probability: float = Field(default=0.005, ge=0, le=1)
    """A type less likely than this for a member could not really have happened; such decisions are not compared."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one type does inside the reward window, compared with doing nothing."""

    type: str
    response: float
    """Share of those who got it that accepted or redeemed."""
    effect: float
    """Baskets more than with nothing."""
    low: float
    high: float
    n: int
    """Decisions for this type."""
    nothing: int
    """Decisions for doing nothing they are compared with."""
    members: int


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """One row for each decision that counts."""

    member: NDArray[np.int64]
    """(n,): who, as a number."""
    chosen: NDArray[np.int64]
    """(n,): position in `types`."""
    chance: NDArray[np.float64]
    """(n, n_types): probability of each type; NaN where it was possible but not written down."""
    responded: NDArray[np.float64]
    baskets: NDArray[np.float64]
    before: NDArray[np.float64]
    """(n,): baskets in the four windows before the decision."""
    types: tuple[str, ...]


def estimate(tables: Path, at: datetime, config: ResponseConfig) -> tuple[Estimate, ...]:
    """Effects of all types that were ever drawn, from decisions whose reward window has closed by `at`.

    Returns:
        One for each type but doing nothing, by name; nothing where no decision was drawn by lot. `effect` and its
        interval are NaN where doing nothing was never drawn beside it.
    """
    found = _units(tables, at, config)
    return () if found is None else effects(found, config.least_probability)


def effects(units: Units, least_probability: float = 0.0) -> tuple[Estimate, ...]:
    """The estimates from units that are already together."""
    return tuple(
        _effect(units, units.types.index(kind), least_probability) for kind in sorted(units.types) if kind != NOTHING
    )


def exported(estimates: tuple[Estimate, ...], config: ResponseConfig) -> dict[str, dict[str, object]]:
    """What serving reads: type → response, effect, effect_interval, n; only where there is enough to say it."""
    return {
        one.type: {
            "response": one.response,
            "effect": one.effect,
            "effect_interval": [one.low, one.high],
            "n": one.n,
        }
        for one in estimates
        if min(one.n, one.nothing) >= config.enough
    }


def save(estimates: Mapping[str, Mapping[str, object]], folder: Path) -> None:
    """Write `response.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ESTIMATES).write_text(json.dumps(estimates, sort_keys=True, indent=1, allow_nan=False))


def table(estimates: tuple[Estimate, ...]) -> pd.DataFrame:
    """The estimates for people: a row for each type."""
    columns = ["type", "n", "nothing", "members", "response", "effect", "low", "high"]
    return pd.DataFrame([[getattr(one, column) for column in columns] for one in estimates], columns=columns)


def _effect(units: Units, kind: int, least: float) -> Estimate:
    nothing = units.types.index(NOTHING)
    chance = units.chance
    both = ~(chance[:, kind] < least) & ~(chance[:, nothing] < least)
    treated, control = both & (units.chosen == kind), both & (units.chosen == nothing)
    response, _ = _mean(units.responded, treated, chance[:, kind])
    baskets = _beyond_habit(units.baskets, units.before)
    here, here_pull = _mean(baskets, treated, chance[:, kind])
    there, there_pull = _mean(baskets, control, chance[:, nothing])
    clusters = np.bincount(units.member, here_pull - there_pull)
    error = float(np.sqrt((clusters**2).sum())) * _NORMAL_95
    members = len(np.unique(units.member[treated | control]))
    gap = here - there
    return Estimate(
        units.types[kind], response, gap, gap - error, gap + error, int(treated.sum()), int(control.sum()), members
    )


def _beyond_habit(baskets: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Baskets less what those before let expect, by one straight line for all; the mean stays what it is."""
    aside = before - before.mean()
    spread = float(aside @ aside)
    return baskets - (float(aside @ baskets) / spread) * aside if spread > 0 else baskets


def _mean(
    outcome: NDArray[np.float64], taken: NDArray[np.bool_], chance: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Hájek's mean, and how far each unit pulls it: the pulls' squares, added up by member, are its variance."""
    weight = np.where(taken, 1.0 / np.where(taken, chance, 1.0), 0.0)
    total = weight.sum()
    if total == 0:
        return float("nan"), np.full(len(outcome), np.nan)
    mean = float(weight @ outcome / total)
    return mean, weight * (outcome - mean) / total


def _units(tables: Path, at: datetime, config: ResponseConfig) -> Units | None:
    until = round(at.timestamp() * 1e6)
    sources = (_decided(tables, until), _stretch(tables, until))
    drawn = pd.concat([part for part in sources if len(part)] or list(sources[:1]), ignore_index=True)
    drawn = _firsts(drawn[drawn["at_us"] + config.window_days * _DAY <= until], config.window_days * _DAY)
    if drawn.empty or NOTHING not in set(drawn["candidate_type"]):
        return None
    happened = _happened(tables, drawn, config.window_days * _DAY, until)
    types = tuple(sorted(set(drawn["candidate_type"])))
    return Units(
        member=pd.factorize(drawn["member_id"])[0].astype(np.int64),
        chosen=drawn["candidate_type"].map({kind: i for i, kind in enumerate(types)}).to_numpy(np.int64),
        chance=_chances(drawn, types),
        responded=happened["responded"].to_numpy(np.float64),
        baskets=happened["baskets"].to_numpy(np.float64),
        before=happened["before"].to_numpy(np.float64),
        types=types,
    )


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


def _chances(drawn: pd.DataFrame, types: tuple[str, ...]) -> NDArray[np.float64]:
    """Probability of each type for each row: that of its candidates together, 0 where none was possible."""
    type_of = dict(zip(drawn["candidate_id"], drawn["candidate_type"], strict=True))
    column = {candidate: types.index(kind) for candidate, kind in type_of.items()}
    chance = np.full((len(drawn), len(types)), np.nan)
    for row, text in enumerate(drawn["propensities"].tolist()):
        if text:
            chance[row] = 0.0
            for candidate, probability in json.loads(text).items():
                if candidate in column:
                    chance[row, column[candidate]] += probability
    known = drawn["probability"].to_numpy(np.float64)
    chosen = drawn["candidate_type"].map({kind: i for i, kind in enumerate(types)}).to_numpy(np.int64)
    rows = np.flatnonzero(np.isnan(chance[np.arange(len(drawn)), chosen]))
    chance[rows, chosen[rows]] = known[rows]
    return chance


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
