"""Reads all that people have written and all that serves, and says in plain words what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from features import history, online
from features.border import BorderError
from features.workspace import Workspace
from serving import access, bundles, champions, rulebook
from serving.bundles import BundleError
from serving.rulebook import RulebookError
from tessera import clock

_SQLITE = b"SQLite format 3\x00"


def run(ws: Workspace) -> int:
    """Check everything and print a line for each part.

    Returns:
        0 if nothing is wrong; 1 otherwise.
    """
    parts: tuple[tuple[str, Callable[[Workspace], Iterator[str]]], ...] = (
        ("catalogue, policy and experiments", _written),
        ("training configuration", _training),
        ("tables", _tables),
        ("databases and clock", _databases),
        ("models", _models),
        ("API keys", _keys),
    )
    wrong = 0
    for title, check in parts:
        faults = list(check(ws))
        wrong += len(faults)
        print(f"{title}: {'good' if not faults else ''}")
        for fault in faults:
            print(f"  {fault}")
    if ws.keys.exists() is False:
        print("no API key was made, so nobody can call the service: `tessera keys NAME --scope caller` makes one")
    return int(wrong > 0)


def _written(ws: Workspace) -> Iterator[str]:
    try:
        rulebook.load(ws)
    except RulebookError as error:
        yield from error.errors
    try:
        rulebook.controls(ws.controls)
    except RulebookError as error:
        yield from error.errors


def _training(ws: Workspace) -> Iterator[str]:
    from training import settings

    try:
        settings.read(ws.training)
    except (ValueError, OSError) as error:
        yield from str(error).splitlines()


def _tables(ws: Workspace) -> Iterator[str]:
    if not ws.tables.exists():
        yield f"no history in {ws.root}: run `tessera ingest --source … --path …`"
        return
    try:
        yield from history.damage(ws.tables)
    except BorderError as error:
        yield str(error)


def _databases(ws: Workspace) -> Iterator[str]:
    """Whether the databases are databases, the online store is configured, and the clock is one."""
    for path, remedy in (
        (ws.journal, "restore it from a backup; moved away, the service starts a new one"),
        (ws.online, "remove it and run `tessera features`"),
        (ws.mlflow / "mlflow.db", "restore it from a backup, or move the folder away and train again"),
    ):
        if path.exists() and path.stat().st_size and not _is_sqlite(path):
            yield f"{path.name} is damaged, it is no SQLite file: {remedy}"
    for read in (clock.offset, online.settings):
        try:
            read(ws)
        except (ValueError, OSError) as error:
            yield str(error)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _models(ws: Workspace) -> Iterator[str]:
    from features import behavior

    try:
        book = rulebook.load(ws)
        wanted = bundles.wanted(ws)
    except RulebookError:
        yield "not checked: the catalogue must be good first"
        return
    except BundleError as error:
        yield str(error)
        return
    names = behavior.names(book.catalog.programme)
    _, faults = bundles.take_up(ws, names, champions.Champions())
    yield from faults
    missing = [name for name in (champions.TASTE, champions.CHURN) if name not in wanted]
    if missing:
        yield f"{', '.join(missing)}: no champion; run `tessera train` and `tessera promote`"


def _keys(ws: Workspace) -> Iterator[str]:
    try:
        access.read(ws.keys)
    except access.KeysError as error:
        yield str(error)
