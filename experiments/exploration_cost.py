"""What chance has cost, beside what it was allowed to: worked out from the inputs of every logged decision.

At each rank the expected loss against the best, `Σ π(a)·(S* − S_a)`, is a number, not a draw: no outcome is needed to
know it. Its mean over members is what has an interval. Money is what candidates compete with: the score, after levers.
The "do nothing" floor is counted apart, as the price of knowing what would have happened anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from experiments.replay import Record, Unread, Versions
from serving.decide import appraise
from serving.exploration import Exploration
from serving.slate import Stake, arrange

_NORMAL_95 = 1.959964
_CENT = 1e-9


@dataclass(frozen=True, slots=True)
class Reading:
    """A ratio of sums over members with its 95 % interval (linearised, by members); NaN where below it stands 0."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What one policy's chance cost in one family."""

    policy_version: str
    variant: str | None
    family: str
    exploration: Exploration | None
    """What the policy allows; None where the family does not explore."""
    decisions: int
    members: int
    explored: int
    """Decisions in which chance could lose something."""
    over: int
    """Ranks at which it could lose more than its limit; 0, or something is wrong."""
    per_thousand: Reading
    """Expected loss by chance, money for 1,000 decisions."""
    allowed: float
    """What it might have lost at most under the policy, money for 1,000 decisions."""
    share: Reading
    """The same as a share of what the best would have been worth."""
    floor: Reading
    """What the "do nothing" floor cost, as a share of the same."""


@dataclass(slots=True)
class _Sums:
    exploration: Exploration | None
    by_member: dict[str, list[float]] = field(default_factory=dict)
    """Member → decisions, best, lost by chance, lost by the floor, most that chance might lose."""
    explored: int = 0
    over: int = 0


def costs(records: Iterable[Record | Unread], versions: Versions) -> list[Cost]:
    """For each policy version, variant and family that was decided under.

    Left out are answers of the lowest rung, members held out, product lists, what cannot be read any more, and what was
    drawn but could not be reserved: what was given in its place counts.
    """
    sums: dict[tuple[str, str, str], _Sums] = {}
    kept, refused = [], set()
    for record in records:
        if (
            isinstance(record, Unread)
            or record.decision.mode in ("fallback", "holdout")
            or record.ask.family == "product"
        ):
            continue
        if record.snapshot.refused and record.replaces:
            refused.add(record.replaces)
        kept.append((record.decision_id, *_stakes(record, versions)))
    for decision_id, key, member, exploration, stakes in kept:
        if decision_id in refused:
            continue
        _add(sums.setdefault(key, _Sums(exploration)), member, stakes)
    return [_cost(key, sums[key]) for key in sorted(sums)]


_Found = tuple[tuple[str, str, str], str, Exploration | None, tuple[Stake, ...]]


def _stakes(record: Record, versions: Versions) -> _Found:
    known = versions.catalog(record.versions["catalog"]), versions.policy(record.versions["policy"])
    seen = appraise(
        record.snapshot, record.ask, record.learned, *known, versions.experiments(record.versions["experiments"])
    )
    drawn = arrange(seen.allowed, record.snapshot, record.ask, seen.policy, held_out=seen.held_out)
    exploration = seen.policy.exploration if seen.policy.families[record.ask.family].explore else None
    key = (record.decision.policy_version, record.decision.variant or "", record.ask.family)
    return key, record.snapshot.member_id, exploration, drawn.stakes


def _add(sums: _Sums, member: str, stakes: tuple[Stake, ...]) -> None:
    mine = sums.by_member.setdefault(member, [0.0] * 5)
    mine[0] += 1.0
    sums.explored += any(one.explored > 0.0 for one in stakes)
    for one in stakes:
        best = max(one.best, 0.0)
        mine[1] += best
        mine[2] += (1.0 - one.floor) * one.explored
        mine[3] += one.floor * best
        limit = _limit(sums.exploration, best)
        mine[4] += limit
        sums.over += one.explored > limit + _CENT


def _limit(exploration: Exploration | None, best: float) -> float:
    if exploration is None:
        return 0.0
    return exploration.allowance if exploration.share is None else exploration.share * best + exploration.least


def _cost(key: tuple[str, str, str], sums: _Sums) -> Cost:
    count, best, chance, floor, limit = np.array(list(sums.by_member.values())).T
    return Cost(
        key[0], key[1] or None, key[2], sums.exploration, int(count.sum()), len(count), sums.explored, sums.over,
        per_thousand=_ratio(1_000 * chance, count), allowed=1_000 * float(limit.sum() / count.sum()),
        share=_ratio(chance, best), floor=_ratio(floor, best),
    )  # fmt: skip


def _ratio(
    above: np.ndarray[tuple[int], np.dtype[np.float64]], below: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Reading:
    total = float(below.sum())
    if total <= 0.0:
        return Reading(float("nan"), float("nan"), float("nan"))
    ratio = float(above.sum()) / total
    half = _NORMAL_95 * float(np.sqrt(((above - ratio * below) ** 2).sum())) / total
    return Reading(ratio, ratio - half, ratio + half)


def lines(found: Iterable[Cost], currency: str) -> Iterator[str]:
    """The reading for people."""
    for one in found:
        under = f"policy {one.policy_version}" + (f", variant {one.variant}" if one.variant else "")
        yield f"{under}, {one.family}: {one.decisions:,} decisions for {one.members:,} members"
        if one.exploration is None:
            yield "  nothing is left to chance but the floor"
        else:
            money, share = one.per_thousand, one.share
            yield (
                f"  chance cost {money.value:,.2f} [{money.low:,.2f}, {money.high:,.2f}] {currency} per 1,000 decisions"
                f", {share.value:.2%} [{share.low:.2%}, {share.high:.2%}] of what the best was worth;"
                f" {_allowed(one, currency)}"
            )
            yield f"  it could lose something in {one.explored:,} decisions, more than allowed at {one.over:,} ranks"
        yield f'  the "do nothing" floor cost {one.floor.value:.2%} [{one.floor.low:.2%}, {one.floor.high:.2%}] of it'


def _allowed(one: Cost, currency: str) -> str:
    rules = one.exploration
    if rules is None or rules.share is None:
        return "the policy states no share (exploration.share)"
    return (
        f"allowed are {rules.share:.2%} and {rules.least:g} {currency} a rank, together {one.allowed:,.2f} {currency}"
    )
