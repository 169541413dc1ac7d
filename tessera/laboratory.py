"""Commands for models: learn, promote, judge. Each imports what it runs only when it runs, so that help is quick."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs, Home

app = typer.Typer()


@app.command()
def frame(
    service: Annotated[str, typer.Argument(help="Feature service, for example churn_v1.")],
    at: Annotated[datetime, typer.Option("--at", help="As of this moment (UTC).")],
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Parquet file; default: HOME/reports/SERVICE-AT.parquet.")
    ] = None,
) -> None:
    """A training frame as Parquet: one row for every member, features as they were known at that moment."""
    from tessera import build
    from tessera.setup import locate

    build.frame(locate(home, configs), service, at, out)


@app.command()
def train(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="taste, churn, lifetime, response or effects; default all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without the recipes that taste.slow of training.yaml names.")
    ] = False,
) -> None:
    """Train challengers and register them with their figures."""
    from tessera import build
    from tessera.setup import locate

    raise typer.Exit(build.train(locate(home, configs), model, quick=quick))


@app.command()
def promote(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="taste, churn, lifetime, response or effects; default all.")
    ] = None,
    force: Annotated[
        str | None, typer.Option("--force", help="Promote whatever the gate says; the reason is recorded.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Return to the previous champion.")] = False,
) -> None:
    """Judge the challengers against the champions and let the better ones serve."""
    from tessera import build
    from tessera.setup import locate

    raise typer.Exit(build.promote(locate(home, configs), model, force, rollback=rollback))


@app.command()
def backtest(
    model: Annotated[str, typer.Argument(help="churn (with the next purchase), tiers or effects.")] = "churn",
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="Days; default: churn.horizon_days, else the programme's.", min=1)
    ] = None,
    cut_offs: Annotated[int, typer.Option("--cut-offs", help="Moments of the past, at most.", min=1)] = 6,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: HOME/reports/backtest-….")] = None,
) -> None:
    """Decide in the past, compare with what followed: ours beside BG/NBD and tuned models of few features."""
    from tessera import backtest as job
    from tessera.setup import RefusedError, locate

    if model == "effects":
        return job.effects(locate(home, configs), out)
    if model == "tiers":
        from tessera import tiers

        return tiers.backtest(locate(home, configs), cut_offs, out)
    if model != "churn":
        raise RefusedError(f"backtest: {model!r} is unknown; use churn, tiers or effects")
    return job.churn(locate(home, configs), horizon, cut_offs, out)


@app.command()
def lineage(
    decision: Annotated[
        str | None, typer.Argument(help="Decision id; without one, versions and their decisions.")
    ] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version.")] = None,
    data: Annotated[str | None, typer.Option(help="Only what was made from the data with this fingerprint.")] = None,
) -> None:
    """From a decision back to its models' data, code and settings; or forward from those to their decisions."""
    from tessera import lineage as job
    from tessera.setup import locate

    ws = locate(home, configs)
    job.back(ws, decision) if decision else job.forward(ws, model, version, data)


@app.command()
def segments(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    days: Annotated[int, typer.Option(help="Compare with so many days ago.", min=1)] = 7,
    fields: Annotated[bool, typer.Option("--fields", help="List what a rule in segments.yaml may ask about.")] = False,
) -> None:
    """How many members each segment has, and who came and went since last week."""
    from tessera import segments as job
    from tessera.setup import locate

    ws = locate(home, configs)
    job.fields(ws) if fields else job.run(ws, days)


@app.command()
def report(
    what: Annotated[
        str, typer.Argument(help="quality; or exploration: what chance cost beside what it may.")
    ] = "quality",
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    baseline: Annotated[
        datetime | None, typer.Option(help="Compare with this moment (UTC); default: where the champion learned.")
    ] = None,
    stale_days: Annotated[float, typer.Option(help="Purchases older than this are stale.", min=0)] = 3.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: HOME/reports/quality-DATE.")] = None,
) -> None:
    """Quality, freshness and drift: which feature shifted, how, and since when. Exit 1 if stale or broken."""
    from tessera import report as job
    from tessera.setup import RefusedError, locate

    if what == "exploration":
        raise typer.Exit(job.exploration(locate(home, configs)))
    if what != "quality":
        raise RefusedError(f"report {what}: there is quality or exploration")
    raise typer.Exit(job.run(locate(home, configs), baseline, stale_days, out))


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="serve, features, train, bulk, lifetime, films or spread.")],
) -> None:
    """Measure on this machine and print figures beside the named alternative."""
    from tessera.bench import run

    raise typer.Exit(run(what))
