"""What a marketer's levers cost: the value of the logged decisions without a lever, less their value with it.

Every decision is run again from its own inputs with levers at 1, which gives the exact chance of each candidate; what
followed the decisions that were drawn says what that is worth (doubly robust: Dudík, Langford & Li 2011). Beside it
stands what the bills expect. A lever multiplies value, so it never makes a loss look smaller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.entities import DO_NOTHING, Candidate, Catalog
from serving.assignment import Experiments
from serving.decide import Appraisal, appraise
from serving.policy import Policy
from serving.slate import arrange
from serving.snapshot import Ask, Learned, Snapshot

Floats = NDArray[np.float64]
_NORMAL_95 = 1.959964
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Logged:
    """One decision with the rules it was made under."""

    decision_id: str
    snapshot: Snapshot
    ask: Ask
    learned: Learned
    catalog: Catalog
    policy: Policy
    experiments: Experiments
    chances: Mapping[str, float]
    """Of every candidate at the first rank, as logged."""
    given: str
    """What stood at the first rank."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of a decision in its reward window."""

    baskets: float
    responded: bool


@dataclass(frozen=True, slots=True)
class LeverCost:
    """Cost of one lever, or of all together, in money per 1,000 decisions; above 0, the lever loses money."""

    candidate_id: str
    """Empty for all together."""
    lever: float
    decisions: int
    """Looked at."""
    moved: float
    """Share of decisions that would go to something else, in expectation."""
    expected: float
    """By the bills."""
    cost: float | None
    """By what followed; None where it is refused, with the reason in `refused`."""
    low: float
    high: float
    snips: float | None
    ess: float
    """Effective number of decisions that speak for the policy without the lever."""
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """When an answer from what followed is refused."""

    least: int = 200
    """Decisions whose window has closed."""
    ess_share: float = 0.05
    unsupported: float = 0.01
    """Share of decisions that would go to what had no chance."""
    most_weight: float = 50.0


@dataclass(slots=True)
class _Rows:
    """One entry for each decision."""

    member: list[str]
    moved: list[float]
    expected: list[float]
    unsupported: list[float]
    weight: list[float]
    """New chance of what was given over the logged one; NaN where nothing is known of what followed."""
    direct: list[float]
    outcome: list[float]
    told: list[float]
    margin: list[float]


def costs(
    logged: Iterable[Logged], followed: Mapping[str, Followed], limits: Limits | None = None
) -> tuple[LeverCost, ...]:
    """What each lever costs, and last all together; empty where no candidate has one.

    Args:
        logged: offers and actions; others are passed over.
        followed: decision id → what came of it; decisions whose window is open are missing.
        limits: when to refuse.
    """
    rules = limits or Limits()
    rows: dict[str, _Rows] = {}
    levers: dict[str, float] = {}
    plain: dict[tuple[str, str], Catalog] = {}
    for one in logged:
        if one.ask.family not in ("offer", "action"):
            continue
        mine = pulled(one.catalog)
        seen = appraise(one.snapshot, one.ask, one.learned, one.catalog, one.policy, one.experiments)
        for name in (*mine, "") if mine else ():
            levers[name] = mine.get(name, 1.0)
            without = plain.setdefault((one.catalog.version, name), unpulled(one.catalog, name))
            _add(rows.setdefault(name, _empty()), one, seen, without, followed.get(one.decision_id))
    order = [*sorted(name for name in rows if name), *([""] if "" in rows else [])]
    return tuple(_cost(name, levers[name], rows[name], rules) for name in order)


def pulled(catalog: Catalog) -> dict[str, float]:
    """Candidate → its lever, of those whose lever is not 1."""
    every = (*catalog.offers, *catalog.actions)
    return {one.id: one.lever for one in every if one.lever != 1.0}


