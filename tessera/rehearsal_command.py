"""The command `rehearse`: a month under four policies, or with `--rules` other rules of points on the history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs, DataPath, Home, Mapping

app = typer.Typer()


@app.command()
def rehearse(
    rules: Annotated[
        Path | None, typer.Option("--rules", help="YAML: what would change of points, tiers, rules and channels.")
    ] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    source: Annotated[
        str, typer.Option("--source", help="simulated; home, online_retail, … with answers that are assumed.")
    ] = "simulated",
    path: DataPath = None,
    mapping: Mapping = None,
    world: Annotated[
        str | None,
        typer.Option(help="none, weak or strong; several with commas. Default: all three; assumed answers: weak."),
    ] = None,
    members: Annotated[
        int, typer.Option(help="Members of a simulated world; at most so many of a real history.", min=50)
    ] = 2000,
    products: Annotated[int, typer.Option(help="Products (simulated only).", min=50)] = 150,
    days: Annotated[
        float | None, typer.Option(help="Days of decisions; default 28. With --rules: of history; default 365.", min=1)
    ] = None,
    train_days: Annotated[int, typer.Option(help="Learn again every so many days; 0 never.", min=0)] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default below HOME/reports.")] = None,
    seed: Annotated[int, typer.Option(help="Of members, answers and intervals.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the workspaces with their journals there.")] = False,
) -> None:
    """Rehearse a month through the API under four policies with equal budgets; with --rules, other rules of points."""
    from tessera.setup import RefusedError, locate

    ws = locate(home, configs)
    if rules is not None:
        from tessera import rehearse as of_rules

        of_rules.rules(ws, rules, days or 365.0, out, seed, world, members)
        return
    from tessera.rehearsal import run as job

    if days is not None and days != int(days):
        raise RefusedError(f"--days {days:g}: a month has whole days")
    worlds = tuple((world or ("none,weak,strong" if source == "simulated" else "weak")).split(","))
    job.run(
        ws,
        job.Rehearsal(worlds, members, products, int(days or 28), seed, source, path, mapping, train_days, keep),
        out,
    )
