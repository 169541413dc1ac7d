"""What a month is rehearsed on: a history with what was learned from it, the budgets of the month, and the truth."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from experiments.programme.chance import Flags, Floats
from experiments.rehearsal import assumed
from experiments.rehearsal.money import Tariff
from experiments.simulate import Truth, truth
from experiments.worlds import WORLDS, World
from features import catalog, history
from features.entities import Programme
from features.workspace import Workspace
from features.written import merged
from serving import policy
from tessera import build, load
from tessera.rehearsal.policies import POLICIES
from tessera.setup import needs_tables
from training import registry

LEARNED = ("response", "effects")
ACTIVE_DAYS = 90
"""Who bought within so many days before the month opens the app and gets mails."""
MADE_FOR = 2_000
"""Members that the budgets of the shipped catalogue are made for."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A workspace that is only copied, and who lives in it."""

    ws: Workspace
    truth: Truth
    world: World
    starts: datetime
    active: Flags
    tariff: Tariff
    assumed: Mapping[str, object] = field(default_factory=dict)
    """What is assumed of the answers; empty where the truth is known."""


def simulated(folder: Path, configs: Path, world: str, *, members: int, products: int, days: int, seed: int) -> Ground:
    """A simulated history whose last 16 weeks were drawn by lot, and effects learned from it.

    The offers are those of the catalogue that the history drew by lot; the budgets those of the catalogue, for as many
    members as can be reached.
    """
    of, ws = WORLDS[world], _workspace(folder, configs)
    _keep_offers(ws, {arm.offer_id for arm in of.arms})
    ws = load.run(
        ws, load.History("simulated", members=members, products=products, world=world, seed=seed), append=False
    )
    who = truth(of, members=members, products=products, seed=seed)
    return _ready(ws, who, of, days)


def real(
    folder: Path, configs: Path, given: load.History | Workspace, world: str, *, days: int, seed: int, most: int
) -> Ground:
    """A real history, loaded or copied from a home, with the answers of a world assumed.

    At most so many members, drawn by lot, are rehearsed with; models learn from all.
    """
    of, ws = WORLDS[world], _workspace(folder, configs)
    if isinstance(given, Workspace):
        needs_tables(given)
        for place, to in ((given.tables, ws.tables), (given.received, ws.received)):
            if place.exists():
                shutil.copytree(place, to)
    else:
        ws = load.run(ws, given, append=False)
    tables = {name: history.read(ws.tables, name) for name in ("purchases", "products")}
    programme = catalog.load(ws.catalog).programme
    who = assumed.truth(of, tables, programme.default_margin_rate, history.ends_at(ws.tables), seed)
    return _ready(ws, who, of, days, assumed.said(of), most, seed, isinstance(given, Workspace))


def copy(of: Ground, to: Path, name: str) -> Workspace:
    """A workspace of its own for one policy; what it changes is put into its policy.yaml."""
    shutil.copytree(of.ws.root, to)
    _move_artefacts(of.ws, Workspace(to))
    ws = Workspace(to)
    changed = policy.parse(merged(yaml.safe_load(ws.policy.read_text()), POLICIES[name]))
    ws.policy.write_text(changed.text)
    return ws


def _move_artefacts(before: Workspace, ws: Workspace) -> None:
    """MLflow writes down where artefacts lie; the copy keeps its own."""
    path = ws.mlflow / "mlflow.db"
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            change = (before.root.as_uri(), ws.root.as_uri())
            database.execute(f"update {table} set {column} = replace({column}, ?, ?)", change)
        database.commit()


def _workspace(folder: Path, configs: Path) -> Workspace:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(configs, folder / "configs", ignore=shutil.ignore_patterns("experiments"))
    return Workspace(folder.resolve())


def _keep_offers(ws: Workspace, wanted: set[str]) -> None:
    path = ws.catalog / "offers.yaml"
    offers = [one for one in yaml.safe_load(path.read_text())["offers"] if one["id"] in wanted]
    path.write_text(yaml.safe_dump({"offers": offers}, sort_keys=False))


def _ready(
    ws: Workspace, who: Truth, world: World, days: int, said: Mapping[str, object] | None = None,
    most: int | None = None, seed: int = 0, own: bool = False,
) -> Ground:  # fmt: skip
    ends = history.ends_at(ws.tables)
    starts = ends.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    programme, purchases = catalog.load(ws.catalog).programme, history.read(ws.tables, "purchases")
    recent = set(purchases.loc[purchases["occurred_at"] > ends - timedelta(days=ACTIVE_DAYS), "member_id"])
    reached = np.isin(who.member_ids.astype(str), list(recent))
    active = _at_most(reached, most, seed)
    _budgets(ws, starts, days, float(active.sum() / (reached.sum() if own else MADE_FOR)))
    build.features(ws)
    if not build.train(ws, LEARNED, quick=True):
        build.promote(ws, waiting(ws), None, rollback=False)
    ws.clock.unlink(missing_ok=True)
    return Ground(ws, who, world, starts, active, _tariff(ws, programme, who, purchases, ends), said or {})


def _at_most(active: Flags, most: int | None, seed: int) -> Flags:
    rows = np.flatnonzero(active)
    if most is None or len(rows) <= most:
        return active
    found = np.zeros_like(active)
    found[np.random.default_rng((seed, 23)).permutation(rows)[:most]] = True
    return found


def waiting(ws: Workspace) -> list[str]:
    """What was trained and waits to serve."""
    return [name for name in LEARNED if registry.find(ws, name, "challenger") is not None]


def _budgets(ws: Workspace, starts: datetime, days: int, scale: float) -> None:
    """The catalogue's budgets from the first day of the month to its last, for the members there are."""
    path = ws.catalog / "budgets.yaml"
    if not path.exists():
        return
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text())["budgets"]
    for one in rows:
        one["amount"] = max(round(one["amount"] * scale), 1)
        one["starts"] = starts.date()
        one["ends"] = (starts + timedelta(days=days)).date()
    path.write_text(yaml.safe_dump({"budgets": rows}, sort_keys=False))


def _tariff(ws: Workspace, programme: Programme, who: Truth, purchases: pd.DataFrame, ends: datetime) -> Tariff:
    rules, points = policy.load(ws.policy), programme.points
    return Tariff(
        candidates={one.id: one for one in catalog.load(ws.catalog).offers},
        contact_cost={name: one.contact_cost for name, one in rules.channels.items()},
        cost_per_point=points.cost_per_point * points.redeemed_share,
        points_per_money=_earned(programme, who, purchases, ends),
    )


def _earned(programme: Programme, who: Truth, purchases: pd.DataFrame, ends: datetime) -> Floats:
    """Points per money of each member's tier by the spend of the last year."""
    year = purchases[purchases["occurred_at"] > ends - timedelta(days=365)]
    spend = year.groupby("member_id")["amount"].sum().reindex(who.member_ids).fillna(0.0).to_numpy(dtype=np.float64)
    floors = np.array([one.min_spend for one in programme.tiers])
    rates = np.array([one.earn_rate for one in programme.tiers])
    found: Floats = rates[np.maximum(np.searchsorted(floors, spend, side="right") - 1, 0)]
    return found
