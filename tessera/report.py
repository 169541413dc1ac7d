"""Reports: quality, freshness and drift (what came in, how old it is, what shifted), and what chance has cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from features import catalog, drift, history, quality
from features.drift import Shift
from features.workspace import Workspace
from tessera import clock
from tessera.progress import Steps
from tessera.setup import needs_tables

WEEKS_BACK = 8
"""Where no model was trained yet, now is compared with so long ago."""
SHOWN = 12


def run(ws: Workspace, baseline: datetime | None, stale_days: float, out: Path | None) -> int:
    """Print the report and write it as CSV and picture.

    Args:
        ws: the workspace.
        baseline: what now is compared with; None takes the moment up to which the churn champion learned.
        stale_days: purchases that are older than this are stale.
        out: folder; None is `HOME/reports/quality-DATE`.

    Returns:
        0; 1 where the purchases are stale or a feature is broken.
    """
    needs_tables(ws)
    steps, now = Steps(), clock.now(ws)
    stale = _print_tables(ws, now, stale_days)
    _print_set_aside(ws)
    moment = min(now, history.ends_at(ws.tables))
    then, what = _baseline(ws, baseline, moment)
    with steps.step(f"features of active members at {then:%Y-%m-%d} and every week until {moment:%Y-%m-%d}"):
        shifts = drift.watch(ws.tables, catalog.load(ws.catalog).programme, [then], moment)
    for line in _lines(shifts, then, what):
        print(line)
    folder = out or ws.root / "reports" / f"quality-{moment:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([asdict(one) for one in shifts]).to_csv(folder / "drift.csv", index=False)
    print(f"table and picture: {folder / 'drift.csv'}, {picture(shifts, then, moment, folder / 'drift.png')}")
    return int(stale or any(one.level == "broken" for one in shifts))


def exploration(ws: Workspace) -> int:
    """Print what chance has cost in the decisions of the journal, beside what each policy allows.

    Returns:
        0; 1 where it could lose more than allowed somewhere.
    """
    from experiments import exploration_cost, journal_replay

    with journal_replay.past(ws) as (records, versions):
        found = exploration_cost.costs(records, versions)
    for line in exploration_cost.lines(found, catalog.load(ws.catalog).programme.currency):
        print(line)
    if not found:
        print("nothing was decided yet")
    return int(any(one.over for one in found))


def _print_tables(ws: Workspace, now: datetime, stale_days: float) -> bool:
    stale = False
    for one in quality.tables(ws.tables):
        if one.last is None:
            print(f"{one.name:<13} {'no rows':>10}")
            continue
        too_old = one.name == "purchases" and one.age_days(now) > stale_days
        stale |= too_old
        print(
            f"{one.name:<13} {one.rows:>10,} rows, newest {one.last:%Y-%m-%d %H:%M} ({one.age_days(now):.1f} days old"
            f"{', STALE' if too_old else ''}), known {max(one.delay_days, 0.0):.1f} days later at most (95 %)"
        )
    return stale


def _print_set_aside(ws: Workspace) -> None:
    found = quality.set_aside(ws.quarantine)
    print(
        f"set aside: {int(found['rows'].sum()):,} cells at fault in {ws.quarantine}"
        if len(found)
        else "set aside: none"
    )
    for file, column, rule, rows in found.head(SHOWN).itertuples(index=False):
        print(f"  {rows:>10,}  {rule}: {column} of {file}")


def _baseline(ws: Workspace, given: datetime | None, now: datetime) -> tuple[datetime, str]:
    if given is not None:
        return given.replace(tzinfo=given.tzinfo or UTC), "as asked"
    from training import registry

    champion = registry.find(ws, "churn", "champion")
    if champion is not None:
        learned = datetime.fromisoformat(champion.record["at"])
        if learned < now:
            return learned, f"up to which churn {champion.number}, the champion, learned"
    return now - timedelta(weeks=WEEKS_BACK), f"{WEEKS_BACK} weeks before: no champion learned up to an earlier moment"


def _lines(shifts: Sequence[Shift], then: datetime, what: str) -> Iterator[str]:
    changed = [one for one in shifts if one.level in ("broken", "shifted")]
    watched = [one for one in shifts if one.level == "watch"]
    yield (
        f"compared with {then:%Y-%m-%d} ({what}): {len(changed)} of {len(shifts)} features shifted, "
        f"{len(watched)} to watch"
    )
    for one in changed:
        yield f"  {one.sentence()}"
    if watched:
        yield f"  to watch: {', '.join(f'{one.feature} ({one.psi:.2f})' for one in watched[:SHOWN])}"


def picture(shifts: Sequence[Shift], then: datetime, now: datetime, path: Path) -> Path:
    """Draw the largest stability indices with the two limits; PNG."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    shown = sorted((one for one in shifts if not math.isnan(one.psi)), key=lambda one: one.psi)[-25:]
    colours = {"steady": "#8fb08f", "watch": "#d9b44a", "shifted": "#c9703d", "broken": "#a83232"}
    figure = Figure(figsize=(8, 1.4 + 0.24 * len(shown)), layout="constrained")
    panel = figure.subplots()
    panel.barh([one.feature for one in shown], [one.psi for one in shown], color=[colours[one.level] for one in shown])
    for limit in (drift.WATCH, drift.SHIFTED):
        panel.axvline(limit, color="#555555", linewidth=0.8, linestyle=":")
    panel.set_xlabel(f"stability index, {now:%Y-%m-%d} against {then:%Y-%m-%d} (dotted: watch, shifted)")
    figure.savefig(path, dpi=110)
    return path
