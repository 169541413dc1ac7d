"""What still has to count towards a member's tier, found by asking the rules: the same state with one basket more.

No formula of a rule is written a second time. Rank never falls with spend, so the least amount that reaches a rank at a
later moment is found by halving.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, nan

from features.entities import Programme
from features.finishing import finisher
from features.qualifying import scale
from features.standing import tier_features
from features.states import COLUMNS, RELATIONS, Column, State

DAY = 86400.0
AHEAD_DAYS = 90.0
"""How far tiers without reviews are looked ahead."""
_BASKET = {"bought": 1, "lines": 1, "units": 1}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a member's tier at a later moment depends on; times are epoch seconds."""

    rank: int
    at: float
    closes: float
    """What is bought until then counts."""
    decided: float
    """When it is seen: at the review and after its grace, or `AHEAD_DAYS` on where there is no review."""
    needs: tuple[float, ...]
    """(n_tiers,): what has to be bought from `at` to `closes` for each rank, in money or baskets; 0 where nothing has
    to, infinite where nothing helps any more. NaN but for the member's own rank and the next."""


class Needs:
    """The rules of one programme, compiled once."""

    def __init__(self, programme: Programme) -> None:
        self._programme = programme
        self._rank = finisher(tier_features(programme)[:1])
        self._scale = scale(programme.tier_rules)

    def __call__(self, state: State, at: float) -> Outlook:
        """What the member's tier will depend on.

        Args:
            state: The member's; made at `at` or before.
            at: Epoch seconds.
        """
        closes, decided = self._moments(state, at)
        rank = self.rank(state, at)
        with_basket = _Amended(state, (at + closes) / 2)
        tiers = range(len(self._programme.tiers))
        near = (rank, rank + 1)
        needs = tuple(self._need(with_basket, one, decided) if one in near else nan for one in tiers)
        return Outlook(rank, at, closes, decided, needs)

    def rank(self, state: State, at: float) -> int:
        """The member's rank at a moment if nothing more is bought."""
        return int(self._rank(state, at)[0])

    def _moments(self, state: State, at: float) -> tuple[float, float]:
        rules = self._programme.tier_rules
        times, ends = (state.columns[COLUMNS["standing", name]] for name in ("occurred_us", "ends_us"))
        begun = [end / 1e6 for when, end in zip(times, ends, strict=True) if when <= at * 1e6 < end]
        if not rules.reviewed or not begun:
            return at + AHEAD_DAYS * DAY, at + AHEAD_DAYS * DAY
        return max(begun), max(begun) + rules.grace_days * DAY

    def _need(self, amended: _Amended, rank: int, decided: float) -> float:
        high = round(self._programme.tiers[rank].min_spend * self._scale)
        if rank == 0 or self.rank(amended(0), decided) >= rank:
            return 0.0
        if self.rank(amended(high), decided) < rank:
            return inf
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.rank(amended(middle), decided) >= rank else (middle, high)
        return high / self._scale


class _Amended:
    """A state with one more basket."""

    def __init__(self, state: State, when: float) -> None:
        self._state, self._when = state, round(when * 1e6)
        self._places = {
            name: bisect_right(state.columns[COLUMNS[name, "occurred_us"]], self._when)
            for name in ("baskets", "standing")
        }

    def __call__(self, units: int) -> State:
        if not units:
            return self._state
        columns = list(self._state.columns)
        for relation in RELATIONS:
            if relation.name in self._places:
                self._insert(columns, relation.name, [column.name for column in relation.stored], units)
        return replace(self._state, columns=tuple(columns))

    def _insert(self, columns: list[Column], relation: str, names: Sequence[str], units: int) -> None:
        place = self._places[relation]
        periods = columns[COLUMNS["standing", "period"]][:place] if relation == "standing" else (0,)
        values = {
            **dict.fromkeys(names, 0),
            "occurred_us": self._when,
            "spend": units,
            "bought_cents": units,
            "qualifying": units,
            "period": max(periods, default=0),
            "ends_us": float("nan"),
            **_BASKET,
        }
        for name in ("occurred_us", *names):
            old = columns[COLUMNS[relation, name]]
            more = bytes([int(values[name])]) if isinstance(old, bytes) else (values[name],)
            columns[COLUMNS[relation, name]] = old[:place] + more + old[place:]  # type: ignore[operator]
