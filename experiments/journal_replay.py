"""Replay of a whole journal: every decision with the rules, models and state it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from experiments.replay import Record, ReplayReport, Unread, Versions, read, replay
from features.workspace import Workspace
from serving import payload, records, rulebook
from serving.bundles import exactly
from serving.champions import Champions
from serving.journal import Journal
from serving.members import Stored
from serving.policy import Policy
from serving.rulebook import Rulebook
from serving.snapshot import Ask, Learned, Snapshot

AT_ONCE = 2_000


def run(ws: Workspace, policy: Policy | None = None) -> ReplayReport:
    """Run all decisions of the workspace's journal again.

    Args:
        ws: the workspace, with the versions and bundles that decided.
        policy: takes the place of the logged ones; None compares with what was answered, byte for byte.
    """
    with past(ws) as (records_of_it, versions):
        return replay(records_of_it, versions, policy)


@contextmanager
def past(ws: Workspace) -> Iterator[tuple[Iterator[Record | Unread], Versions]]:
    """All decisions of the workspace's journal with their inputs, and where their rules are."""
    journal = Journal(ws.journal)
    try:
        found = _Past(ws)
        yield _records(journal, found), found.versions
    finally:
        journal.close()


class _Past:
    """Finds the rules and models of any version; each is loaded once."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._books: dict[tuple[str, str, str], Rulebook] = {}
        self._models = lru_cache(maxsize=32)(self._load_models)
        self.versions = Versions(
            catalog=lambda version: self._any(0, version).catalog,
            policy=lambda version: self._any(1, version).policy,
            experiments=lambda version: self._any(2, version).experiments,
        )

    def book(self, of: records.Versions) -> Rulebook:
        """The rulebook of these three versions."""
        key = (of.catalog, of.policy, of.experiments)
        if key not in self._books:
            self._books[key] = rulebook.again(self._ws.versions, *key)
        return self._books[key]

    def models(self, of: records.Versions, names: tuple[str, ...]) -> Champions:
        """The champions of these versions; `names` are the features of a finished row."""
        return self._models(tuple(sorted(of.models.items())), names)

    def _any(self, place: int, version: str) -> Rulebook:
        return next(book for key, book in self._books.items() if key[place] == version)

    def _load_models(self, versions: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> Champions:
        return exactly(self._ws, dict(versions), names)


def _records(journal: Journal, past: _Past) -> Iterator[Record | Unread]:
    after = 0
    while rows := journal.read_decisions(after, AT_ONCE):
        for row in rows:
            try:
                yield _record(row.payload, past)
            except (ValueError, KeyError, OSError) as error:
                yield Unread(row.decision_id, f"{type(error).__name__}: {error}")
        after = rows[-1].seq


def _record(logged: bytes, past: _Past) -> Record:
    versions = records.versions_of(payload.decode(logged).header)
    book = past.book(versions)
    return read(logged, _finisher(book), _scorer(past.models(versions, book.finish.names), book))


def _finisher(book: Rulebook) -> Callable[[bytes, float], Mapping[str, float]]:
    def finish(state: bytes, at: float) -> Mapping[str, float]:
        member = book.finish(Stored(state), at)
        return {} if member is None else member.features

    return finish


def _scorer(models: Champions, book: Rulebook) -> Callable[[payload.Payload, Snapshot, Ask], Learned]:
    def score(found: payload.Payload, snapshot: Snapshot, ask: Ask) -> Learned:
        member = book.finish(Stored(found.state, found.vector), snapshot.at) if found.state else None
        personal = member if snapshot.consents.get("personalisation", False) else None
        said = records.learned_of(found.header)
        logged = [product for product, _ in said.products]
        allowed = _wanted(models, ask, logged, narrowed=said.narrowed)
        again = models.learned(personal, snapshot.at, len(logged), allowed)
        return replace(again, traits=said.traits, narrowed=said.narrowed)

    return score


def _wanted(models: Champions, ask: Ask, logged: list[str], *, narrowed: bool) -> NDArray[np.bool_] | None:
    """The products that could be named, as far as the log knows them: facts of products have no versions.

    Records of the time before `narrowed` was written are known by what they asked.
    """
    asked = ask.family == "product" and bool(ask.filter or ask.include)
    if models.taste is None or not (narrowed or asked):
        return None
    return np.isin(models.taste.names, logged)
