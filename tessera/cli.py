"""The command line. Every command imports what it runs only when it runs, so that help is quick."""

from __future__ import annotations

import os
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tessera import laboratory, points_commands, recommenders, rehearsal_command, value_commands
from tessera.options import DEFAULT_HOME, Configs, DataPath, Home, Mapping, Source

app = typer.Typer(
    help="Decides for every member which offer, action and benefit comes next, and logs it so that it can be proved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(laboratory.app)
app.add_typer(recommenders.app)
app.add_typer(points_commands.app)
app.add_typer(value_commands.app)
app.add_typer(rehearsal_command.app)


@app.command()
def demo(
    source: Source = "simulated",
    path: DataPath = None,
    mapping: Mapping = None,
    home: Home = Path("var/demo"),
    configs: Configs = None,
    members: Annotated[int, typer.Option(help="Members of the simulated programme.", min=100)] = 2000,
    products: Annotated[int, typer.Option(help="Products of the simulated programme.", min=50)] = 500,
    world: Annotated[str, typer.Option(help="World of the simulated programme: none, weak or strong.")] = "strong",
    seed: Annotated[int, typer.Option(help="Seed of the simulated programme.")] = 7,
    port: Annotated[int, typer.Option(help="Port on localhost.", min=1, max=65535)] = 3000,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after printing; exit 0 only if every answer holds.")
    ] = False,
) -> None:
    """Everything in one go: history, features, models, service, one real call per endpoint."""
    from tessera import demo as job
    from tessera.setup import locate

    settings = job.Demo(source, path, mapping, members, products, world, seed, port, once)
    raise typer.Exit(job.run(locate(home, configs), settings))


@app.command()
def ingest(
    source: Source = "folder",
    path: DataPath = None,
    mapping: Mapping = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    append: Annotated[bool, typer.Option("--append", help="Add to the tables that are there.")] = False,
    members: Annotated[int, typer.Option(help="Members (simulated only).", min=100)] = 2000,
    products: Annotated[int, typer.Option(help="Products (simulated only).", min=50)] = 500,
    world: Annotated[str, typer.Option(help="World (simulated only): none, weak or strong.")] = "strong",
    seed: Annotated[int, typer.Option(help="Seed (simulated only).")] = 7,
) -> None:
    """Load a history into the typed tables; what is rejected goes to quarantine and is counted."""
    from tessera import load
    from tessera.setup import locate

    history = load.History(source, path, mapping, members, products, world, seed)
    load.run(locate(home, configs), history, append=append)


@app.command()
def features(home: Home = DEFAULT_HOME, configs: Configs = None) -> None:
    """Compute every member's features and put them into the online store."""
    from tessera import build
    from tessera.setup import locate

    build.features(locate(home, configs))


@app.command()
def serve(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    port: Annotated[int, typer.Option(help="Port.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    open_: Annotated[
        bool, typer.Option("--open", help="Ask for no API key. For a demonstration on localhost only.")
    ] = False,
) -> None:
    """Answer over HTTP, and keep online features fresh from the events that come in."""
    from tessera import host as job
    from tessera.setup import locate

    raise typer.Exit(job.serve(locate(home, configs), host, port, needs_key=not open_))


@app.command(hidden=True)
def updater(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    parent: Annotated[int | None, typer.Option(help="Process that started this one; it ends with it.")] = None,
) -> None:
    """Keep online features fresh from accepted events; `serve` starts this beside the service."""
    from serving.updater import run
    from tessera.setup import locate

    ws = locate(home, configs)
    run(ws.root, ws.config_folder, parent)


@app.command()
def decide(
    member: Annotated[str | None, typer.Argument(help="Member id.")] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every member who may be contacted on the channel.")] = False,
    family: Annotated[str, typer.Option(help="offers, next-best-action, benefits or recommendations.")] = "offers",
    channel: Annotated[str, typer.Option(help="app, web, email, sms, push, till or call.")] = "email",
    out: Annotated[Path | None, typer.Option("--out", help="CSV or Parquet file of the campaign (with --all).")] = None,
) -> None:
    """Decide for one member, or write a whole outbound campaign through the same decision and journal."""
    from tessera import campaign
    from tessera.setup import locate

    raise typer.Exit(campaign.decide(locate(home, configs), member, family, channel, out, everyone=everyone))


@app.command()
def why(
    decision: Annotated[str, typer.Argument(help="Decision id, from an answer or the journal.")],
    candidate: Annotated[str | None, typer.Argument(help="Offer, action or benefit id.")] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
) -> None:
    """Why a decision gave this, why not that candidate, and what would have to change; tried by deciding again."""
    from tessera import why as job
    from tessera.setup import locate

    raise typer.Exit(job.run(locate(home, configs), decision, candidate))


@app.command()
def preview(
    offer: Annotated[str, typer.Argument(help="Offer, action or benefit id.")],
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    channel: Annotated[str, typer.Option(help="Channel it would go out on.")] = "app",
) -> None:
    """How many members would get it, at what assumed cost, and where the others drop out. Nothing is logged."""
    from tessera import campaign
    from tessera.setup import locate

    raise typer.Exit(campaign.preview(locate(home, configs), offer, channel))


@app.command()
def pause(
    offer: Annotated[str, typer.Argument(help="Offer, action, benefit or product id.")],
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on.")] = False,
) -> None:
    """Stop making an offer or naming a product, effective within two seconds in the running service."""
    from tessera import campaign
    from tessera.setup import locate

    raise typer.Exit(campaign.pause(locate(home, configs), offer, resume=resume))


@app.command()
def nightly(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Campaign file; default: HOME/reports/campaign-DATE.csv.")
    ] = None,
    channel: Annotated[str, typer.Option(help="Channel of the campaign file.")] = "email",
) -> None:
    """The night's work: ingest, features, train, gate, prices, export. After a kill it goes on where it was."""
    from tessera import night
    from tessera.setup import locate

    raise typer.Exit(night.run(locate(home, configs), channel, out))


