"""From a decision back to what its models were made of; from a model, or a state of the data, forward to decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from features.workspace import Workspace
from serving import payload
from serving.journal import Journal
from tessera.setup import RefusedError

AT_ONCE = 2_000


def back(ws: Workspace, decision_id: str) -> None:
    """Print what a decision rested on: rules, code, and for each model the data, code and settings it was made from.

    Raises:
        RefusedError: The journal has no such decision.
    """
    journal = Journal(ws.journal)
    try:
        stored = journal.find_decision(decision_id)
    finally:
        journal.close()
    if stored is None:
        raise RefusedError(f"decision {decision_id} is not in the journal; its id stands in every answer")
    header = payload.decode(stored.payload).header
    versions = header["versions"]
    print(f"{decision_id}: {stored.family} for {stored.member_id} at {_moment(header['at'])}")
    for name in ("catalog", "policy", "experiments"):
        print(f"  {name} {versions[name]}")
    print(f"  code {versions.get('code') or 'not kept'}")
    for name, number in sorted(versions["models"].items()):
        for line in _model(ws, name, number):
            print(line)


def _model(ws: Workspace, name: str, number: str) -> Iterator[str]:
    from training import registry
    from training.records import RegistryError

    try:
        version = registry.get(ws, name, number)
    except RegistryError as error:
        yield f"  {name} {number}: {error}"
        return
    record, notes = version.record, registry.notes(ws, name, number)
    yield f"  {name} {number}: {record['form']}, up to {record['at']}, run {version.run_id}"
    yield f"    data {record['data_fingerprint'][:12]}, code {record['code']}, seed {record['seed']}"
    yield f"    settings {record['config']}"
    yield f"    gate {notes.get('gate', 'never judged')}" + (
        f", forced: {notes['gate_forced']}" if "gate_forced" in notes else ""
    )


def forward(ws: Workspace, model: str | None, version: str | None, data: str | None) -> None:
    """Print every registered version that fits, and how many decisions each has made since when.

    Args:
        ws: the workspace.
        model: only versions of this model.
        version: only this number of it.
        data: only those made from the data with this fingerprint (its beginning is enough).

    Raises:
        RefusedError: No version fits.
    """
    from training import registry

    found = [
        one
        for name in ([model] if model else registry.names(ws))
        for one in registry.versions(ws, name)
        if (version is None or one.number == version) and one.record["data_fingerprint"].startswith(data or "")
    ]
    if not found:
        raise RefusedError("no registered version fits; `tessera lineage` without any of these options lists all")
    made, first, last = _decisions(ws)
    for one in found:
        key = (one.name, one.number)
        span = f", from {_moment(first[key])} to {_moment(last[key])}" if made[key] else ""
        print(
            f"{one.name} {one.number}: data {one.record['data_fingerprint'][:12]} up to {one.record['at']}, "
            f"code {one.record['code']}; {made[key]:,} decisions{span}"
        )


Key = tuple[str, str]


def _decisions(ws: Workspace) -> tuple[Counter[Key], dict[Key, float], dict[Key, float]]:
    """How many decisions each model's version took part in, the first and the last."""
    made: Counter[Key] = Counter()
    first: dict[Key, float] = {}
    last: dict[Key, float] = {}
    for header in _headers(ws):
        for key in header["versions"]["models"].items():
            made[key] += 1
            first.setdefault(key, header["at"])
            last[key] = header["at"]
    return made, first, last


def _headers(ws: Workspace) -> Iterator[dict[str, Any]]:
    if not ws.journal.exists():
        return
    journal, after = Journal(ws.journal), 0
    try:
        while rows := journal.read_decisions(after, AT_ONCE):
            yield from (payload.decode(row.payload).header for row in rows)
            after = rows[-1].seq
    finally:
        journal.close()


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
