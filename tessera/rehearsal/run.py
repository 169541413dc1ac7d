"""`tessera rehearse`: a month under four policies, in simulated worlds or on a real history with assumed answers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.rehearsal.month import Month
from experiments.worlds import WORLDS
from features import catalog
from features.workspace import Workspace
from tessera import load
from tessera.progress import Steps
from tessera.rehearsal import ground, play, report
from tessera.rehearsal.ground import Ground
from tessera.rehearsal.play import Nights, Played
from tessera.rehearsal.policies import POLICIES, with_prices
from tessera.rehearsal.report import BudgetUse, Outcome
from tessera.setup import RefusedError

HOME = "home"
"""The source that stands for what the workspace holds."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is asked for. `worlds` are those whose answers are simulated, or for a real history assumed."""

    worlds: tuple[str, ...]
    members: int
    products: int
    days: int
    seed: int
    source: str = "simulated"
    path: Path | None = None
    mapping: Path | None = None
    train_days: int = 0
    keep: bool = False


def run(ws: Workspace, of: Rehearsal, out: Path | None) -> list[Outcome]:
    """Play every month, print the table, and write `rehearsal.json` and `rehearsal.png`.

    Raises:
        RefusedError: no such world or no history, or the service refused something.
    """
    if unknown := [one for one in of.worlds if one not in WORLDS]:
        raise RefusedError(f"--world {unknown[0]}: there is {', '.join(WORLDS)}")
    folder = (out or ws.reports / "rehearse").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in asdict(of).items() if name not in ("seed", "keep")}
    steps, found = Steps(), []
    for world in of.worlds:
        place = folder / "work" / world
        shutil.rmtree(place, ignore_errors=True)
        with steps.step(f"{world}: history and what is learned from it"), _quiet(folder / f"{world}.log"):
            base = _ground(ws, of, world, place / "ground")
        found.append(_outcome(of, world, base, _months(of, base, place, steps, folder)))
        for line in report.lines(found[-1], of.seed):
            print(line, flush=True)
        # After every world, so that a long rehearsal that is stopped leaves what it has.
        (folder / "rehearsal.json").write_text(report.as_json(found, of.seed, settings))
        report.picture(found, of.seed, folder / "rehearsal.png")
        if not of.keep:
            shutil.rmtree(place)
    steps.note(str(folder))
    return found


def _ground(ws: Workspace, of: Rehearsal, world: str, place: Path) -> Ground:
    if of.source == "simulated":
        return ground.simulated(
            place, ws.config_folder, world, members=of.members, products=of.products, days=of.days, seed=of.seed
        )
    given: load.History | Workspace = ws
    if of.source != HOME:
        given = load.History(of.source, of.path, of.mapping)
    return ground.real(place, ws.config_folder, given, world, days=of.days, seed=of.seed, most=of.members)


def _months(of: Rehearsal, base: Ground, place: Path, steps: Steps, folder: Path) -> dict[str, Played]:
    found = {}
    for name in POLICIES:
        with steps.step(f"  {name}: {of.days} days through the API"), _quiet(folder / f"{place.name}.log"):
            ws = ground.copy(base, place / name, name)
            month = Month(base.truth, base.world, of.seed, base.starts, of.days, base.active)
            found[name] = play.month(ws, month, base.tariff, Nights(with_prices(name), of.train_days), of.seed)
    return found


def _outcome(of: Rehearsal, world: str, base: Ground, played: Mapping[str, Played]) -> Outcome:
    programme = catalog.load(base.ws.catalog).programme
    name = f"world {world}" if of.source == "simulated" else f"{of.source}, answers assumed as in world {world}"
    return Outcome(
        name=name,
        currency=programme.currency,
        members=int(base.active.sum()),
        days=of.days,
        decisions={one: found.decisions for one, found in played.items()},
        accounts={one: found.accounts[base.active] for one, found in played.items()},
        budgets=_budgets(base, played),
        assumed=base.assumed,
    )


def _budgets(base: Ground, played: Mapping[str, Played]) -> list[BudgetUse]:
    found = []
    for one in catalog.load(base.ws.catalog).budgets:
        periods = sorted({period for each in played.values() for name, period in each.spent if name == one.id})
        for period in periods:
            spent = {who: each.spent.get((one.id, period), 0.0) for who, each in played.items()}
            if any(spent.values()):
                found.append(BudgetUse(one.id, one.unit, period, one.amount, spent))
    return found


@contextlib.contextmanager
def _quiet(log: Path) -> Iterator[None]:
    """What the steps inside tell goes to a file."""
    with log.open("a") as file, contextlib.redirect_stderr(file), contextlib.redirect_stdout(file):
        yield
