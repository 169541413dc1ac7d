"""The commands about points and rules. Each imports what it runs only when it runs, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs, Home

app = typer.Typer()


@app.command("points")
def points_(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    days: Annotated[float, typer.Option(help="Length of the statement, up to the end of the history.", min=1)] = 365.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default HOME/reports/points-DATE.")] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Points by tier: movements, what will be redeemed, liability and breakage with intervals, and a picture."""
    from tessera import points as job
    from tessera.setup import locate

    job.run(locate(home, configs), days, out, seed)


@app.command("tiers")
def tiers_(
    member: Annotated[str | None, typer.Argument(help="Member; without one, the forecast is fitted.")] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit the forecast on the history first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As the service answers it.")] = False,
) -> None:
    """What becomes of a member's tier, and the cheapest set of offers and benefits that changes it."""
    from tessera import tiers as job
    from tessera.setup import locate

    ws = locate(home, configs)
    if fit or member is None:
        job.fit(ws)
    if member is not None:
        job.member(ws, member, as_json=as_json)
