"""Loading a history into the typed tables, and the journal's new rows after it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from features import catalog, history, identity, merging, points, sources
from features.border import no_rejects
from features.entities import Programme
from features.history import MergeSummary
from features.tables import TABLES
from features.workspace import Workspace
from serving.contract import ID_PATTERN
from tessera import clock
from tessera.progress import Steps
from tessera.setup import RefusedError

SIMULATED_DAYS = 730
SIMULATED_END = datetime(2026, 6, 30, tzinfo=UTC)
CHUNK_MEMBERS = 10_000


@dataclass(frozen=True, slots=True)
class History:
    """Which history a command loads; members, products, world and seed concern the simulated one alone."""

    source: str
    path: Path | None = None
    mapping: Path | None = None
    members: int = 2000
    products: int = 500
    world: str = "strong"
    seed: int = 7


@dataclass(frozen=True, slots=True)
class _Read:
    """What came out of a source: rows in parts that fit into memory, what was set aside, what a reader should know."""

    parts: Iterator[Mapping[str, pd.DataFrame]]
    rejected: pd.DataFrame
    counts: Mapping[str, int]
    rules: Mapping[str, str]
    notes: tuple[str, ...]
    offers: tuple[Mapping[str, Any], ...] = ()


def run(ws: Workspace, of: History, *, append: bool) -> Workspace:
    """Load a history, in place of what was there or added to it, and tell what came in and what did not.

    Returns:
        The workspace; with a configuration of its own where the history brought offers.

    Raises:
        RefusedError: The source needs a path or a world that was not given.
        BorderError: A file is missing a column, cannot be read or holds nothing.
    """
    steps = Steps()
    ws.root.mkdir(parents=True, exist_ok=True)
    programme = catalog.load(ws.catalog).programme
    with steps.step(f"read {of.source}"):
        read = _simulated(of) if of.source == "simulated" else _from_files(of, programme)
    with _target(ws, append=append) as (target, received):
        with steps.step("check and merge into typed tables"):
            merged = _merge(ws, identity.arriving(target, received), read.parts)
            linked = identity.follow(target, received)
        _usable(target, of.source)
        with steps.step("points by the programme's rules"):
            entries = points.refresh(target, programme)
    ws = _own_offers(ws, read.offers)
    steps.note(clock.follow(ws, history.ends_at(ws.tables)))
    if linked:
        steps.note(f"{linked:,} cards and visits belong to another member: their rows follow it")
    _tell(ws, steps, read, merged, entries)
    _tell_rules(ws, of.source, steps, read, merged)
    return ws


def from_journal(ws: Workspace) -> int:
    """Merge what the service has accepted and decided since the last time into the tables.

    Returns:
        How many rows the journal gave.
    """
    from serving import export

    programme = catalog.load(ws.catalog).programme
    arriving = identity.arriving(ws.tables, ws.received)
    tables, watermark = export.since(ws.journal, history.watermark(arriving) or 0, programme.points)
    history.merge(arriving, tables, watermark=watermark)
    identity.follow(ws.tables, ws.received)
    points.refresh(ws.tables, programme)
    return sum(map(len, tables.values()))


@contextmanager
def _target(ws: Workspace, *, append: bool) -> Iterator[tuple[Path, Path]]:
    """The folders of tables and of received rows: those there are, or new ones that take their place at the end."""
    if append:
        yield ws.tables, ws.received
        return
    fresh = {ws.received: ws.root / "received.new", ws.tables: ws.root / "tables.new"}
    for folder in fresh.values():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        yield fresh[ws.tables], fresh[ws.received]
        _forget_states(ws)
        for place, folder in fresh.items():
            shutil.rmtree(place, ignore_errors=True)
            if folder.exists():
                folder.rename(place)
    finally:
        for folder in fresh.values():
            shutil.rmtree(folder, ignore_errors=True)


def _forget_states(ws: Workspace) -> None:
    """Drop the online states of the history that is replaced: they may be newer than any that will be made."""
    for path in ws.online.parent.glob(f"{ws.online.name}*"):
        path.unlink()


def _simulated(of: History) -> _Read:
    from experiments.simulate import simulate_chunks
    from experiments.worlds import WORLDS

    if of.world not in WORLDS:
        raise RefusedError(f"--world {of.world}: there is {', '.join(WORLDS)}")
    chunks = simulate_chunks(
        WORLDS[of.world],
        members=of.members,
        products=of.products,
        days=SIMULATED_DAYS,
        ends_at=SIMULATED_END,
        seed=of.seed,
        chunk=CHUNK_MEMBERS,
    )
    return _Read(chunks, no_rejects(), {}, {}, (f"simulated world {of.world!r}, seed {of.seed}",))


def _from_files(of: History, programme: Programme) -> _Read:
    if of.path is None:
        raise RefusedError(f"--source {of.source} needs --path: the folder or file of the history")
    loaded = sources.load(of.source, of.path, programme, of.mapping)
    return _Read(
        iter([loaded.tables]), loaded.rejected, loaded.counts, loaded.rules, loaded.notes, loaded.catalog_offers
    )


def _usable(target: Path, source: str) -> None:
    """Refuse a history that nothing can be decided from, before it takes the place of another."""
    if not len(history.read(target, "purchases", ["member_id"])):
        raise RefusedError("the history is empty: it has no purchase that can be used. Give a file of purchases")
    for name, what in (("members", "nobody is known"), ("products", "nothing is known of what was sold")):
        if not len(history.read(target, name, [TABLES[name].key[0]])):
            raise RefusedError(
                f"the history has no {name}, so {what}: give a file of {name}, or write `derive: [{name}]` into "
                "map.yaml to make them from the purchases (docs/histories.md)"
            )
    ends = history.ends_at(target)
    if source != "simulated" and ends > datetime.now(UTC) + timedelta(days=1):
        raise RefusedError(
            f"the history ends at {ends:%Y-%m-%d %H:%M} UTC, which has not come yet: correct that date "
            "(or the `time_format` in map.yaml); the programme's clock would start there"
        )


def _merge(ws: Workspace, target: Path, parts: Iterator[Mapping[str, pd.DataFrame]]) -> MergeSummary:
    """Merge parts into the tables; several go through files, so that they are sorted once and not for each part."""
    first = next(parts)
    second = next(parts, None)
    if second is None:
        return history.merge(target, first)
    with tempfile.TemporaryDirectory(dir=ws.root) as spool:
        for number, part in enumerate(itertools.chain((first, second), parts)):
            for name, rows in part.items():
                rows.to_parquet(Path(spool) / f"{name}-{number}.parquet", index=False)
        names = {path.name.rsplit("-", 1)[0] for path in Path(spool).iterdir()}
        return history.merge(target, {name: Path(spool) / f"{name}-*.parquet" for name in names})


def _own_offers(ws: Workspace, offers: tuple[Mapping[str, Any], ...]) -> Workspace:
    """A workspace with its own copy of the configuration, its offers joined by those of the history's campaigns."""
    if not offers:
        return ws
    own = Workspace(ws.root)
    if ws.config_folder != own.config_folder:
        shutil.copytree(ws.config_folder, own.config_folder, dirs_exist_ok=True)
    path = own.catalog / "offers.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    there = {entry["id"] for entry in written["offers"]}
    fresh = [dict(offer) for offer in offers if offer["id"] not in there]
    if fresh:
        more = yaml.safe_dump(fresh, sort_keys=False, allow_unicode=True)
        text = path.read_text(encoding="utf-8").rstrip() + "\n\n  # From the campaigns of the loaded history.\n"
        path.write_text(text + textwrap.indent(more, "  "), encoding="utf-8")
    return own


