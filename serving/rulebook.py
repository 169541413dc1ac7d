"""Everything people have written that a decision rests on: catalogue, policy, experiments, an operator's switches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import orjson

from features import catalog as catalogs
from features.catalog import CatalogError
from features.entities import Budget, Candidate, Catalog
from features.workspace import Workspace
from serving import assignment, budget_use, versions
from serving import policy as policies
from serving.assignment import ExperimentError, Experiments
from serving.members import Finish
from serving.policy import Policy, PolicyError

_T = TypeVar("_T")


class RulebookError(ValueError):
    """What was written cannot decide; `errors` holds a sentence for every mistake."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


@dataclass(frozen=True, slots=True)
class Controls:
    """What an operator switches while the service runs."""

    paused: frozenset[str] = field(default_factory=frozenset)
    """Candidates and products that are given to nobody."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why, where something but an operator paused it."""


@dataclass(frozen=True, slots=True, eq=False)
class Rulebook:
    """Catalogue, policy and experiments that fit each other."""

    catalog: Catalog
    policy: Policy
    experiments: Experiments
    finish: Finish
    candidates: Mapping[str, Candidate]
    """Every candidate the catalogue holds, by id."""
    payers: Mapping[str, tuple[Budget, ...]] = field(default_factory=dict)
    """Candidate → the budgets that may pay for it."""

    @property
    def burns(self) -> float:
        """The most points of a member's own that any candidate uses up; 0 where none does."""
        return max((one.economics.burns for one in self.candidates.values()), default=0.0)

    def zone_of(self, region: str | None) -> str | None:
        """The time zone of a member's region; None where it is the programme's."""
        zones = self.catalog.programme.region_timezones
        return next((zone for name, zone in zones if name == region), None) if zones else None


def load(ws: Workspace, last: Rulebook | None = None) -> Rulebook:
    """Read and check all three, and keep each version, so that decisions can be run again.

    Raises:
        RulebookError: with all mistakes of all files.
    """
    errors: list[str] = []
    catalog = _read(lambda: catalogs.load(ws.catalog), errors)
    policy = _read(lambda: policies.load(ws.policy), errors)
    experiments = _read(lambda: assignment.load(ws.experiments), errors)
    if catalog is None or policy is None or experiments is None:
        raise RulebookError(errors)
    misfits = assignment.problems(experiments, catalog, policy)
    if misfits:
        raise RulebookError(misfits)
    candidates = _by_id(catalog)
    payers = budget_use.payers(catalog.budgets, candidates.values())
    book = Rulebook(catalog, policy, experiments, _finish(catalog, last), candidates, payers)
    keep(ws.versions, book)
    return book


def keep(folder: Path, book: Rulebook) -> None:
    """Keep the three versions for ever."""
    versions.keep(folder, "catalog", book.catalog.version, catalogs.to_json(book.catalog))
    versions.keep(folder, "policy", book.policy.version, book.policy.text.encode())
    versions.keep(folder, "experiments", book.experiments.version, assignment.to_json(book.experiments))


def again(folder: Path, catalog: str, policy: str, experiments: str) -> Rulebook:
    """The rulebook of these versions.

    Raises:
        versions.VersionError: one of them was never kept.
    """
    written = catalogs.from_json(versions.find(folder, "catalog", catalog))
    return Rulebook(
        written,
        policies.parse(versions.find(folder, "policy", policy)),
        assignment.from_json(versions.find(folder, "experiments", experiments)),
        Finish(written.programme),
        _by_id(written),
    )


def _read(reader: Callable[[], _T], errors: list[str]) -> _T | None:
    try:
        return reader()
    except (CatalogError, PolicyError, ExperimentError) as error:
        errors.extend(error.errors)
    except (OSError, UnicodeDecodeError) as error:
        errors.append(f"{error}; is the file there, and may it be read?")
    return None


def _finish(catalog: Catalog, last: Rulebook | None) -> Finish:
    if last is not None and last.catalog.programme == catalog.programme:
        return last.finish
    return Finish(catalog.programme)


def _by_id(catalog: Catalog) -> dict[str, Candidate]:
    return {one.id: one for many in (catalog.offers, catalog.actions, catalog.benefits) for one in many}


def controls(path: Path) -> Controls:
    """The switches; all off where the file is absent.

    Raises:
        RulebookError: the file is damaged.
    """
    try:
        found = orjson.loads(path.read_bytes())
        paused = found.get("paused", [])
        if not isinstance(paused, list) or not all(isinstance(one, str) for one in paused):
            raise RulebookError([f"{path.name}: paused must be a list of ids, not {paused!r}"])
        return Controls(frozenset(paused), dict(found.get("reasons", {})))
    except FileNotFoundError:
        return Controls()
    except (ValueError, AttributeError) as error:
        if isinstance(error, RulebookError):
            raise
        raise RulebookError([f"{path.name}: cannot be read ({error}); remove it or write it again"]) from error


def switch(path: Path, candidate_id: str, *, paused: bool, reason: str | None = None) -> Controls:
    """Pause a candidate, for a reason that is kept, or let it go on; a running service follows within half a second."""
    before = controls(path)
    after = before.paused | {candidate_id} if paused else before.paused - {candidate_id}
    reasons = {one: why for one, why in before.reasons.items() if one in after and one != candidate_id}
    if paused and reason is not None:
        reasons[candidate_id] = reason
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(orjson.dumps({"paused": sorted(after), "reasons": reasons}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return Controls(after, reasons)
