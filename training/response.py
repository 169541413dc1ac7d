"""What each type of candidate does, read from decisions that were drawn by lot.

Every decision was logged with the probability of everything it could have been. Weighting by its inverse makes those
who got a type, and those who got nothing, both stand for all who could have got either (Horvitz & Thompson 1952,
normalised as Hájek 1971). What a member's habits before the decision let expect is taken off the outcome first, which
changes no mean but narrows intervals (Deng et al. 2013). Intervals are by members, whose decisions hang together
(linearised variance, Liang & Zeger 1986).

One number for a type and no more: what it did on average to those it was drawn for. What differs between candidates
and between members is learned by `training.effects`, which goes before this wherever it serves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from training.drawn import NOTHING, chances, decisions, positions

ESTIMATES = "response.json"
_NORMAL_95 = 1.959964


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
        interval are NaN where doing nothing was never drawn beside it; `response` then is of all who got it.
    """
    found = _units(tables, at, config)
    return () if found is None else effects(found, config.least_probability)


def effects(units: Units, least_probability: float = 0.0) -> tuple[Estimate, ...]:
    """The estimates from units that are already together."""
    return tuple(
        _effect(units, units.types.index(kind), least_probability) for kind in sorted(units.types) if kind != NOTHING
    )


def exported(estimates: tuple[Estimate, ...], config: ResponseConfig) -> dict[str, dict[str, object]]:
    """What serving reads: type → response, n, effect, effect_interval; only where there is enough to say it.

    The last two are left out where doing nothing was not drawn often enough beside it: the effect then is the policy's
    share of the responses.
    """
    return {one.type: _said(one, one.nothing >= config.enough) for one in estimates if one.n >= config.enough}


def _said(one: Estimate, compared: bool) -> dict[str, object]:
    said: dict[str, object] = {"response": one.response, "n": one.n}
    return said | ({"effect": one.effect, "effect_interval": [one.low, one.high]} if compared else {})


def save(estimates: Mapping[str, Mapping[str, object]], folder: Path) -> None:
    """Write `response.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ESTIMATES).write_text(json.dumps(estimates, sort_keys=True, indent=1, allow_nan=False))


def table(estimates: tuple[Estimate, ...]) -> pd.DataFrame:
    """The estimates for people: a row for each type."""
    columns = ["type", "n", "nothing", "members", "response", "effect", "low", "high"]
    return pd.DataFrame([[getattr(one, column) for column in columns] for one in estimates], columns=columns)


def _effect(units: Units, kind: int, least: float) -> Estimate:
    chance = units.chance
    if NOTHING not in units.types:
        return _alone(units, kind, least)
    nothing = units.types.index(NOTHING)
    both = ~(chance[:, kind] < least) & ~(chance[:, nothing] < least)
    if not (both & (units.chosen == nothing)).any():
        return _alone(units, kind, least)
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


def _alone(units: Units, kind: int, least: float) -> Estimate:
    """Responses of a type that was drawn beside others, but never beside doing nothing."""
    taken = (units.chosen == kind) & ~(units.chance[:, kind] < least)
    response, _ = _mean(units.responded, taken, units.chance[:, kind])
    none = float("nan")
    members = len(np.unique(units.member[taken]))
    return Estimate(units.types[kind], response, none, none, none, int(taken.sum()), 0, members)


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
    found = decisions(tables, at, config.window_days)
    if found.empty:
        return None
    types = tuple(sorted(set(found["candidate_type"])))
    return Units(
        member=pd.factorize(found["member_id"])[0].astype(np.int64),
        chosen=positions(found["candidate_type"], types),
        chance=chances(found, dict(zip(found["candidate_id"], found["candidate_type"], strict=True)), types),
        responded=found["responded"].to_numpy(np.float64),
        baskets=found["baskets"].to_numpy(np.float64),
        before=found["before"].to_numpy(np.float64),
        types=types,
    )