def unpulled(catalog: Catalog, name: str) -> Catalog:
    """The catalogue with one candidate's lever at 1; all of them where the name is empty."""

    def flat(many: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        return tuple(replace(one, lever=1.0) if name in ("", one.id) else one for one in many)

    return replace(catalog, offers=flat(catalog.offers), actions=flat(catalog.actions))


def _empty() -> _Rows:
    return _Rows([], [], [], [], [], [], [], [], [])


def _add(rows: _Rows, one: Logged, seen: Appraisal, without: Catalog, came: Followed | None) -> None:
    """One decision, decided again with the same values and other pulls: a lever changes nothing else."""
    lever = {each.id: each.lever for each in (*without.offers, *without.actions)}
    pool = [(each, worth._replace(pull=_pull(worth, each.lever, lever[each.id]))) for each, worth in seen.allowed]
    again = arrange(pool, one.snapshot, one.ask, seen.policy, held_out=seen.held_out).chances
    new = again[0].probabilities if again else {}
    net = {each.id: worth.net / _UNITS for each, worth in seen.allowed} | {DO_NOTHING.id: 0.0}
    shift = {name: new.get(name, 0.0) - one.chances.get(name, 0.0) for name in {*new, *one.chances}}
    rows.member.append(one.snapshot.member_id)
    rows.moved.append(sum(abs(each) for each in shift.values()) / 2)
    rows.expected.append(sum(each * net.get(name, 0.0) for name, each in shift.items()))
    rows.unsupported.append(sum(chance for name, chance in new.items() if one.chances.get(name, 0.0) <= 0))
    chance = one.chances.get(one.given, 0.0)
    known = came is not None and chance > 0
    rows.weight.append(new.get(one.given, 0.0) / chance if known else float("nan"))
    rows.direct.append(rows.expected[-1])
    rows.told.append(net.get(one.given, 0.0))
    rows.margin.append(seen.portrait.margin)
    rows.outcome.append(_outcome(one, seen, came) if came is not None else float("nan"))


_UNITS = 10_000


def _pull(worth: object, old: float, new: float) -> float:
    """The pull under another lever; what budgets take stays as it is."""
    net, pull = worth.net / _UNITS, worth.pull  # type: ignore[attr-defined]
    return float(pull - net * old + net * new) if net > 0 else float(pull)


def _outcome(one: Logged, seen: Appraisal, came: Followed) -> float:
    """Money of the window: margin of its baskets, less what was given to whoever responded, and the contact."""
    money = came.baskets * seen.portrait.margin
    for each, worth in seen.allowed:
        if each.id == one.given:
            _, lifetime, discount, liability, contact, fatigue, _ = worth.lines
            given = (discount + liability) / worth.response if worth.response else 0.0
            money += (given * came.responded + contact + fatigue + lifetime) / _UNITS
    return float(money)


def _cost(name: str, lever: float, rows: _Rows, rules: Limits) -> LeverCost:
    n = len(rows.member)
    moved, expected = float(np.mean(rows.moved)), 1000 * float(np.mean(rows.expected))
    found = _off_policy(rows)
    closed, ess, most = found[4], found[3], found[5]
    unsupported = float(np.mean(rows.unsupported))
    refused = _refusal(rules, closed, ess, most, unsupported)
    if refused:
        nan = float("nan")
        return LeverCost(name, lever, n, moved, expected, None, nan, nan, None, ess, refused)
    cost, error, snips = found[0], found[1], found[2]
    return LeverCost(
        name, lever, n, moved, expected, 1000 * cost, 1000 * (cost - _NORMAL_95 * error),
        1000 * (cost + _NORMAL_95 * error), 1000 * snips, ess,
    )  # fmt: skip


def _refusal(rules: Limits, closed: int, ess: float, most: float, unsupported: float) -> str:
    if closed < rules.least:
        return f"{closed} decisions have a closed reward window, {rules.least} are needed"
    if unsupported > rules.unsupported:
        return (
            f"without the lever {unsupported:.1%} of decisions would go to what had no chance with it; turn on "
            "exploration (families.offer.explore in policy.yaml) to learn what they are worth"
        )
    if ess < rules.ess_share * closed or most > rules.most_weight:
        return f"only {ess:,.0f} of {closed:,} decisions speak for it (largest weight {most:.0f}); too little overlap"
    return ""


def _off_policy(rows: _Rows) -> tuple[float, float, float, float, int, float]:
    """Value without the lever less value with it, doubly robust, its error by member; SNIPS; ESS; n; largest weight."""
    weight = np.array(rows.weight)
    known = np.isfinite(weight) & np.isfinite(rows.outcome)
    closed = int(known.sum())
    if closed < 2:
        return 0.0, 0.0, 0.0, 0.0, closed, 0.0
    w, y = weight[known], np.array(rows.outcome)[known]
    member = np.unique(np.array(rows.member)[known], return_inverse=True)[1]
    rest = y - np.array(rows.told)[known]
    left = rest - _usual(rest, np.array(rows.margin)[known], member)
    each = np.array(rows.direct)[known] + (w - 1.0) * left
    cost = float(each.mean())
    pulls = np.bincount(member, each - cost)
    error = float(np.sqrt((pulls**2).sum())) / closed
    snips = float(w @ y / w.sum() - y.mean()) if w.sum() > 0 else 0.0
    ess = float(w.sum() ** 2 / (w @ w)) if w.any() else 0.0
    return cost, error, snips, ess, closed, float(w.max())


def _usual(rest: Floats, margin: Floats, member: NDArray[np.int64]) -> Floats:
    """What a member's window brings anyway, in proportion to a basket's margin, learned on other members."""
    found = np.zeros(len(rest))
    columns = np.column_stack([np.ones(len(rest)), margin])
    for part in range(_FOLDS):
        here = member % _FOLDS == part
        if here.any() and not here.all():
            found[here] = columns[here] @ np.linalg.lstsq(columns[~here], rest[~here], rcond=None)[0]
    return found
