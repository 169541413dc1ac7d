"""`tessera backtest`: what a model of members would have been worth at several moments of the past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from features import catalog, history
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
