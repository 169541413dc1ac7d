"""`tessera peers`: other people's recommenders beside ours, with equal tuning budgets, judged by the same figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box

from tessera.evaluation import Wanted, chosen, tell
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

if TYPE_CHECKING:
    from rich.table import Table

    from experiments.peers.records import Session
    from experiments.peers.standing import State
    from experiments.peers.trials import Budget, Entrant
    from training.evaluation.contest import Terms
    from training.protocols import Split


_PACKAGES = ("rectools", "cornac", "implicit", "rectools-lightfm", "numpy")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the history came from and how it was cut; stands in the records, so that a report can cut it again."""

    workspace: str = ""
    train: str = ""
    test: str = ""
    columns: Mapping[str, str] | None = None
    protocol: str = "time"
    days: float = 28.0
    share: float = 0.25
    seed: int = 0

    def cut(self) -> Split:
        """The split."""
        if self.train:
            from training.evaluation import given

            test = Path(self.test) if self.test else None
            how: dict[str, Any] = {"days": self.days, "share": self.share, "seed": self.seed}
            return given.cut(Path(self.train), test, self.columns, self.protocol, **how)
        from features import history
        from features.workspace import Workspace
        from training.ledger import Ledger
        from training.protocols import by_name

        ws = Workspace(Path(self.workspace), Path(self.workspace))  # nothing is read of the configuration
        needs_tables(ws)
        ends_at = history.ends_at(ws.tables)
        return by_name(self.protocol, Ledger.read(ws), ends_at, days=self.days, share=self.share, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was asked for."""

    peers: tuple[str, ...]
    """Names; empty for all."""
    recipes: tuple[str, ...]
    """Names of ours; empty for all."""
    settings: tuple[Path | None, ...]
    """Files with our defaults."""
    environment: Path
    """Where the peers' environment lies or is made."""
    out: Path
    """Folder of the records: a run that was begun there goes on."""


def run(source: Source, asked: Asked, budget: Budget, terms: Terms) -> int:
    """Begin a side by side or go on with it, then print the table."""
    from experiments.peers import environment
    from experiments.peers.records import Records, Session
    from experiments.peers.side_by_side import Desks, side_by_side
    from training.folds import inside

    steps, records = Steps(), Records(asked.out)
    entrants = _entrants(asked)
    with records.held():
        with steps.step(f"the peers' environment in {asked.environment}"):
            python = environment.python_of(asked.environment)
            installed = environment.versions(python)
        with steps.step("read and cut"):
            split = source.cut()
            inner = inside(split, days=source.days, share=source.share, seed=source.seed)
        records.begin(
            Session(
                identity=_identity(split, budget, terms),
                source=asdict(source),
                entrants={each.rival.name: each.given for each in entrants},
                trials=budget.trials,
                seeds=tuple(range(budget.seed, budget.seed + budget.seeds)),
                versions={name: installed.get(name, "none") for name in _PACKAGES},
                tuned_on=inner.said,
            )
        )
        with (
            steps.step(f"{len(entrants)} recipes and peers, {budget.trials} trials each"),
            (asked.out / "peers.log").open("a") as errors,
            environment.desk(python, errors) as theirs,
            environment.own_desk(errors) as ours,
        ):
            side_by_side(split, inner, entrants, Desks(theirs, ours), records, budget, terms, steps.note)
    return report(asked.out)


def report(out: Path) -> int:
    """Print what the records of a run hold so far; the run may be at work meanwhile."""
    from rich.console import Console

    from experiments.peers import standing
    from experiments.peers.records import Records
    from training.evaluation.contest import Terms

    records = Records(out)
    session = standing.last(records)
    source, limits = Source(**session.source), session.identity["budget"]
    split = source.cut()
    if fingerprint(split) != session.identity["split"]:
        raise RefusedError(f"{out}: the history it was measured on has changed since; ingest that one again")
    console = Console(width=200)
    print(_sentences(session, limits))
    console.print(_table(standing.states(records)))
    found = standing.evaluation(records, split, Terms(**session.identity["terms"]))
    wanted = Wanted((source.protocol,), (), source.days, source.share, out)
    return tell([replace(found, skipped={})], wanted)


def budget(trials: int, seed: int, seeds: int, trial_seconds: float, entrant_seconds: float) -> Budget:
    """The tuning budget of everybody."""
    from experiments.peers.trials import Budget

    return Budget(trials, seed=seed, seeds=seeds, trial_seconds=trial_seconds, entrant_seconds=entrant_seconds)


def fingerprint(split: Split) -> str:
    """What a split consists of, in sixteen letters."""
    found = hashlib.sha256(split.protocol.encode())
    for values in (split.before.buys, split.before.bought_at, split.bought.indptr, split.bought.indices):
        found.update(values.tobytes())
    return found.hexdigest()[:16]


def _identity(split: Split, budget: Budget, terms: Terms) -> dict[str, Any]:
    """What must not change when a run goes on; trials and seeds may be added."""
    limits = {name: value for name, value in asdict(budget).items() if name not in {"trials", "seeds"}}
    return {"split": fingerprint(split), "terms": asdict(terms), "budget": limits}


def _entrants(asked: Asked) -> list[Entrant]:
    from experiments.peers import trials
    from experiments.peers.rivals import RIVALS

    for name in asked.peers:
        if name not in RIVALS:
            raise RefusedError(f"peer {name!r} is unknown; use some of {', '.join(RIVALS)}")
    ours = chosen(asked.recipes, *asked.settings)
    theirs: Sequence[str] = asked.peers or tuple(RIVALS)
    return [trials.recipe(name, given) for name, given in ours.items()] + [trials.peer(name) for name in theirs]


def _sentences(session: Session, limits: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, session.seeds))
    first = (
        f"Tuned with at most {session.trials} trials each of the same sampler (seed {limits['seed']}), on: "
        f"{session.tuned_on}; of more than {limits['members']:,} members there a sample."
    )
    second = (
        f"Limits by the clock on the wall: {limits['trial_seconds']:.0f} s a trial, {limits['entrant_seconds']:.0f} s "
        f"all trials of one, and as long for one fit that is judged; judged with seeds {seeds}."
    )
    return "\n".join((first, second, ", ".join(f"{name} {version}" for name, version in session.versions.items())))


def _table(states: Sequence[State]) -> Table:
    from rich.table import Table

    table = Table(title="How it stands", title_justify="left", box=box.SIMPLE_HEAD)
    for head in ("who", "trials", "did not run", "best inner NDCG", "tuning s", "seeds", "judging s", "state"):
        table.add_column(head, justify="left" if head in {"who", "state"} else "right", overflow="fold")
    for one in states:
        tuned = bool(one.wanted)
        table.add_row(
            one.title,
            f"{one.trials} of {one.wanted}" if tuned else "",
            str(one.failed) if tuned else "",
            "" if one.best is None else f"{one.best:.4f}",
            f"{one.tuning_seconds:.0f}" if tuned else "",
            ", ".join(map(str, one.seeds)),
            f"{one.judging_seconds:.0f}",
            one.said.replace("[", "\\["),
        )
    return table
