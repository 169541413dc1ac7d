"""A member's tier at the next review: what it depends on, and the chances of rising, keeping and falling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.entities import Programme
from features.learned.tier_outcome import TierOutcome, reach_chances, row
from features.tier_needs import DAY, Needs, Outlook
from serving.answer import moment
from serving.members import Member


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the forecast of one member rests on."""

    outlook: Outlook
    row: NDArray[np.float64]
    """(1, n_needed)."""
    programme: Programme

    @property
    def days(self) -> float:
        """Days in which what is bought counts."""
        return max((self.outlook.closes - self.outlook.at) / DAY, 1.0 / 24)

    def reaches(self, rank: int, model: TierOutcome, extra: float = 0.0) -> float:
        """The chance of standing at `rank` or above then, with `extra` baskets (0..1) that are caused."""
        need = np.array([self.outlook.needs[rank]])
        money = self.programme.tier_rules.measure == "spend"
        return float(reach_chances(model, self.row, np.array([self.days]), need, extra, money=money)[0])

    @property
    def next_rank(self) -> int | None:
        """The rank above; None at the top."""
        rank = self.outlook.rank + 1
        return rank if rank < len(self.programme.tiers) else None


def seen(member: Member, at: float, programme: Programme) -> Seen:
    """The member as the forecast needs them; `at` in epoch seconds, not before the state was made."""
    return Seen(_needs(programme)(member.state, at), row(member.features), programme)


def told(found: Seen, model: TierOutcome | None) -> dict[str, Any]:
    """What `GET /v1/members/{id}` says under `tier.outlook`; chances are null before they were fitted."""
    ahead, above = found.outlook, found.next_rank
    up = None if model is None else (0.0 if above is None else found.reaches(above, model))
    stays = None if model is None else found.reaches(ahead.rank, model)
    chances = (
        {} if up is None or stays is None else {"upgrade": up, "keep": max(stays - up, 0.0), "downgrade": 1 - stays}
    )
    return {
        "counts_until": moment(ahead.closes),
        "decided_at": moment(ahead.decided),
        "to_reach_next": None if above is None else _amount(ahead.needs[above]),
        "to_keep": _amount(ahead.needs[ahead.rank]),
        "measure": found.programme.tier_rules.measure,
        "chance": chances or None,
    }


def _amount(need: float) -> float | None:
    """What is to be bought; null where no purchase helps any more."""
    return None if isinf(need) else need


@lru_cache(maxsize=4)
def _needs(programme: Programme) -> Needs:
    return Needs(programme)
