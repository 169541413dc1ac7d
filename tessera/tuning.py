"""`tessera tune`: better settings of a recipe, as YAML ready to commit, with pictures and runs in MLflow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box

from features.workspace import Workspace
from tessera.evaluation import chosen
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from training.ledger import Ledger
    from training.tune import Plan, Tried


@dataclass(frozen=True, slots=True)
class Inner:
    """How the folds are cut, and where the result goes."""

    protocol: str
    folds: int
    days: float
    share: float
    use_all: bool
    out: Path | None
    resume: bool


def of_workspace(ws: Workspace, plan: Plan, inner: Inner, settings: Path | None) -> int:
    """Search on the history of a workspace; its last slice is left for `tessera evaluate`."""
    from features import history
    from training.ledger import Ledger

    needs_tables(ws)
    data = history.fingerprint(ws.tables)
    return _search(ws, Ledger.read(ws), history.ends_at(ws.tables), plan, inner, (ws.training, settings), data)


def of_file(
    ws: Workspace, train: Path, columns: Mapping[str, str], plan: Plan, inner: Inner, settings: Path | None
) -> int:
    """Search on purchases in a file; studies and pictures lie in the workspace, which needs no history of its own."""
    from training.evaluation import given

    found = given.typed(train, columns)
    if not found.tells_order and inner.protocol != "random":
        raise RefusedError(
            f"--protocol {inner.protocol}: {train.name} has no times, or one for all; use --protocol random"
        )
    data = hashlib.sha256(train.read_bytes()).hexdigest()
    return _search(ws, given.ledger(found), found.ends_at, plan, inner, (settings,), data)


def _search(
    ws: Workspace,
    ledger: Ledger,
    ends_at: datetime,
    plan: Plan,
    inner: Inner,
    settings: Sequence[Path | None],
    data: str,
) -> int:
    from training import studies, tune
    from training.folds import folds
    from training.tune_picture import draw

    steps = Steps()
    cut = f"{inner.protocol} {inner.days:g} {inner.share:g} {inner.folds} {inner.use_all}"
    present = chosen((plan.recipe,), *settings)[plan.recipe]
    plan = replace(plan, settings=present, data=f"{data} {cut}").checked()
    with steps.step(f"cut {inner.folds} folds: {inner.protocol}"):
        slices = folds(
            ledger,
            ends_at,
            inner.protocol,
            inner.folds,
            days=inner.days,
            share=inner.share,
            seed=plan.seed,
            use_all=inner.use_all,
        )
    for one in slices:
        steps.note(f"{one.said}: {one.counts['members_asked']:,} members, {one.counts['pairs_asked']:,} pairs hidden")
    place = ws.root / "tuning"
    with steps.step(f"tune {plan.recipe}: {plan.trials} trials"):
        study = studies.search(plan, slices, place / f"{plan.recipe}.journal", resume=inner.resume, progress=steps.note)
    found = studies.tried(study, plan)
    best = tune.best(found, plan)
    out = inner.out or place / f"{plan.recipe}.yaml"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_yaml(plan, found, best, [one.said for one in slices]), encoding="utf-8")
    picture = draw(plan, found, studies.importances(study, plan), ws.reports / f"tune-{plan.recipe}.png")
    with steps.step("runs in MLflow"):
        _log(ws, study, plan, found, (out, picture))
    _tell(plan, found, best)
    print(f"{out}: ready for taste.recipes of training.yaml; picture: {picture}")
    return 0


def as_yaml(plan: Plan, found: Sequence[Tried], best: Tried, folds: Sequence[str]) -> str:
    """The best settings as they stand under `taste.recipes` of training.yaml, and in comments where they come from."""
    from training.tune import settings_of

    before = next((one for one in found if one.number == 0 and one.values), None)
    named = [f"{name} {value:.4f}" for name, value in zip(plan.objectives, best.values, strict=True)]
    origin = f"trial {best.number} of {len(found)} (sampler {plan.sampler}, seed {plan.seed})"
    lines = [
        f"# {plan.recipe}: {origin}: {', '.join(named)} at k = {plan.k}, the mean of {len(folds)} folds;",
        f"# before the search {', '.join(f'{value:.4f}' for value in before.values)}." if before else "# new.",
        *(f"# fold: {said}" for said in folds),
    ]
    settings = {name: _rounded(value) for name, value in settings_of(plan, best.settings).items()}
    return "\n".join(lines) + "\n" + yaml.safe_dump({"taste": {"recipes": {plan.recipe: settings}}}, sort_keys=False)


def _rounded(value: Any) -> Any:
    """Four digits say all that a search knows."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _log(ws: Workspace, study: Any, plan: Plan, found: Sequence[Tried], exhibits: Sequence[Path]) -> None:
    from training import registry
    from training.records import SearchTrial

    noted = study.user_attrs
    known = set(noted.get("logged", []))
    fresh = [SearchTrial(one.number, one.state, one.settings, one.folds) for one in found if one.number not in known]
    tags = {"recipe": plan.recipe, "objectives": ",".join(plan.objectives), "data": plan.data, "seed": str(plan.seed)}
    run = registry.log_search(ws, plan.recipe, tags, fresh, exhibits, noted.get("run"))
    study.set_user_attr("run", run)
    study.set_user_attr("logged", sorted(known | {one.number for one in found}))


def _tell(plan: Plan, found: Sequence[Tried], best: Tried) -> None:
    from rich.console import Console

    from training.tune import frontier

    states = {state: sum(one.state == state for one in found) for state in ("complete", "pruned", "failed")}
    print(", ".join(f"{count} {state}" for state, count in states.items()))
    for reason in sorted({one.reason for one in found if one.reason}):
        print(f"failed: {reason}")
    console = Console()
    console.width = max(console.width, 160)
    shown = frontier(found, plan) if len(plan.objectives) > 1 else [best]
    first = [one for one in found if one.number == 0 and one.state == "complete" and one not in shown]
    console.print(_table(plan, [*shown, *first]))


def _table(plan: Plan, shown: Sequence[Tried]) -> Table:
    """Trials that are not beaten (with several objectives: the Pareto front), and the settings before the search."""
    from rich.table import Table

    table = Table(title=f"{plan.recipe}: not beaten; trial 0 is as it was before", box=box.SIMPLE_HEAD)
    for head in ("trial", *plan.objectives, "settings"):
        table.add_column(head, justify="left" if head == "settings" else "right")
    for one in shown:
        settings = ", ".join(f"{name} {_rounded(value)}" for name, value in one.settings.items())
        table.add_row(str(one.number), *(f"{value:.4f}" for value in one.values), settings)
    return table