@app.command()
def prices(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    channel: Annotated[str, typer.Option(help="Assumed of visits while there are no decisions yet.")] = "email",
    sample: Annotated[int, typer.Option(help="Visits to appraise.", min=100)] = 2_000,
    hourly: Annotated[bool, typer.Option("--hourly", help="Go on every hour until stopped.")] = False,
) -> None:
    """Solve for the shadow prices of the budgets with what is left of them; the running service takes them up."""
    from tessera import prices as job
    from tessera.setup import locate

    raise typer.Exit(job.run(locate(home, configs), channel, sample, hourly=hourly))


@app.command()
def budgets(home: Home = DEFAULT_HOME, configs: Configs = None) -> None:
    """What every budget has, what is spent and reserved, what is left, and what one more unit would earn."""
    from tessera import budgets as job
    from tessera.setup import locate

    raise typer.Exit(job.run(locate(home, configs)))


@app.command()
def check(home: Home = DEFAULT_HOME, configs: Configs = None) -> None:
    """Read catalogue, policy, experiments, tables and models, and say in plain words what is wrong."""
    from tessera import checks
    from tessera.setup import locate

    raise typer.Exit(checks.run(locate(home, configs)))


@app.command()
def replay(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="How many decisions would another policy change?")
    ] = None,
) -> None:
    """Run every logged decision again from its inputs and compare it with what was answered."""
    from tessera import campaign
    from tessera.setup import locate

    raise typer.Exit(campaign.replay(locate(home, configs), policy))


@app.command()
def keys(
    owner: Annotated[str, typer.Argument(help="Who gets the key.")],
    scope: Annotated[list[str], typer.Option("--scope", help="caller, marketer or admin.")],
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
) -> None:
    """Make an API key; it is shown once and stored hashed."""
    from tessera import host
    from tessera.setup import locate

    host.new_key(locate(home, configs), owner, scope)


@app.command()
def clock(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    live: Annotated[bool, typer.Option("--live", help="Return to real time.")] = False,
    at: Annotated[datetime | None, typer.Option("--at", help="Let the clock read this now (UTC).")] = None,
) -> None:
    """Show or set the programme clock."""
    from tessera import setup

    setup.show_clock(setup.locate(home, configs), at, live=live)


def main() -> None:
    """Run the command line; an error that names its way out is printed plainly, without a traceback."""
    from tessera.setup import explain

    if not sys.warnoptions:
        # What libraries warn of is for us, not for the person at the terminal; processes started here inherit that.
        warnings.showwarning = _unshown
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
    try:
        app()
    except Exception as error:
        text = explain(error)
        if text is None:
            raise
        print(f"tessera: {text}", file=sys.stderr)
        sys.exit(2)


def _unshown(*_: object, **__: object) -> None:
    """A filter would not do: some libraries set filters of their own as they are imported."""


if __name__ == "__main__":
    main()
