"""Two rounds of learning on the service's own journal, and what the policy of each is truly worth."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from experiments.worlds import WORLDS, World
from features.workspace import Workspace
from tessera.bench.ground import CONFIGS

if TYPE_CHECKING:
    from experiments.own_journal import Round

SEEDS = (31, 32, 33, 34)
MEMBERS, ROUNDS, WINDOWS = 2_000, 2, 3


def worlds() -> dict[str, World]:
    """The shipped worlds, and one in which what worked best works worst, people buy seldom and dogs wake easily."""
    strong = WORLDS["strong"]
    turned = dict(zip(strong.lift, reversed(list(strong.lift.values())), strict=True))
    angrier = {name: min(1.0, 1.4 * chance) for name, chance in strong.drop.items()}
    other = replace(strong, lift=turned, drop=angrier, gap_median=34.0, gap_spread=0.5)
    return {**WORLDS, "turned": other}


def run() -> None:
    """Print money by round. `TESSERA_SEEDS=31,32` and `TESSERA_WORLDS=strong` choose; `TESSERA_DELTA=1` counts ΔCLV."""
    console, known = Console(), worlds()
    wanted = os.environ.get("TESSERA_WORLDS", ",".join(known)).split(",")
    seeds = [int(one) for one in os.environ.get("TESSERA_SEEDS", ",".join(map(str, SEEDS))).split(",")]
    delta = float(os.environ.get("TESSERA_DELTA", "0"))
    table = Table(title=f"{MEMBERS:,} members, {WINDOWS} reward windows a round, money for 1,000 decisions")
    for column in ("world", "policy", "money", "more than the priors'", "caused baskets", "nothing", "ahead in"):
        table.add_column(column, justify="left" if column in ("world", "policy") else "right")
    for name in wanted:
        found = []
        for seed in seeds:
            found.append(one(known[name], seed, delta))
            for number, each in enumerate(found[-1]):
                console.print(
                    f"  {name}, seed {seed}, round {number}: {1000 * each.money.mean():+.1f}; {'; '.join(each.said)}"
                )
        for cells in _lines(found):
            table.add_row(name, *cells)
    table.caption = (
        f"{len(seeds)} programmes for each world (seeds {', '.join(map(str, seeds))}), 95 % intervals over programmes "
        "(Student's t), differences paired by member. Money is margin truly caused in the reward window less what "
        f"is truly paid, expected over each policy's own chances, floors and holdout included; delta {delta:g}"
    )
    console.print(table)


def one(world: World, seed: int, delta: float = 0.0, members: int = MEMBERS, windows: int = WINDOWS) -> list[Round]:
    """One programme, from its priors through its rounds."""
    from experiments import own_journal

    with tempfile.TemporaryDirectory(prefix="tessera-rounds-") as folder:
        ws = Workspace(Path(folder))
        configured(ws, delta)
        programme = own_journal.begin(ws, members, seed, world)
        return own_journal.rounds(programme, ROUNDS, windows)


def configured(ws: Workspace, delta: float) -> None:
    """The shipped configuration without budgets and experiments; and with this `delta`."""
    shutil.copytree(CONFIGS, ws.config_folder)
    (ws.catalog / "budgets.yaml").unlink(missing_ok=True)
    for file in ws.experiments.glob("*.yaml"):
        file.unlink()
    policy: dict[str, Any] = yaml.safe_load(ws.policy.read_text())
    ws.policy.write_text(yaml.safe_dump({**policy, "delta": delta}))


def _lines(found: list[list[Round]]) -> Iterator[tuple[str, ...]]:
    from experiments.allocation.contest import reading

    for number in range(ROUNDS + 1):
        mine = [each[number] for each in found]
        money = reading([1000 * float(each.money.mean()) for each in mine])
        gaps = [1000 * float((each[number].money - each[0].money).mean()) for each in found]
        more = "" if number == 0 else _signed(gaps)
        baskets = 1000 * float(np.mean([each.baskets.mean() for each in mine]))
        nothing = float(np.mean([each.nothing.mean() for each in mine]))
        ahead = "" if number == 0 else f"{sum(gap > 0 for gap in gaps)} of {len(gaps)}"
        name = "priors" if number == 0 else f"round {number}"
        yield name, _of(money), more, f"{baskets:+.1f}", f"{nothing:.2f}", ahead


def _signed(values: list[float]) -> str:
    from experiments.allocation.contest import reading

    return _of(reading(values))


def _of(found: Any) -> str:
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]" if found.n > 1 else f"{found.mean:+.1f}"
