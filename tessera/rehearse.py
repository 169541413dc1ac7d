"""Rules tried out before they are set: other rules of earning and expiry, on the history there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import rule_change, rule_worlds
from experiments.rule_change import Assumption, Past, Side
from experiments.worlds import WORLDS, World
from features import catalog, flows, history
from features.entities import Programme
from features.ledger import audiences, burns, proposal
from features.workspace import Workspace
from tessera.load import SIMULATED_DAYS, SIMULATED_END
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables


@dataclass(frozen=True, slots=True, eq=False)
class RulesRehearsed:
    """What the new rules change, by assumption about redemptions."""

    tables: dict[Assumption, pd.DataFrame]
    mix: pd.DataFrame
    """Members by tier now and then."""
    currency: str


def rules(
    ws: Workspace,
    path: Path,
    days: float,
    out: Path | None,
    seed: int,
    world: str | None = None,
    members: int = 2000,
) -> RulesRehearsed:
    """Print what the rules of a file change against those there are, and write tables and a picture.

    Args:
        ws: the workspace.
        path: keys of `tiers.yaml` (points, tiers) and `earning.yaml` (rules, channels); what it leaves out stays.
        days: the stretch whose flows are compared, up to the end of the history.
        out: folder; None is `HOME/reports/rehearse-rules`.
        seed: of the intervals.
        world: also compare where members respond to points, in this simulated world.
        members: how many live there.

    Raises:
        CatalogError: the file is wrong; a sentence for every mistake.
        RefusedError: there is no history, or no such world.
    """
    needs_tables(ws)
    if world is not None and world not in WORLDS:
        raise RefusedError(f"--world {world}: there is {', '.join(WORLDS)}")
    steps = Steps()
    programme = catalog.load(ws.catalog).programme
    wanted = proposal.propose(path, programme)
    with steps.step("both ledgers, hazards by age of lot, intervals"):
        found = _rehearsed(ws, programme, wanted, days, seed)
    responding = None
    if world is not None:
        with steps.step(f"{members:,} members of the world {world} under both rules"):
            responding = _responding(WORLDS[world], programme, wanted, members, days, seed)
    folder = out or ws.reports / "rehearse-rules"
    folder.mkdir(parents=True, exist_ok=True)
    for line in _lines(found, path, days):
        print(line)
    if responding is not None:
        print(f"simulated world {world}, {members:,} members who respond to points (expiry and tiers alone):")
        print(f"margin, that of sales included: {_change(rule_change.row(responding), 'margin')}")
        print(f"liability {_change(rule_change.row(responding), 'liability')}")
        responding.to_csv(folder / f"world-{world}.csv")
    for assumption, table in found.tables.items():
        table.to_csv(folder / f"{assumption.replace(' ', '-')}.csv")
    found.mix.to_csv(folder / "tier-mix.csv")
    picture(found, folder / "rules.png")
    steps.note(str(folder))
    return found


def _rehearsed(ws: Workspace, programme: Programme, wanted: Programme, days: float, seed: int) -> RulesRehearsed:
    at = history.ends_at(ws.tables)
    past = _past(ws, at, rule_change.stretch(at, days))
    now = rule_change.apply(past, programme, audiences.of(ws.tables, programme), seed)
    others = audiences.of(ws.tables, wanted)
    labels = _labels(ws, programme, at, now)
    tables: dict[Assumption, pd.DataFrame] = {}
    for assumption in rule_change.ASSUMPTIONS:
        lived = past if assumption == "same points" else rule_change.in_shares(past, now)
        new = rule_change.apply(lived, wanted, others, seed)
        tables[assumption] = rule_change.compare(now, new, labels, seed)
    return RulesRehearsed(tables, rule_change.tier_mix(now, new), programme.currency)


def _responding(
    world: World, programme: Programme, wanted: Programme, members: int, days: float, seed: int
) -> pd.DataFrame:
    since = rule_change.stretch(SIMULATED_END, days)
    return rule_worlds.responding(world, programme, wanted, members, SIMULATED_DAYS, SIMULATED_END, since, seed)


def _past(ws: Workspace, at: datetime, since: datetime) -> Past:
    entries = burns.settled(history.read(ws.tables, "points"), at)
    names = ("purchases", "engagements", "products")
    tables = {name: history.read(ws.tables, name) for name in names}
    if tables["purchases"].empty:
        raise RefusedError("the history has no purchase to apply rules to")
    return Past(**tables, redemptions=rule_change.redemptions_of(entries), at=at, since=since)


def _labels(ws: Workspace, programme: Programme, at: datetime, now: Side) -> pd.DataFrame:
    found = flows.labelled(ws.tables, programme, at)[list(flows.LABELS)]
    tier = now.tier.reindex(found.index).fillna(programme.tiers[0].id)
    return pd.DataFrame({"tier": tier, **{name: found[name] for name in flows.LABELS}})


def _lines(found: RulesRehearsed, path: Path, days: float) -> list[str]:
    first = next(iter(found.tables.values()))
    rows = [rule_change.row(first, by, group) for by, group in first.index]
    shown = pd.DataFrame(
        {
            "members": first["members"].to_list(),
            **{
                name: [f"{row[f'{name}_now']:,.0f} → {row[f'{name}_new']:,.0f}" for row in rows]
                for name in rule_change.FLOWS
            },
            "liability": [_change(row, "liability") for row in rows],
            "breakage": [_shares(row) for row in rows],
            "margin": [_change(row, "margin") for row in rows],
        }
    )
    shown.index = first.index
    lines = [
        (
            f"{path.name} against the rules there are: {days:g} days of the history, purchases as they were; points, "
            f"and change of liability and margin in {found.currency} (95 %, members drawn anew, paired)"
        ),
        shown.to_string(),
    ]
    lines += [
        f"margin if members redeem the {assumption} at the same moments: {_change(rule_change.row(table), 'margin')}"
        f", liability {_change(rule_change.row(table), 'liability')}"
        for assumption, table in found.tables.items()
    ]
    lines.append("assumed: nobody buys more or less because of the rules; margin changes by the cost of points alone")
    moved = int(
        found.mix.to_numpy().sum() - sum(found.mix.loc[one, one] for one in found.mix.index if one in found.mix)
    )
    lines.append(f"tiers: {moved:,} members change" + (f"\n{found.mix.to_string()}" if moved else ""))
    return lines


def _shares(row: Mapping[str, float]) -> str:
    if np.isnan(row["breakage"]):
        return "no open points"
    span = f"{row['breakage_low']:+.3f} to {row['breakage_high']:+.3f}"
    return f"{row['breakage_now']:.3f} → {row['breakage_new']:.3f} ({span})"


def _change(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:+,.2f} ({row[f'{name}_low']:+,.2f} to {row[f'{name}_high']:+,.2f})"


def picture(found: RulesRehearsed, path: Path) -> Path:
    """Draw the change of margin and of liability by segment, under both assumptions; PNG."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    first = next(iter(found.tables.values()))
    names = [group if by == "all" else f"{by}: {group}" for by, group in first.index]
    places = np.arange(len(names))[::-1]
    figure = Figure(figsize=(10, 1.6 + 0.36 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, what in zip(panels, ("margin", "liability"), strict=True):
        for number, (assumption, table) in enumerate(found.tables.items()):
            middle = table[what].to_numpy()
            spread = np.abs(np.stack([middle - table[f"{what}_low"], table[f"{what}_high"] - middle]))
            at = places + 0.16 * (0.5 - number) * 2
            panel.errorbar(middle, at, xerr=spread, fmt="o", markersize=4, capsize=2, label=assumption)
        panel.axvline(0, color="#555555", linewidth=0.8, linestyle=":")
        panel.set_xlabel(f"change of {what}, {found.currency}")
    panels[0].set_yticks(places, names)
    panels[0].legend(fontsize=8, title="redeemed")
    figure.savefig(path, dpi=110)
    return path
