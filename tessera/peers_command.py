"""The command `tessera peers`. It imports what it runs only when it runs, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs


def peers(
    what: Annotated[
        str, typer.Argument(help="run (goes on where it was interrupted), or report: print what there is so far.")
    ] = "run",
    history: Annotated[
        Path, typer.Option("--history", "--home", envvar="TESSERA_HOME", help="Workspace with a loaded history.")
    ] = DEFAULT_HOME,
    configs: Configs = None,
    train: Annotated[Path | None, typer.Option("--train", help="CSV or Parquet, in place of a workspace.")] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="What is asked for, if the split is made already.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="member=userId,product=itemId,time=timestamp.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="time, random, last_basket or leave_one_out.")] = "time",
    days: Annotated[float, typer.Option(help="How much of the end is judged (time).", min=0.01)] = 28.0,
    share: Annotated[float, typer.Option(help="Hidden share of each member's products (random).")] = 0.25,
    recipe: Annotated[list[str] | None, typer.Option("--recipe", help="Of ours; default all.")] = None,
    peer: Annotated[list[str] | None, typer.Option("--peer", help="Of theirs; default all.")] = None,
    trials: Annotated[int, typer.Option(help="Tuning trials of each, ours and theirs; 0 for none.", min=0)] = 15,
    trial_seconds: Annotated[float, typer.Option(help="A trial that takes longer did not run.", min=1)] = 120.0,
    entrant_seconds: Annotated[float, typer.Option(help="All trials of one; one fit to be judged.", min=1)] = 600.0,
    settings: Annotated[Path | None, typer.Option("--settings", help="YAML with taste.recipes: our defaults.")] = None,
    k: Annotated[int, typer.Option(help="Length of the lists.", min=1)] = 10,
    members: Annotated[int, typer.Option(help="Judge at most so many members, by lot; 0 for all.", min=0)] = 20_000,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    seeds: Annotated[int, typer.Option(help="Judge fits with so many seeds, from --seed on.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default HISTORY/reports/peers.")] = None,
    environment: Annotated[
        Path, typer.Option("--environment", help="Where the peers' packages are installed (made by uv).")
    ] = Path("var/peers"),
) -> None:
    """RecTools, cornac and implicit beside ours: the same split, equal tuning budgets, the same figures."""
    from tessera import peers as job
    from tessera.evaluation import columns_of
    from tessera.setup import RefusedError, locate
    from training.evaluation.contest import Terms

    place = out or (history if train is None else Path()) / "reports" / "peers"
    if what == "report":
        raise typer.Exit(job.report(place))
    if what != "run":
        raise RefusedError(f"peers {what!r}: use run or report")
    cut = (protocol, days, share, seed)
    files: tuple[Path | None, ...]
    if train is None:
        ws = locate(history, configs)
        source, files = job.Source(str(ws.root), "", "", None, *cut), (ws.training, settings)
    else:
        hidden = str(test.resolve()) if test else ""
        source = job.Source("", str(train.resolve()), hidden, columns_of(columns), *cut)
        files = (None, settings)
    asked = job.Asked(tuple(peer or ()), tuple(recipe or ()), files, environment.resolve(), place)
    budget = job.budget(trials, seed, seeds, trial_seconds, entrant_seconds)
    raise typer.Exit(job.run(source, asked, budget, Terms(k=k, members=members or None, seed=seed)))
