"""The data scientist's commands. Every command imports what it runs only when it runs, so that help is quick."""

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
    model: Annotated[list[str] | None, typer.Option("--model", help="taste, churn or response; default all.")] = None,
) -> None:
    """Train challengers and register them with their figures."""
    from tessera import build
    from tessera.setup import locate

    raise typer.Exit(build.train(locate(home, configs), model))


@app.command()
def promote(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="taste, churn or response; default all.")] = None,
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
def report(
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
    from tessera.setup import locate

    raise typer.Exit(job.run(locate(home, configs), baseline, stale_days, out))


@app.command()
def bench(what: Annotated[str, typer.Argument(help="serve, features or train.")]) -> None:
    """Measure on this machine and print figures beside the named alternative."""
    from tessera.bench import run

    raise typer.Exit(run(what))
