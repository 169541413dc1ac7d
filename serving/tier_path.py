"""The cheapest set of offers, actions and benefits that changes the outcome of a member's tier. Pure.

Each candidate that the member may get now causes baskets with the effect of its bill, at the cost of its bill, once in
every reward window and as often as its own limits allow. Effects of several do not add up: together they cause a basket
unless none of them does, 1 − Π(1 − τ), and never more than one. All sets of up to three candidates are tried, so what
is found is the cheapest there is; its chance is the forecast run again with that effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import ceil, floor
from typing import Any

from features.entities import Candidate
from features.learned.tier_outcome import TierOutcome
from features.tier_needs import DAY
from serving.answer import moment
from serving.tier_outlook import Seen
from serving.value import UNITS, Worth

TARGETS = (0.25, 0.5, 0.75, 0.9)
"""Chances for which the cheapest set is told."""
MOST = 3
_COSTS = slice(2, 6)
"""Lines of a bill that are paid: discount, liability, contact, fatigue."""


@dataclass(frozen=True, slots=True)
class Option:
    """One candidate that the member may get, given so many times until the tier is decided."""

    id: str
    name: str
    family: str
    effect: float
    """Chance of a basket that it causes, above 0 and below 1."""
    cost: float
    """Money that all its times are expected to cost, margin not counted."""
    basis: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A set that brings the outcome with some chance."""

    options: tuple[Option, ...]
    chance: float
    cost: float


def options(allowed: Iterable[tuple[Candidate, Worth]], at: float, days: float, window: float) -> tuple[Option, ...]:
    """What can be added: rights are given anyway, and what causes nothing changes nothing.

    Args:
        allowed: Candidates that the member may get now, with their worth.
        at: Epoch seconds.
        days: Until the tier is decided.
        window: Days of a reward window, for which an effect holds.
    """
    found: dict[tuple[str, int], Option] = {}
    for candidate, worth in allowed:
        if candidate.entitlement or worth.effect <= 0:
            continue
        effect = min(worth.effect, 0.99)
        cost = max(-float(sum(list(worth.lines)[_COSTS])), 0.0) / UNITS
        for times in range(1, uses(candidate, at, days, window) + 1):
            found[candidate.id, times] = Option(
                id=candidate.id,
                name=candidate.name,
                family=candidate.family,
                effect=1.0 - (1.0 - effect) ** times,
                cost=cost * times,
                basis=worth.basis,
                times=times,
            )
    return tuple(sorted(found.values(), key=_order))


def uses(candidate: Candidate, at: float, days: float, window: float) -> int:
    """How often a candidate can be given within `days`: once at least, by its own limits, once in a reward window."""
    open_days = days if candidate.ends is None else min(days, (candidate.ends.timestamp() - at) / DAY)
    limits = candidate.limits
    most = [floor(open_days / max(limits.cooldown_days, window))]
    if limits.per_member is not None:
        most.append(limits.per_member * max(ceil(open_days / limits.per_days), 1))
    return max(min(most), 1)


def _order(one: Option) -> tuple[float, float, str]:
    """Cheaper first, then stronger."""
    return round(one.cost, 9), -one.effect, one.id


def together(some: Sequence[Option]) -> float:
    """The effect of several, (0, 1): a basket unless none of them causes it."""
    none = 1.0
    for one in some:
        none *= 1.0 - one.effect
    return 1.0 - none


def cheapest(offered: Sequence[Option], wanted: float, most: int = MOST) -> tuple[Option, ...] | None:
    """The cheapest set of up to `most` options whose effect comes to `wanted`; None where none does.

    Exact: an option is left out only where `most` other candidates each offer no less effect for no more, because then
    one of those that are not in its set can always take its place. Of equally cheap sets the smaller, then the
    stronger.
    """
    kept: list[Option] = []
    for one in offered:
        better = {other.id for other in offered if _order(other) < _order(one) and other.effect >= one.effect}
        if one.id not in better and len(better) < most:
            kept.append(one)
    sets = (some for size in range(1, most + 1) for some in combinations(kept, size) if _apart(some))
    enough = (some for some in sets if together(some) >= wanted)
    return min(enough, key=_dearness, default=None)


