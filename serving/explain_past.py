"""A decision in the journal as a case that can be tried again, with the rules of its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from features.states import StateError
from serving import payload, records, rulebook
from serving.explain_answer import explained
from serving.explain_case import Case, case
from serving.house import House
from serving.journal import StoredDecision
from serving.members import Stored
from serving.problems import Fault, refuse, shown
from serving.rulebook import Rulebook
from serving.snapshot import Decision
from serving.versions import VersionError


def past(house: House, stored: StoredDecision) -> tuple[Case, Decision]:
    """The inputs of a decision, and what came of them.

    Raises:
        RefusedError: 409 where the rules of that time, or the member's state, cannot be read any more.
    """
    found = payload.decode(stored.payload)
    try:
        book = _book(house, records.versions_of(found.header))
        member = book.finish(Stored(found.state, found.vector), found.header["at"])
    except (VersionError, StateError) as error:
        raise refuse(409, f"decision {stored.decision_id} cannot be run again: {error}") from error

    def later(at: float) -> Mapping[str, float]:
        then = book.finish(Stored(found.state, found.vector), at)
        return {} if then is None else then.features

    features = member.features if member else {}
    one = case(
        records.snapshot_of(found.header, features), records.ask_of(found.header), records.learned_of(found.header),
        book.catalog, book.policy, book.experiments, later,
    )  # fmt: skip
    return one, records.decision_of(found.header)


def why(house: House, stored: StoredDecision, candidate: str) -> Callable[[], dict[str, Any]]:
    """Why this candidate, or why not, and what would have to change: a function that needs no store any more.

    Raises:
        RefusedError: 404 for a candidate that the decision could not have given, 409 as `past`.
    """
    one, decision = past(house, stored)
    if one.candidate(candidate) is None:
        rule = f"is no {decision.family} of the catalogue that decided"
        raise refuse(404, f"{shown(candidate)} {rule}", Fault("candidate", rule, shown(candidate)))
    return partial(explained, one, decision, candidate)


def _book(house: House, versions: records.Versions) -> Rulebook:
    now = house.watch.present().rulebook
    if (now.catalog.version, now.policy.version, now.experiments.version) == _key(versions):
        return now
    return _again(house.ws.versions, *_key(versions))


def _key(versions: records.Versions) -> tuple[str, str, str]:
    return versions.catalog, versions.policy, versions.experiments


@lru_cache(maxsize=8)
def _again(folder: Path, catalog: str, policy: str, experiments: str) -> Rulebook:
    return rulebook.again(folder, catalog, policy, experiments)
