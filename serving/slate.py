"""Filling placements: rights first and in order, then the draw, rank by rank without replacement.

The chance at a rank is exact given the higher ranks, over both sources of chance: the draw at each rank, and the "do
nothing" floor that falls once per reward window. Before anything is drawn the floor holds with its share; once a
candidate was drawn it is known not to hold; once nothing was drawn it is likelier by Bayes' rule. "Nothing" ends its
placement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from features.entities import DO_NOTHING, Candidate
from serving.exploration import Exploration, expected_loss, probabilities
from serving.policy import Policy, draw, nothing_is_drawn, period, unit
from serving.snapshot import Ask, Chances, Placement, Snapshot
from serving.value import NOTHING, Worth

Pool = Sequence[tuple[Candidate, Worth]]


@dataclass(frozen=True, slots=True)
class Choice:
    """One rank filled; `candidate` is None where nothing is done."""

    placement: str
    rank: int
    candidate: Candidate | None
    worth: Worth
    probability: float
    by_floor: bool = False


class Stake(NamedTuple):
    """What the draw at one rank is expected to lose, in the money that candidates compete with."""

    best: float
    """What the best is worth there; with doing nothing among the choices at least 0."""
    explored: float
    """What chance is expected to lose against it, where the floor does not fall."""
    floor: float
    """The chance that the "do nothing" floor fell."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """All ranks of all placements, and every chance at each."""

    choices: tuple[Choice, ...]
    chances: tuple[Chances, ...]
    explored: bool
    """Whether some rank did not go to what was worth most."""
    stakes: tuple[Stake, ...] = ()
    """What was at stake at each rank that was drawn."""


@dataclass(slots=True)
class _Table:
    """What changes while the placements are filled."""

    key: str
    with_nothing: bool
    exploration: Exploration | None
    floor_fell: bool
    floor: float
    """The chance that the floor fell, given what was drawn so far."""
    used: set[str] = field(default_factory=set)
    choices: list[Choice] = field(default_factory=list)
    chances: list[Chances] = field(default_factory=list)
    stakes: list[Stake] = field(default_factory=list)
    explored: bool = False


def arrange(allowed: Pool, snapshot: Snapshot, ask: Ask, policy: Policy, *, held_out: bool) -> Drawn:
    """Fill the placements in the order asked; the allowed candidates compete with their pull."""
    rules = policy.families[ask.family]
    with_nothing = ask.family in ("offer", "action")
    # What was refused in this request had been drawn, so the floor is known not to have fallen.
    sure = held_out or not with_nothing or bool(snapshot.refused)
    floor = 0.0 if sure else rules.do_nothing_floor
    table = _Table(
        key=_key(snapshot, ask, policy),
        with_nothing=with_nothing,
        exploration=policy.exploration if rules.explore else None,
        floor_fell=bool(floor) and nothing_is_drawn(snapshot.member_id, ask.family, snapshot.at, policy),
        floor=floor,
    )
    order = sorted(allowed, key=lambda one: (-one[1].pull, one[0].id))
    rights = [one for one in order if one[0].entitlement]
    others = [one for one in order if not one[0].entitlement]
    for place in ask.placements:
        _fill(place, rights, others, table)
    return Drawn(tuple(table.choices), tuple(table.chances), table.explored, tuple(table.stakes))


def _key(snapshot: Snapshot, ask: Ask, policy: Policy) -> str:
    """Salt, member, family and period; placement and rank follow. A second try after a refusal draws afresh."""
    number = period(snapshot.at, ask.family, policy)
    when = f"@{snapshot.at!r}" if number is None else str(number)
    again = f"|again:{','.join(sorted(snapshot.refused))}" if snapshot.refused else ""
    return f"{policy.salt}|{snapshot.member_id}|{ask.family}|{when}{again}"


def _fill(place: Placement, rights: Pool, others: Pool, table: _Table) -> None:
    rank = 1
    for candidate, worth in _open(place, rights, table):
        if rank > place.count:
            return
        _take(table, Choice(place.id, rank, candidate, worth, 1.0), {candidate.id: 1.0})
        rank += 1
    while rank <= place.count:
        pool = _open(place, others, table)
        if not pool and (rank > 1 or not table.with_nothing):
            return
        chosen = _draw(place, rank, pool, table)
        if chosen.candidate is None:
            return
        rank += 1


def _open(place: Placement, pool: Pool, table: _Table) -> list[tuple[Candidate, Worth]]:
    return [
        one for one in pool if one[0].id not in table.used and (not one[0].placements or place.id in one[0].placements)
    ]


def _draw(place: Placement, rank: int, pool: Pool, table: _Table) -> Choice:
    pulls = [worth.pull for _, worth in pool]
    ids = [candidate.id for candidate, _ in pool]
    nothing = len(pulls)
    if table.with_nothing:
        pulls.append(0.0)
        ids.append(DO_NOTHING.id)
    drawn = probabilities(pulls, table.exploration)
    chances = [(1.0 - table.floor) * chance for chance in drawn]
    if table.with_nothing:
        chances[nothing] += table.floor
    table.stakes.append(Stake(max(pulls), expected_loss(drawn, pulls), table.floor))
    index = nothing if table.floor_fell else draw(drawn, unit(f"{table.key}|{place.id}|{rank}"))
    table.explored |= pulls[index] < max(pulls)
    if index < len(pool):
        candidate, worth = pool[index]
        choice = Choice(place.id, rank, candidate, worth, chances[index])
        table.floor = 0.0
    else:
        choice = Choice(place.id, rank, None, NOTHING, chances[index], table.floor_fell)
        table.floor /= chances[index]
    _take(table, choice, dict(zip(ids, chances, strict=True)))
    return choice


def _take(table: _Table, choice: Choice, chances: dict[str, float]) -> None:
    table.choices.append(choice)
    table.chances.append(Chances(choice.placement, choice.rank, chances))
    if choice.candidate is not None:
        table.used.add(choice.candidate.id)
