"""From tables to what serves: online features, training frames, challengers and champions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from features import catalog, history, store
from features.entities import Programme
from features.workspace import Workspace
from tessera import clock
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

if TYPE_CHECKING:
    from experiments.gate import Promotion

MODELS = ("taste", "churn", "lifetime", "response", "effects")


def features(ws: Workspace) -> int:
    """Register the definitions and bring every member's online state up to the programme's present.

    Returns:
        How many states were written: all members the first time, later those of whom something became known.
    """
    needs_tables(ws)
    steps = Steps()
    programme = catalog.load(ws.catalog).programme
    with steps.step("register entities, views and services"):
        store.apply(ws, programme)
    with steps.step("online states"):
        written = store.materialize(ws, programme, clock.now(ws), fresh=_not_yet_ingested(ws, programme))
    steps.note(f"{written:,} member states written")
    return written


def _not_yet_ingested(ws: Workspace, programme: Programme) -> dict[str, pd.DataFrame]:
    """Typed rows of what the service accepted since the last ingest; online states must not lose them."""
    from serving import export

    return export.since(ws.journal, history.watermark(ws.tables) or 0, programme.points)[0]


def frame(ws: Workspace, service: str, at: datetime, out: Path | None) -> None:
    """Write the features of a service, as they were known at a moment, for every member enrolled by then."""
    needs_tables(ws)
    steps = Steps()
    moment = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    programme = catalog.load(ws.catalog).programme
    pairs = _members_known_at(ws, moment)
    with steps.step("features at the moment asked for"):
        store.apply(ws, programme)
        store.write_offline(ws, pairs, programme)
    with steps.step(f"point-in-time retrieval of {service}"):
        try:
            found = store.historical(ws, pairs, service)
        except Exception as error:
            if type(error).__name__ != "FeatureServiceNotFoundException":
                raise
            raise RefusedError(f"no service is called {service!r}: there is {', '.join(store.services(ws))}") from None
    target = out or ws.reports / f"{service}-{moment:%Y-%m-%d}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    found.to_parquet(target, index=False)
    print(f"{len(found):,} members × {found.shape[1] - 2} features as known at {moment:%Y-%m-%d %H:%M} UTC: {target}")


def train(ws: Workspace, models: Sequence[str] | None, *, quick: bool = False) -> int:
    """Train and register challengers from all that is known now.

    Args:
        ws: The workspace.
        models: Of `MODELS`; None for all.
        quick: Whether recipes that `taste.slow` names stay out of the contest; they are named.

    Returns:
        0; 1 when no model could be trained: the reasons are told, and decisions rest on what serves already.
    """
    from training import settings
    from training import train as training

    needs_tables(ws)
    steps = Steps()
    programme = catalog.load(ws.catalog).programme
    at = max(history.ends_at(ws.tables), clock.now(ws))
    config = settings.read(ws.training)
    if quick:
        contest, left_out = config.taste.quick()
        config = replace(config, taste=contest)
        for name in left_out if "taste" in (models or MODELS) else ():
            steps.note(f"taste: {name} is left out of the quick contest (taste.slow); `tessera train` asks it too")
    with steps.step(f"train {', '.join(models or MODELS)}"):
        made = training.train(ws, programme, config, at, tuple(models or MODELS), steps.note)
    for text in made.summaries:
        steps.note(text)
    for name, reason in made.skipped.items():
        steps.note(f"{name}: not trained: {reason.removeprefix(f'{name}: ')}")
    return int(not made.versions)


def promote(ws: Workspace, models: Sequence[str] | None, force: str | None, *, rollback: bool) -> int:
    """Judge each challenger and let the better ones serve, or return to the champions before.

    Returns:
        0 if every model named has a champion that the gate let through; 1 if the gate refused one.
    """
    from experiments import gate
    from experiments.contests import Court
    from training import registry, settings

    needs_tables(ws)
    steps = Steps()
    now = clock.now(ws)
    if rollback:
        for name in models or registry.champions(ws):
            print(f"{name}: version {gate.rollback(ws, name, now).number} serves again")
        return 0
    court = Court(ws, catalog.load(ws.catalog).programme, settings.read(ws.training), now)
    waiting = [name for name in models or MODELS if models or registry.find(ws, name, "challenger") is not None]
    refused = 0
    for name in waiting:
        with steps.step(f"gate for {name}"):
            outcome = gate.promote(court, name, force)
        steps.note(_said(name, outcome))
        refused += not outcome.promoted
    if not waiting:
        steps.note("no challenger waits: `tessera train` makes them")
    return int(refused > 0)


def _said(name: str, outcome: Promotion) -> str:
    verdict = outcome.verdict
    against = "; ".join(
        f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] against {other}" for other, gap in verdict.against.items()
    )
    what = "serves" if outcome.promoted else "REFUSED"
    lines = [f"{name} version {verdict.challenger}: {what}; {against or 'there is no champion to compare it with'}"]
    lines += [f"  {objection}" for objection in verdict.objections]
    if outcome.forced:
        lines.append(f"  promoted all the same: {outcome.forced}")
    return "\n".join(lines)


def _members_known_at(ws: Workspace, at: datetime) -> pd.DataFrame:
    members = history.read(ws.tables, "members", ["member_id", "occurred_at", "known_at"])
    known = members[(members["occurred_at"] <= at) & (members["known_at"] <= at)]
    pairs = known[["member_id"]].drop_duplicates().sort_values("member_id", ignore_index=True)
    if pairs.empty:
        raise RefusedError(f"nobody was a member at {at:%Y-%m-%d %H:%M} UTC: choose a later --at")
    return pairs.assign(at=pd.Timestamp(at).as_unit("us"))
