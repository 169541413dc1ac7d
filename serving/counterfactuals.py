"""What would have to change for a candidate to be allowed: the smallest sets of changes, each tried by deciding again.

A breadth-first search over the obstacles: where one falls the next may stand. Every change is made as small as its step
allows by bisection over the decision itself; a set counts only if the whole decision, run again with it, allows the
candidate, no change in it can be left out, and none can be one step smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from serving.explain_case import Case, Standing, standing
from serving.explain_obstacles import HORIZON_DAYS, options
from serving.explain_steps import Change, applied, weaker
from serving.snapshot import Suppressed

MOST = 3
"""Changes in a set."""
_BREADTH = 12
"""Cases that are followed further at each depth."""
_DAY = 86_400.0

Changes = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A set of changes, to be made in this order, and what becomes of the candidate then."""

    changes: Changes
    case: Case
    then: Standing


def made(case: Case, name: str, changes: Changes) -> Case:
    """The case with all changes made, in their order."""
    for change in changes:
        case = applied(case, name, change)
    return case


def held_by(alone: Case, name: str) -> Suppressed | None:
    """Why the candidate is dropped, in a case with no candidate but it; None where it is allowed."""
    return next((one for one in alone.appraised().suppressed if one.id == name), None)


def ways(case: Case, name: str) -> list[Found]:
    """The smallest sets of changes after which the candidate is allowed; none where no set of `MOST` was found.

    One for each set of those who would have to act, the shortest first.

    Args:
        case: The decision.
        name: A candidate that was dropped in it.
    """
    alone = case.alone(name)
    level: list[tuple[Changes, Case]] = [((), alone)]
    for _ in range(MOST):
        done: list[Changes] = []
        further: list[tuple[Changes, Case]] = []
        for changes, one in level:
            for change in _steps(one, name):
                then = applied(one, name, change)
                if held_by(then, name) is None:
                    done.append((*changes, change))
                else:
                    further.append(((*changes, change), then))
        found = sorted(_verified(case, alone, name, done), key=lambda one: len(one.changes))
        if found:
            return list({frozenset(change.by for change in one.changes): one for one in reversed(found)}.values())[::-1]
        level = further[:_BREADTH]
    return []


def _steps(one: Case, name: str) -> Iterator[Change]:
    reason, candidate = held_by(one, name), one.candidate(name)
    if reason is None or candidate is None:
        return
    for option in options(one, candidate, reason, one.appraised().portrait):
        change = tightened(option, _gone(one, name, reason))
        if change is not None:
            yield change


def _gone(one: Case, name: str, reason: Suppressed) -> Callable[[Change], bool]:
    """Whether a change takes this obstacle out of the way, whatever stands behind it."""

    def gone(change: Change) -> bool:
        now = held_by(applied(one, name, change), name)
        return now is None or (now.stage, now.code) != (reason.stage, reason.code)

    return gone


def tightened(option: Change, enough: Callable[[Change], bool]) -> Change | None:
    """The smallest change between none and the option that is enough; None where the whole option is not.

    Where more is not always better the result is still an edge: it is enough and one step less is not.
    """
    if not option.step or option.now is None or option.needed is None:
        return option if enough(option) else None
    if option.kind == "wait":
        return _waited(option, enough)
    now, step = option.now, option.step
    low, high = 0, max(round((option.needed - now) / step), 1)

    def at(steps: int) -> Change:
        return replace(option, needed=round(now + steps * step, 9))

    if not enough(at(high)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(at(middle)) else (middle, high)
    return at(high)


def _waited(option: Change, enough: Callable[[Change], bool]) -> Change | None:
    """The first moment, to the second, at which time has done it; looked for day by day."""
    assert option.now is not None, "a wait has a beginning"
    begin = option.now
    for day in range(1, HORIZON_DAYS + 1):
        if enough(replace(option, needed=begin + day * _DAY)):
            low, high = (day - 1) * _DAY, day * _DAY
            while high - low > 1.0:
                middle = float((low + high) // 2)
                low, high = (low, middle) if enough(replace(option, needed=begin + middle)) else (middle, high)
            return replace(option, needed=begin + high)
    return None


def _verified(case: Case, alone: Case, name: str, sets: list[Changes]) -> Iterator[Found]:
    seen: set[Changes] = set()
    for changes in sets:
        small = _straight(alone, _pruned(alone, name, changes))
        if small in seen or any(_enough(alone, name, less) for less in _smaller(small)):
            continue
        seen.add(small)
        whole = made(case, name, small)
        then = standing(whole, name)
        if then.outcome != "dropped":
            yield Found(_dated(alone, name, small), whole, then)


def _enough(alone: Case, name: str, changes: Changes) -> bool:
    return held_by(made(alone, name, changes), name) is None


def _pruned(alone: Case, name: str, changes: Changes) -> Changes:
    for place in range(len(changes)):
        rest = (*changes[:place], *changes[place + 1 :])
        if rest and _enough(alone, name, rest):
            return _pruned(alone, name, rest)
    return changes


def _straight(alone: Case, changes: Changes) -> Changes:
    """The same with the first wait counted from the decision on, whatever was left out before it."""
    for place, change in enumerate(changes):
        if change.kind == "wait":
            return (*changes[:place], replace(change, now=alone.snapshot.at), *changes[place + 1 :])
    return changes


def _smaller(changes: Changes) -> Iterator[Changes]:
    """The set with one of its changes a step smaller, for each of them."""
    for place, change in enumerate(changes):
        less = weaker(change)
        if less is not None:
            yield (*changes[:place], less, *changes[place + 1 :])


def _dated(alone: Case, name: str, changes: Changes) -> Changes:
    """What the member does alone, with the first second at which doing it no longer helps."""
    if len(changes) != 1 or changes[0].by != "member":
        return changes
    (change,) = changes
    begin = alone.snapshot.at

    def helps(after: float) -> bool:
        return _enough(alone.moved(at=begin + after), name, changes)

    for day in range(1, HORIZON_DAYS + 1):
        if not helps(day * _DAY):
            low, high = (day - 1) * _DAY, day * _DAY
            while high - low > 1.0:
                middle = float((low + high) // 2)
                low, high = (middle, high) if helps(middle) else (low, middle)
            return (replace(change, until=begin + high),)
    return changes