def _apart(some: Sequence[Option]) -> bool:
    return len({one.id for one in some}) == len(some)


def _dearness(some: Sequence[Option]) -> tuple[float, int, float]:
    return round(sum(one.cost for one in some), 9), len(some), -together(some)


def path(seen: Seen, rank: int, model: TierOutcome, offered: Sequence[Option], target: float) -> Found | None:
    """The cheapest set with which the member stands at `rank` with a chance of `target`; None where there is none.

    The chance is linear in the effect, so the least effect that is needed is known before the search; the set is
    checked by the forecast.
    """
    without, sure = seen.reaches(rank, model), seen.reaches(rank, model, 1.0)
    if sure <= without:
        return None
    some = cheapest(offered, (target - without) / (sure - without) - 1e-12)
    if some is None:
        return None
    chance = seen.reaches(rank, model, together(some))
    return Found(some, chance, sum(one.cost for one in some)) if chance >= target - 1e-9 else None


def told(
    seen: Seen,
    model: TierOutcome,
    allowed: Iterable[tuple[Candidate, Worth]],
    window: float,
    targets: Sequence[float] = TARGETS,
) -> dict[str, Any]:
    """What `GET /v1/members/{id}/tier-path` says: what it takes to reach the next tier and to keep this one."""
    programme, ahead = seen.programme, seen.outlook
    offered = options(allowed, ahead.at, seen.days, window)
    goals = [("reach", seen.next_rank), ("keep", ahead.rank or None)]
    return {
        "tier": programme.tiers[ahead.rank].id,
        "counts_until": moment(ahead.closes),
        "decided_at": moment(ahead.decided),
        "days": round((ahead.closes - ahead.at) / DAY, 2),
        "candidates": len({one.id for one in offered}),
        "goals": [_goal(kind, rank, seen, model, offered, targets) for kind, rank in goals if rank is not None],
    }


def _goal(
    kind: str,
    rank: int,
    seen: Seen,
    model: TierOutcome,
    offered: Sequence[Option],
    targets: Sequence[float],
) -> dict[str, Any]:
    need, chance = seen.outlook.needs[rank], seen.reaches(rank, model)
    best = max((seen.reaches(rank, model, together(some)) for some in _strongest(offered)), default=chance)
    steps = [
        {"target": target, **_step(path(seen, rank, model, offered, target))} for target in targets if target > chance
    ]
    tier = seen.programme.tiers[rank]
    return {
        "goal": kind,
        "tier": tier.id,
        "need": None if need == float("inf") else need,
        "measure": seen.programme.tier_rules.measure,
        "chance": chance,
        "best_chance": max(best, chance),
        "paths": steps,
        "text": _sentence(kind, tier.name, chance, max(best, chance), steps, need),
    }


def _strongest(offered: Sequence[Option]) -> Iterable[Sequence[Option]]:
    best: dict[str, Option] = {}
    for one in sorted(offered, key=lambda one: one.effect):
        best[one.id] = one
    if best:
        yield sorted(best.values(), key=lambda one: -one.effect)[:MOST]


def _step(found: Found | None) -> dict[str, Any]:
    if found is None:
        return {"reached": False, "set": [], "chance": None, "cost": None}
    shown = [
        {"kind" if name == "family" else name: value for name, value in asdict(one).items()} for one in found.options
    ]
    return {"reached": True, "set": shown, "chance": found.chance, "cost": found.cost}


def _sentence(kind: str, tier: str, chance: float, best: float, steps: Sequence[dict[str, Any]], need: float) -> str:
    what = f"reach {tier}" if kind == "reach" else f"keep {tier}"
    if need <= 0:
        return f"Nothing is needed to {what}: it is certain by the rules."
    if need == float("inf"):
        return f"Nothing can be bought any more that would {what} in time."
    first = next((step for step in steps if step["reached"]), None)
    if first is None:
        return (
            f"Nothing that may be given now changes it: the chance to {what} is {chance:.0%} and at best {best:.0%}."
            if steps
            else f"The chance to {what} is {chance:.0%} without anything."
        )
    names = ", ".join(f"{one['times']} × {one['name']}" for one in first["set"])
    return f"{names}: the chance to {what} rises from {chance:.0%} to {first['chance']:.0%} for {first['cost']:.2f}."
