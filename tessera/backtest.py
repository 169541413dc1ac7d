"""`tessera backtest`: what a model of members would have been worth in the past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from features import behavior, catalog, history
from features.workspace import Workspace
from tessera import clock
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables


def churn(ws: Workspace, horizon: int | None, cut_offs: int, out: Path | None) -> None:
    """Print and write churn and the next purchase at several cut-offs, ours beside peers.

    Args:
        ws: the workspace.
        horizon: days; None takes that of `training.yaml` or of the programme.
        cut_offs: how many at most.
        out: folder; None is `HOME/reports/backtest-churn-HORIZON`.
    """
    from training import churn_backtest, churn_comparison, settings
    from training.challengers import churn_config
    from training.churn_rows import OneSidedError
    from training.frames import HistoryTooShortError
    from training.pictures import calibration_picture

    needs_tables(ws)
    steps = Steps()
    programme, config = catalog.load(ws.catalog).programme, settings.read(ws.training)
    asked = churn_config(replace(config.churn, horizon_days=horizon or config.churn.horizon_days), programme)
    at = min(history.ends_at(ws.tables), clock.now(ws))
    with steps.step(f"churn within {asked.horizon} days, {cut_offs} cut-offs at most"):
        try:
            found = churn_backtest.run(ws.tables, programme, asked, at, cut_offs, config.seed, steps.note)
        except (HistoryTooShortError, OneSidedError) as reason:
            raise RefusedError(str(reason)) from reason
    with steps.step("figures with intervals"):
        said = churn_comparison.compare(found, config.seed)
    folder = out or ws.reports / f"backtest-churn-{asked.horizon}"
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"churn": said.churn, "cut_offs": said.cut_offs, "next_purchase": said.distribution}
    print(f"{said.rows:,} rows of {said.members:,} members at {len(said.cut_offs)} cut-offs\n")
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        print(table.to_string(index=False, float_format=lambda each: f"{each:.4f}"), end="\n\n")
    picture = calibration_picture(found.churned, found.chance[churn_backtest.OURS], folder / "calibration.png")
    print(f"tables and picture: {folder}, {picture.name}")


def effects(ws: Workspace, out: Path | None) -> None:
    """Print and write what effects learned on the older decisions drawn by lot say of the younger ones.

    Args:
        ws: the workspace.
        out: folder; None is `HOME/reports/backtest-effects`.
    """
    from training import settings
    from training.challengers import Task
    from training.effects.challenger import read
    from training.effects.judging import judged
    from training.effects.picture import draw
    from training.response import NothingDrawnError

    needs_tables(ws)
    steps = Steps()
    programme, config = catalog.load(ws.catalog).programme, settings.read(ws.training)
    names = behavior.names(programme)
    at = min(history.ends_at(ws.tables), clock.now(ws))
    folder = out or ws.reports / "backtest-effects"
    task = Task(
        ws, programme, config, at, "", folder, steps.note,
        lambda pairs: behavior.historical(ws.tables, pairs, programme),
    )  # fmt: skip
    try:
        with steps.step("decisions drawn by lot, with what was known before them"):
            found = read(task, names)
    except NothingDrawnError as reason:
        raise RefusedError(str(reason)) from reason
    with steps.step(f"learn on the older {1 - config.effects.judged_share:.0%}, read on the rest"):
        seen = judged(found, names, config.effects)
    if seen is None:
        raise RefusedError(f"{len(found.units.arm)} decisions are too few to hold some back; wait for more")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in {"calibration": seen.calibration, "qini": seen.curves}.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        print(table.to_string(index=False, float_format=lambda each: f"{each:.4f}"), end="\n\n")
    lines = (
        ("choosing by effects, over doing nothing", seen.value),
        ("the best on average for everybody, over doing nothing", seen.level_value),
        ("choosing by effects, over the best on average", seen.without_differences),
    )
    for what, one in lines:
        print(f"{what}: {one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}] baskets a decision")
    print(f"chances of an answer are off by {seen.response_error:.4f} on average (ten groups)")
    print(f"tables and picture: {folder}, {draw(seen, folder / 'effects.png').name}")
