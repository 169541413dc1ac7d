"""`tessera peers`: other people's recommenders beside ours, with equal tuning budgets, judged by the same figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.workspace import Workspace
from tessera.evaluation import Wanted, chosen, tell
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

if TYPE_CHECKING:
    from experiments.peers.side_by_side import Budget
    from training.evaluation.contest import Terms
    from training.protocols import Split


_PACKAGES = ("rectools", "cornac", "implicit", "rectools-lightfm", "numpy")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was asked for beside what `evaluate` is asked for."""

    peers: tuple[str, ...]
    """Names; empty for all."""
    environment: Path
    """Where the peers' environment lies or is made."""
    budget: Budget


def of_workspace(ws: Workspace, wanted: Wanted, asked: Asked, terms: Terms, settings: Path | None) -> int:
    """Side by side on the history of a workspace."""
    from features import history
    from training.ledger import Ledger
    from training.protocols import by_name

    needs_tables(ws)
    ledger, ends_at = Ledger.read(ws), history.ends_at(ws.tables)
    (protocol,) = wanted.protocols
    split = by_name(protocol, ledger, ends_at, days=wanted.days, share=wanted.share, seed=terms.seed)
    return _run(split, wanted, asked, terms, ws.training, settings)


def of_files(
    train: Path,
    test: Path | None,
    columns: Mapping[str, str],
    wanted: Wanted,
    asked: Asked,
    terms: Terms,
    settings: Path | None,
) -> int:
    """Side by side on purchases in one file (cut by a protocol) or two (a split made elsewhere)."""
    from training.evaluation import given

    (protocol,) = wanted.protocols
    split = given.cut(train, test, columns, protocol, days=wanted.days, share=wanted.share, seed=terms.seed)
    return _run(split, wanted, asked, terms, settings)


def _run(split: Split, wanted: Wanted, asked: Asked, terms: Terms, *settings: Path | None) -> int:
    from experiments.peers import environment
    from experiments.peers.side_by_side import side_by_side
    from training.folds import inside

    steps = Steps()
    theirs = _named(asked.peers)
    ours = chosen(wanted.recipes, *settings)
    wanted.out.mkdir(parents=True, exist_ok=True)
    with steps.step(f"the peers' environment in {asked.environment}"):
        python = environment.python_of(asked.environment)
        installed = environment.versions(python)
    inner = inside(split, days=wanted.days, share=wanted.share, seed=terms.seed)
    with (
        steps.step(f"{len(ours)} recipes and {len(theirs)} peers, {asked.budget.trials} trials each"),
        (wanted.out / "peers.log").open("w") as errors,
        environment.desk(python, errors) as desk,
    ):
        found = side_by_side(split, inner, ours, theirs, desk, asked.budget, terms, steps.note)
    packages = {name: installed.get(name, "none") for name in _PACKAGES}
    told = {
        "trials": asked.budget.trials,
        "tuned on": inner.said,
        "settings": found.settings,
        "versions": packages,
    }
    (wanted.out / "peers.json").write_text(json.dumps(told, indent=1, sort_keys=True, default=str), encoding="utf-8")
    print(f"Tuned, each with {asked.budget.trials} trials of the same sampler, on: {inner.said}.")
    print(", ".join(f"{name} {version}" for name, version in packages.items()))
    return tell([found.evaluation], wanted)


def _named(peers: Sequence[str]) -> list[str]:
    from experiments.peers.rivals import RIVALS

    for name in peers:
        if name not in RIVALS:
            raise RefusedError(f"peer {name!r} is unknown; use some of {', '.join(RIVALS)}")
    return list(peers or RIVALS)


def budget(trials: int, members: int, seed: int) -> Any:
    """The tuning budget of everybody."""
    from experiments.peers.side_by_side import Budget

    return Budget(trials, members, seed)
