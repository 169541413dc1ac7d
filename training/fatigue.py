"""What one recent contact costs the next: fatigue, read from contacts that were drawn by lot.

Every decision was logged with the chance of doing nothing, so how many contacts a member had lately was drawn by lot
too. A straight line in the present contact, the number of recent ones and their product is fitted with instruments:
each contact less its chance, which nothing about the member can predict (Wald 1940; Angrist, Imbens & Rubin 1996; the
centred treatments are those of Robins 1994 for repeated decisions). Intervals are by member.

Two numbers come of it, both in baskets per reward window and recent contact: how much lower the effect of a further
contact is, and how many fewer come without one, since members fade or leave. Their sum, for somebody who is contacted
again, is what the bill charges.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from training.drawn import NOTHING, chances, decisions

PRICE = "fatigue.json"
_NORMAL_95 = 1.959964
_DAY = 86_400_000_000

Floats = NDArray[np.float64]
_FEWER: Floats = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
_LOWER: Floats = np.array([0.0, 0.0, 0.0, 0.0, 1.0])


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class FatigueConfig:
    """How fatigue is read."""

    window_days: int = Field(default=14, ge=1)
    """How long after a decision its outcome counts."""
    recent_days: int = Field(default=30, ge=1, le=90)
    """Contacts of so many days count as recent."""
    enough: int = Field(default=2000, ge=1)
    """Decisions below which nothing is exported: the policy's constants say more."""
    precise: float = Field(default=0.02, gt=0)
    """Baskets: nothing is exported where the interval reaches further than this to either side."""


@dataclass(frozen=True, slots=True)
class Fatigue:
    """Per recent contact, in baskets of one reward window; a cost is positive."""

    lower_effect: float
    """How much less a further contact brings."""
    lower_effect_interval: tuple[float, float]
    fewer: float
    """How many fewer come without a further contact."""
    fewer_interval: tuple[float, float]
    baskets: float
    """Both together: what a recent contact costs when there is a further one."""
    low: float
    high: float
    days: int
    """What counts as recent."""
    n: int
    members: int


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Decisions drawn by lot that lie a whole look-back behind the member's first; arrays (n,)."""

    member: NDArray[np.int64]
    contacted: Floats
    chance: Floats
    """Of being contacted at all."""
    recent: Floats
    """Contacts in the look-back."""
    expected: Floats
    """The same, each at its chance."""
    baskets: Floats
    habit: Floats
    """Baskets in the four windows before the member's first decision, which no contact could change."""


def units(tables: Path, at: datetime, config: FatigueConfig) -> Units | None:
    """The units known at `at`; None where doing nothing was never drawn beside something."""
    found = decisions(tables, at, config.window_days)
    if found.empty or NOTHING not in set(found["candidate_type"]):
        return None
    return lagged(found, _contact_chance(found), config.recent_days)


def lagged(found: pd.DataFrame, chance: Floats, recent_days: int) -> Units:
    """Units from decisions in order of member and time.

    Args:
        found: member_id, candidate_type, at_us, baskets and before for each decision.
        chance: of anything but doing nothing, (n,).
        recent_days: the look-back.
    """
    member = pd.factorize(found["member_id"])[0].astype(np.int64)
    order = np.lexsort((found["at_us"].to_numpy(np.int64), member))
    member, at = member[order], found["at_us"].to_numpy(np.int64)[order]
    contacted: Floats = np.asarray(found["candidate_type"] != NOTHING, dtype=np.float64)[order]
    chance = chance[order]
    first = np.searchsorted(member, member)
    begins = np.searchsorted(_key(member, at), _key(member, at - recent_days * _DAY + 1))
    here = np.arange(len(member))
    # The whole look-back lies behind the first decision, and lots fell both ways.
    whole = (at - recent_days * _DAY + _SLACK_DAYS * _DAY >= at[first]) & (chance > 0.01) & (chance < 0.99)
    return Units(
        member=member[whole],
        contacted=contacted[whole],
        chance=chance[whole],
        recent=_sums(contacted, begins, here)[whole],
        expected=_sums(chance, begins, here)[whole],
        baskets=_column(found, "baskets", order)[whole],
        habit=_column(found, "before", order)[first][whole],
    )


_SLACK_DAYS = 3
"""Windows that follow each other leave so much of the look-back empty at most."""


def _column(found: pd.DataFrame, name: str, order: NDArray[np.int64]) -> Floats:
    values: Floats = found[name].to_numpy(np.float64)[order]
    return values


def _key(member: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Grows with member, then time; seconds since 1970 stay below 2^36."""
    key: NDArray[np.int64] = (member << 36) + at // 1_000_000
    return key


def _sums(values: Floats, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
    upto = np.concatenate([[0.0], np.cumsum(values)])
    difference: Floats = upto[ends] - upto[begins]
    return difference


def _contact_chance(found: pd.DataFrame) -> Floats:
    of = {one: NOTHING if one == NOTHING else "something" for one in found["candidate_id"]}
    table = chances(found, of, (NOTHING, "something"))
    known: Floats = np.where(np.isnan(table[:, 0]), table[:, 1], 1.0 - table[:, 0])
    return known


def fatigue(given: Units, recent_days: int) -> Fatigue | None:
    """The estimate; None where the recent contacts of all are the same."""
    lot, past = given.contacted - given.chance, given.recent - given.expected
    one = np.ones_like(lot)
    instruments = np.stack([one, given.habit, lot, past, lot * past], axis=1)
    line = np.stack([one, given.habit, given.contacted, given.recent, given.contacted * given.recent], axis=1)
    if len(lot) < line.shape[1] or np.linalg.matrix_rank(instruments.T @ line) < line.shape[1]:
        return None
    inverse = np.linalg.inv(instruments.T @ line)
    slope = inverse @ (instruments.T @ given.baskets)
    pull = (instruments * (given.baskets - line @ slope)[:, None]) @ inverse.T
    ids, member = np.unique(given.member, return_inverse=True)
    by_member = np.stack([np.bincount(member, column) for column in pull.T], axis=1)
    spread = np.asarray(by_member.T @ by_member, dtype=np.float64)
    fewer = _cost(slope, spread, _FEWER)
    lower = _cost(slope, spread, _LOWER)
    both = _cost(slope, spread, _FEWER + _LOWER)
    return Fatigue(lower[0], lower[1:], fewer[0], fewer[1:], *both, recent_days, len(lot), len(ids))


def _cost(slope: Floats, spread: Floats, which: NDArray[np.float64]) -> tuple[float, float, float]:
    cost, error = -float(which @ slope), _NORMAL_95 * float(np.sqrt(which @ spread @ which))
    return cost, cost - error, cost + error


def estimate(tables: Path, at: datetime, config: FatigueConfig) -> Fatigue | None:
    """Fatigue from all that was drawn by lot and known at `at`; None where nothing can be said."""
    found = units(tables, at, config)
    return None if found is None else fatigue(found, config.recent_days)


def says_enough(one: Fatigue | None, config: FatigueConfig) -> bool:
    """Whether it goes before the policy's constants."""
    return one is not None and one.n >= config.enough and (one.high - one.low) / 2 <= config.precise


def save(one: Fatigue, folder: Path) -> None:
    """Write `fatigue.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PRICE).write_text(json.dumps(asdict(one), sort_keys=True, indent=1, allow_nan=False))


def metrics(one: Fatigue | None) -> dict[str, float]:
    """What a registry keeps of it; nothing where nothing can be said."""
    if one is None:
        return {}
    return {"fatigue_baskets": one.baskets, "fatigue_low": one.low, "fatigue_high": one.high}
