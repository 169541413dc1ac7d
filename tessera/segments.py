"""How many members each segment has, and who came and went since a week ago."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd

from features import behavior, catalog, flows, history
from features.entities import Programme
from features.segments_written import WORDS
from features.workspace import Workspace
from tessera import clock
from tessera.progress import Steps
from tessera.setup import needs_tables


def fields(ws: Workspace) -> None:
    """Print every field that a rule may ask about, with what it means."""
    programme = catalog.load(ws.catalog).programme
    for word in WORDS:
        print(f"{word:<28} a word: {_words(word, programme)}")
    for feature in behavior.definitions(programme):
        print(f"{feature.name:<28} {feature.doc}")


def _words(word: str, programme: Programme) -> str:
    if word == "tier":
        return ", ".join(tier.id for tier in programme.tiers)
    return "new, active, at-risk, lapsed" if word == "lifecycle" else "high, potential, low"


def run(ws: Workspace, days: int) -> None:
    """Print sizes and flows, and write every member's labels as Parquet.

    Args:
        ws: the workspace.
        days: how long ago to compare with.
    """
    needs_tables(ws)
    steps, programme = Steps(), catalog.load(ws.catalog).programme
    at = min(clock.now(ws), history.ends_at(ws.tables))
    before_at = at - timedelta(days=days)
    with steps.step(f"labels of all members at {before_at:%Y-%m-%d} and {at:%Y-%m-%d}"):
        before, now = (flows.labelled(ws.tables, programme, moment) for moment in (before_at, at))
    for line in _lines(before, now, programme, before_at):
        print(line)
    out = ws.root / "reports" / f"segments-{at:%Y-%m-%d}.parquet"
    out.parent.mkdir(parents=True, exist_ok=True)
    now.reset_index().to_parquet(out, index=False)
    print(f"every member's labels: {out}")


def _lines(before: pd.DataFrame, now: pd.DataFrame, programme: Programme, since: datetime) -> Iterator[str]:
    for label in flows.LABELS:
        yield f"{label}: {flows.stayed(before, now, label):.1%} of members are where they were at {since:%Y-%m-%d}"
        yield from flows.moved(before, now, label).to_string().splitlines()
    for one in programme.rule_segments:
        both = before.index.intersection(now.index)
        came = int((now.loc[both, one.id] & ~before.loc[both, one.id]).sum())
        left = int((~now.loc[both, one.id] & before.loc[both, one.id]).sum())
        share = now[one.id].mean() if len(now) else 0.0
        yield f"{one.id}: {int(now[one.id].sum()):,} members ({share:.1%}), {came:,} came and {left:,} left. {one.name}"