def _tell(ws: Workspace, steps: Steps, read: _Read, merged: MergeSummary, entries: int | None) -> None:
    for name in ("members", "products", "purchases", "points", "engagements", "offer_events"):
        steps.note(f"{name:<13} {len(history.read(ws.tables, name, [TABLES[name].key[0]])):>10,} rows")
    if repeated := sum(merged.repeated.values()):
        steps.note(f"{repeated:,} rows came again and were counted once")
    if entries is not None:
        steps.note(f"the history has no points: {entries:,} entries computed by the programme's own rules")
    if read.offers:
        steps.note(f"{len(read.offers)} offers of its campaigns are in {ws.catalog / 'offers.yaml'}")
    for text in read.notes:
        steps.note(text)
    for name in ("members", "products"):
        if odd := _uncallable(ws, name):
            steps.note(
                f"{len(odd):,} {name} have an id that no request can name, such as {odd[0][:40]!r}: "
                "1 to 64 letters, digits or . _ : @ + = ~ - are one"
            )


def _uncallable(ws: Workspace, name: str) -> list[str]:
    """Ids that the API would refuse; they count in batches and models all the same."""
    key = TABLES[name].key[0]
    ids = history.read(ws.tables, name, [key])[key].drop_duplicates()
    return sorted(ids[~ids.str.fullmatch(ID_PATTERN)])


def _tell_rules(ws: Workspace, source: str, steps: Steps, read: _Read, merged: MergeSummary) -> None:
    """What each rule did, with an example where it set rows aside, and where those are kept."""
    rejected = pd.concat([read.rejected, merged.rejected], ignore_index=True)
    counts = {**read.counts, merging.SAME_KEY: len(merged.rejected)}
    rules = {merging.SAME_KEY: "another row has this id and says something else: the one known first stays"}
    for rule, count in sorted(counts.items(), key=lambda item: -item[1]):
        if count:
            steps.note(f"{count:>10,}  {rule}: {({**rules, **read.rules})[rule]}{_example(rejected, rule)}")
    kept = history.set_aside(ws.quarantine, source, rejected)
    if kept is not None:
        rows = len(read.rejected.drop_duplicates(["file", "row"])) + len(merged.rejected)
        steps.note(f"{rows:,} rows set aside with file, row, column and rule in {kept}")


def _example(rejected: pd.DataFrame, rule: str) -> str:
    found = rejected[rejected["rule"] == rule]
    if found.empty:
        return ""
    first = found.iloc[0]
    value = "empty" if first["value"] is None else repr(first["value"])[:60]
    return f" ({first['file']} row {first['row']}: {first['column']} is {value})"
