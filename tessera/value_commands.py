"""The commands about value: what levers cost, who is given what. Each imports what it runs only when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs, Home

app = typer.Typer()
_MOST = 20_000


@app.command()
def levers(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    most: Annotated[int, typer.Option("--most", help="Decisions looked at, oldest first.", min=1)] = _MOST,
) -> None:
    """What each marketer's lever costs: the journal's decisions run again with the lever at 1, with intervals."""
    from tessera import levers as job
    from tessera.setup import locate

    raise typer.Exit(job.run(locate(home, configs), most))


@app.command()
def fairness(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Ratio below which a gap is flagged; 0.8 is four fifths.")
    ] = 0.8,
    most: Annotated[int, typer.Option("--most", help="Decisions looked at, oldest first.", min=1)] = _MOST,
) -> None:
    """Who is given what, by tier, region and what else members declared. Exit 1 if no rule explains a gap."""
    from tessera import fairness as job
    from tessera.setup import RefusedError, locate

    if not 0 < threshold < 1:
        raise RefusedError(f"fairness: --threshold {threshold:g} is no ratio between 0 and 1; use 0.8 for four fifths")
    raise typer.Exit(job.run(locate(home, configs), threshold, most))
