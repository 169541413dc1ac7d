"""Candidates that drive purchases away: flagged by a test that may be looked at every night.

Each decision drawn by lot says `ψ = (1{A=a}/π_a − 1{A=0}/π_0) · (Y − b)` of candidate a: Y its baskets in the reward
window and b a window's share of those in the four windows before, both at most `cap`. As long as a's effect is not
negative, a bet `1 − λψ` against it gains nothing on average, whatever was seen before, so the chance that the stake
ever grows to 1/α is at most α (Ville 1939; Waudby-Smith & Ramdas 2023). An effect may turn: a new bet is begun with
every reward window, with a stake of 6/(π²j²) for the j-th, together at most 1; several sizes of λ share each stake. The
error α holds for all candidates of a programme and all nights together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from training.drawn import NOTHING, chances, decisions, positions
from training.effects.inputs import Floats, Whole

_SIZES = (0.05, 0.15, 0.4)
"""λ as shares of the largest that cannot lose everything."""
_WINDOWS_BEFORE = 4
_DAY = 86_400_000_000


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class HarmConfig:
    """When a candidate is said to do harm."""

    error: float = Field(default=0.05, gt=0, lt=1)
    """Chance that any candidate whose effect never was negative is ever flagged."""
    cap: int = Field(default=4, ge=1)
    """Baskets in a window that count at most."""
    least_probability: float = Field(default=0.01, gt=0, lt=1)
    """Decisions in which the candidate or doing nothing was less likely say nothing of it."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What is known of one candidate."""

    candidate_id: str
    type: str
    n: int
    """Decisions for it."""
    evidence: float
    """The highest the stake ever was; from `needed` on the candidate is flagged."""
    needed: float
    flagged_at: datetime | None
    """When the reward window closed that was the last straw."""
    effect: float
    """Mean of ψ since the start of the bet that grew most: baskets a decision, against doing nothing."""
    since: datetime

    @property
    def flagged(self) -> bool:
        """Whether it does harm."""
        return self.flagged_at is not None

    @property
    def reason(self) -> str:
        """For people."""
        return (
            f"drives purchases away: {self.effect:+.3f} baskets a decision since {self.since:%Y-%m-%d}, against doing "
            f"nothing, over {self.n} decisions for it (evidence {self.evidence:.0f}, needed {self.needed:.0f})"
        )


def harms(
    tables: Path,
    at: datetime,
    window_days: int,
    config: HarmConfig | None = None,
    begins: Mapping[str, datetime] | None = None,
) -> tuple[Harm, ...]:
    """What the decisions with a closed window say of every candidate that was drawn, by id.

    Args:
        tables: folder of the typed tables.
        at: nothing known later is used.
        window_days: the reward window.
        config: settings.
        begins: candidate → decisions before this do not count: it was let go on after a warning.
    """
    config = config or HarmConfig()
    found = decisions(tables, at, window_days)
    if found.empty or NOTHING not in set(found["candidate_type"]):
        return ()
    found = found.sort_values(["at_us", "member_id", "family"], ignore_index=True)
    kinds = dict(zip(found["candidate_id"], found["candidate_type"], strict=True))
    arms = (NOTHING, *sorted(one for one, kind in kinds.items() if kind != NOTHING))
    column = {one: NOTHING if kind == NOTHING else one for one, kind in kinds.items()}
    arm = positions(found["candidate_id"].map(column), arms)
    chance = np.nan_to_num(chances(found, column, arms))
    aside = np.minimum(found["baskets"], config.cap) - np.minimum(found["before"] / _WINDOWS_BEFORE, config.cap)
    when = found["at_us"].to_numpy(np.int64)
    told = []
    for place, one in enumerate(arms[1:], start=1):
        first = (begins or {}).get(one)
        keep = np.minimum(chance[:, place], chance[:, 0]) >= config.least_probability
        keep &= when >= (0 if first is None else round(first.timestamp() * 1e6))
        units = pd.DataFrame(
            {
                "at": when,
                "got": (arm == place).astype(int) - (arm == 0),
                "aside": aside,
                "own": chance[:, place],
                "none": chance[:, 0],
            }
        )[keep]
        told.append(_one(one, kinds[one], units, len(arms) - 1, window_days, config))
    return tuple(told)


def _one(candidate: str, kind: str, units: pd.DataFrame, many: int, window_days: int, config: HarmConfig) -> Harm:
    got, own, none = (units[name].to_numpy(np.float64) for name in ("got", "own", "none"))
    said = np.where(got > 0, 1 / own, np.where(got < 0, -1 / none, 0.0)) * units["aside"].to_numpy(np.float64)
    when = units["at"].to_numpy(np.int64)
    needed = many / config.error
    wealth, best_start = _wealth(said, config.cap / np.minimum(own, none), when, window_days * _DAY)
    over = np.flatnonzero(wealth >= needed)
    last = int(over[0]) if len(over) else len(wealth) - 1
    start = int(best_start[last]) if len(wealth) else 0
    closed = None if not len(over) else _moment(int(when[last]) + window_days * _DAY)
    since = _moment(int(when[start])) if len(when) else datetime.fromtimestamp(0, UTC)
    effect = float(said[start : last + 1].mean()) if len(said) else float("nan")
    return Harm(candidate, kind, int((got > 0).sum()), float(wealth.max(initial=0.0)), needed, closed, effect, since)


def _wealth(said: Floats, most: Floats, when: Whole, window: int) -> tuple[Floats, Whole]:
    """Stake after each decision, all bets together, and the first decision of the bet that had grown most.

    Args:
        said: (n,), ψ in order of time.
        most: (n,), the highest it could have been.
        when: (n,), microseconds.
        window: length of a reward window.
    """
    n = len(said)
    wealth, best, most_grown = np.zeros(n), np.zeros(n, np.int64), np.full(n, -np.inf)
    if not n:
        return wealth, best
    grown = [np.log1p(-size / most * said) for size in _SIZES]
    starts = np.unique(np.searchsorted(when, np.arange(when[0], when[-1] + 1, window)))
    for number, start in enumerate(starts[starts < n].tolist(), start=1):
        bets = np.exp(np.clip([np.cumsum(one[start:]) for one in grown], -700, 700)).mean(axis=0)
        wealth[start:] += bets * 6 / (np.pi * number) ** 2
        ahead = bets > most_grown[start:]
        best[start:][ahead] = start
        most_grown[start:][ahead] = bets[ahead]
    return wealth, best


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
