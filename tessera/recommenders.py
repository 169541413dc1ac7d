"""Commands that compare and use recommenders. Each imports what it runs only when it runs, so that help is quick."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tessera.options import DEFAULT_HOME, Configs, Home
from tessera.peers_command import peers

app = typer.Typer()


@app.command()
def evaluate(
    history: Annotated[
        Path, typer.Option("--history", "--home", envvar="TESSERA_HOME", help="Workspace with a loaded history.")
    ] = DEFAULT_HOME,
    configs: Configs = None,
    train: Annotated[
        Path | None, typer.Option("--train", help="CSV or Parquet of purchases, in place of a workspace.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="What is asked for, if the split is made already.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Your names: member=userId,product=itemId,time=timestamp.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option("--protocol", help="time (default); to reproduce tables: random, last_basket, leave_one_out."),
    ] = None,
    days: Annotated[float, typer.Option(help="How much of the end is judged (time).", min=0.01)] = 28.0,
    share: Annotated[float, typer.Option(help="Share of each member's products that is hidden (random).")] = 0.25,
    recipe: Annotated[list[str] | None, typer.Option("--recipe", help="Repeat for several; default all.")] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML with taste.recipes, over those of the workspace.")
    ] = None,
    k: Annotated[int, typer.Option(help="Length of the lists.", min=1)] = 10,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Only discovery: lists and truth without what was bought before.")
    ] = False,
    mask_seen: Annotated[
        bool | None,
        typer.Option("--mask-seen/--keep-seen", help="Lists without what was bought before; default by protocol."),
    ] = None,
    members: Annotated[int, typer.Option(help="Judge at most so many members, by lot; 0 for all.", min=0)] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the lots, the resamples and the recipes.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default HISTORY/reports/evaluation.")] = None,
    lists: Annotated[bool, typer.Option("--lists", help="Write the ranked lists too, as Parquet.")] = False,
) -> None:
    """Recipes side by side on the same members: quality with paired intervals, repeat and explore apart, by group."""
    from tessera import evaluation
    from tessera.setup import RefusedError, locate
    from training.evaluation.contest import Terms

    if test is not None and train is None:
        raise RefusedError("--test needs --train: name both files of the split")
    place = out or (history if train is None else Path()) / "reports" / "evaluation"
    wanted = evaluation.Wanted(tuple(protocol or ("time",)), tuple(recipe or ()), days, share, place, lists)
    terms = Terms(k=k, only_new=only_new, unseen_only=mask_seen, members=members or None, seed=seed)
    if train is None:
        raise typer.Exit(evaluation.of_workspace(locate(history, configs), wanted, terms, settings))
    raise typer.Exit(evaluation.of_files(train, test, evaluation.columns_of(columns), wanted, terms, settings))


@app.command()
def tune(
    recipe: Annotated[str, typer.Argument(help="Whose settings are searched, for example als.")],
    trials: Annotated[int, typer.Option(help="How many in all, those of earlier sessions included.", min=1)] = 30,
    workers: Annotated[int, typer.Option(help="Processes that try at the same time.", min=1)] = 1,
    objective: Annotated[
        str, typer.Option(help="One or more of ndcg, recall, map, mrr, hit_rate, novelty, coverage, seconds.")
    ] = "ndcg",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the study that is there.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="YAML file; default HOME/tuning/RECIPE.yaml.")] = None,
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    train: Annotated[
        Path | None, typer.Option("--train", help="CSV or Parquet of purchases, in place of the workspace's history.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Your names: member=userId,product=itemId,time=timestamp.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="time, random, last_basket or leave_one_out.")] = "time",
    folds: Annotated[int, typer.Option(help="Inner slices; each is a step at which a trial may stop.", min=1)] = 3,
    days: Annotated[float, typer.Option(help="Length of a slice (time).", min=0.01)] = 28.0,
    share: Annotated[float, typer.Option(help="Hidden share of each member's products (random).")] = 0.25,
    use_all: Annotated[
        bool, typer.Option("--use-all", help="Leave no last slice untouched: the history is a training set already.")
    ] = False,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML with taste.recipes, over those of the workspace.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2 or random.")] = "tpe",
    k: Annotated[int, typer.Option(help="Length of the lists.", min=1)] = 10,
    only_new: Annotated[bool, typer.Option("--only-new", help="Tune for discovery alone.")] = False,
    members: Annotated[int, typer.Option(help="Judge at most so many members in a fold.", min=1)] = 5_000,
    seed: Annotated[int, typer.Option(help="Of the sampler, the lots and the recipe.")] = 0,
) -> None:
    """Search for better settings of a recipe on inner folds; the last slice stays untouched for `evaluate`."""
    from tessera import tuning
    from tessera.evaluation import columns_of
    from tessera.setup import locate
    from training.tune import Plan

    objectives = tuple(name.strip() for name in objective.split(","))
    plan = Plan(
        recipe,
        objectives=objectives,
        trials=trials,
        workers=workers,
        sampler=sampler,
        k=k,
        only_new=only_new,
        members=members,
        seed=seed,
    )
    inner = tuning.Inner(protocol, folds, days, share, use_all, out, resume)
    ws = locate(home, configs)
    if train is None:
        raise typer.Exit(tuning.of_workspace(ws, plan, inner, settings))
    raise typer.Exit(tuning.of_file(ws, train, columns_of(columns), plan, inner, settings))


app.command()(peers)


@app.command()
def recommend(
    out: Annotated[Path, typer.Option("--out", help="Parquet file.")],
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every member.")] = False,
    k: Annotated[int, typer.Option("--k", help="Length of the lists.", min=1, max=1000)] = 10,
    filter_: Annotated[
        str | None, typer.Option("--filter", help="Condition on products, such as \"category == 'tea' and price < 5\".")
    ] = None,
    only_new: Annotated[bool, typer.Option("--only-new", help="Leave out what a member has bought.")] = False,
    at: Annotated[datetime | None, typer.Option("--at", help="As of this moment (UTC); default: now.")] = None,
) -> None:
    """The best products for every member as Parquet; who did not agree to personalisation gets what is popular."""
    from tessera import recommend as job
    from tessera.setup import RefusedError, locate

    if not everyone:
        raise RefusedError(
            "recommend is for every member: add --all; for one, `tessera decide ID --family recommendations`"
        )
    job.run(locate(home, configs), job.Wanted(out, k, filter_, only_new, at))


@app.command()
def tradeoff(
    home: Home = DEFAULT_HOME,
    configs: Configs = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Whose lists.")] = "als",
    days: Annotated[float, typer.Option(help="How much of the end judges.", min=0.01)] = 28.0,
    k: Annotated[int, typer.Option("--k", help="Length of the lists.", min=2, max=50)] = 10,
    members: Annotated[int, typer.Option(help="Judge at most so many members.", min=1)] = 2_000,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default HOME/reports/tradeoff.")] = None,
) -> None:
    """What a request's diversity and popularity_cap cost in accuracy and bring in spread, with a picture."""
    from tessera import tradeoff as job
    from tessera.setup import locate

    job.run(locate(home, configs), recipe, days, k, members, out)
