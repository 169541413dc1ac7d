"""The report on points: movements, what is outstanding, what of it will be redeemed, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from features import catalog, history, points
from features.entities import Programme
from features.ledger import accounting, burns, liability, lots, members, outlook
from features.ledger.liability import RedemptionModel
from features.ledger.outlook import Interval, Outlook
from features.table_files import replacing
from features.workspace import Workspace
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

DRAWS = 200
MOVEMENTS = ("opening", "issued", "redeemed", "expired", "reversed", "closing")


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the report says."""

    at: datetime
    model: RedemptionModel
    draws: tuple[RedemptionModel, ...]
    whole: Outlook
    by_tier: pd.DataFrame
    """A row for each tier and one for all: movements of the stretch in points, outlook in points and money."""
    allocated: float
    """Money of the stretch's sales that belongs to the points issued in it."""
    recognised: Interval
    """How much of it is revenue, for the points redeemed so far."""


def run(ws: Workspace, days: float, out: Path | None, seed: int) -> Found:
    """Print the report, write `statement.csv` and `liability.png`, and leave the model where the service finds it.

    Args:
        ws: the workspace.
        days: length of the stretch whose movements are shown, up to the end of the history.
        out: folder; None is `HOME/reports/points-DATE`.
        seed: of the intervals.

    Raises:
        RefusedError: the history has no points.
    """
    needs_tables(ws)
    steps, at = Steps(), history.ends_at(ws.tables)
    programme = catalog.load(ws.catalog).programme
    with steps.step("ledger, hazards by age of lot, intervals"):
        entries = history.read(ws.tables, "points")
        if entries.empty:
            raise RefusedError("the history has no points: none were brought and no basket earned any")
        purchases = history.read(ws.tables, "purchases", ["member_id", "amount", "occurred_at"])
        found = examine(burns.settled(entries, at), purchases, programme, at, at - timedelta(days=days), seed)
    folder = out or ws.reports / f"points-{at:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    for line in _lines(found, programme, days):
        print(line)
    found.by_tier.to_csv(folder / "statement.csv")
    picture(found, programme, folder / "liability.png")
    with replacing(ws.liability) as tmp:
        tmp.write_bytes(outlook.to_json(found.model, as_of=at.isoformat(), seed=seed))
    steps.note(f"{folder}; the model for decisions is {ws.liability}")
    return found


def examine(
    entries: pd.DataFrame, purchases: pd.DataFrame, programme: Programme, at: datetime, since: datetime, seed: int
) -> Found:
    """The report as values; every redemption of `entries` names its lot (`features.ledger.burns.settled`)."""
    counts = lots.counted(entries, at, programme.points.expiry_days, seed)
    model, draws = liability.fitted(counts), liability.resampled(counts, DRAWS, seed)
    held = lots.open_lots(entries, at)
    tier = members.tiers(purchases, programme, at)
    held["tier"] = held["member_id"].map(tier).fillna(programme.tiers[0].id)
    moved = points.statement(entries, since, at)
    owner = entries.drop_duplicates("lot_id").set_index("lot_id")["member_id"]
    moved["tier"] = owner.reindex(moved.index).map(tier).fillna(programme.tiers[0].id)
    unit = programme.points.cost_per_point
    whole = outlook.outlook(held, model, draws, unit)
    rows = {
        one.id: _row(moved[moved["tier"] == one.id], outlook.outlook(held[held["tier"] == one.id], model, draws, unit))
        for one in programme.tiers
    }
    table = pd.DataFrame.from_dict({**rows, "all": _row(moved, whole)}, orient="index").rename_axis("tier")
    recent = purchases[(purchases["occurred_at"] > since) & (purchases["occurred_at"] <= at)]
    sales = max(float(recent["amount"].sum()), 0.0)
    allocated, recognised = _books(entries, held, model, draws, sales, programme, since)
    return Found(at, model, tuple(draws), whole, table, allocated, recognised)


def _row(moved: pd.DataFrame, seen: Outlook) -> dict[str, float]:
    row = {name: float(moved[name].sum()) for name in MOVEMENTS}
    parts = {"will_be_redeemed": seen.redeemed, "breakage": seen.breakage, "liability": seen.cost}
    for name, part in parts.items():
        row |= {name: part.value, f"{name}_low": part.low, f"{name}_high": part.high}
    return row


def value_per_point(programme: Programme) -> float:
    """What a point is worth to a member: the mean of the channels, or what it costs us where none is written."""
    values = [one.value_per_point for one in programme.earning.channels]
    return float(np.mean(values)) if values else programme.points.cost_per_point


def _books(
    entries: pd.DataFrame,
    held: pd.DataFrame,
    model: RedemptionModel,
    draws: list[RedemptionModel],
    sales: float,
    programme: Programme,
    since: datetime,
) -> tuple[float, Interval]:
    """IFRS 15 for the lots issued in the stretch: what the sales gave to them, and how much of it is revenue."""
    born = entries[entries["points"] > 0].groupby("lot_id")["occurred_at"].min()
    fresh = born.index[born > since]
    mine = entries[entries["lot_id"].isin(fresh)]
    redeemed = max(-float(mine.loc[mine["type"] == "redeem", "points"].sum()), 0.0)
    still = held[held["lot_id"].isin(fresh)]
    ever = redeemed + float(outlook.expected(still, model).sum())
    allocated = accounting.allocated_to_points(sales, ever * value_per_point(programme))
    again = np.array([redeemed + outlook.expected(still, one).sum() for one in draws])
    revenue = [accounting.recognised(allocated, redeemed, one) for one in again]
    return allocated, Interval.of(accounting.recognised(allocated, redeemed, ever), np.array(revenue))


def _lines(found: Found, programme: Programme, days: float) -> list[str]:
    table, money = found.by_tier, programme.currency
    shown = table[list(MOVEMENTS)].map(lambda value: f"{value:,.0f}")
    for name, digits in (("will_be_redeemed", 0), ("breakage", 3), ("liability", 2)):
        shown[name] = [
            f"{row[name]:,.{digits}f} ({row[f'{name}_low']:,.{digits}f}–{row[f'{name}_high']:,.{digits}f})"
            for _, row in table.iterrows()
        ]
    fresh = liability.redemption_chance(found.model, 0.0, programme.points.expiry_days, np.nan)
    return [
        (
            f"points of the {days:g} days up to {found.at:%Y-%m-%d}; liability in {money} at "
            f"{programme.points.cost_per_point:g} a point; in brackets 95 %, members drawn anew"
        ),
        shown.to_string(),
        (
            f"oldest age seen {found.model.observed_days:.0f} days of {programme.points.expiry_days}; redeemed_share "
            f"is {programme.points.redeemed_share:g}, the chance of a new lot of a member without points {fresh:.3f}"
        ),
        (
            f"IFRS 15, lots issued in these days: {found.allocated:,.2f} {money} of their sales belong to points "
            f"(relative stand-alone prices, {value_per_point(programme):g} a point), of which revenue "
            f"{found.recognised.value:,.2f} ({found.recognised.low:,.2f}–{found.recognised.high:,.2f})"
        ),
    ]


def picture(found: Found, programme: Programme, path: Path) -> Path:
    """Draw the chance of redemption by age of lot and balance, and the liability by tier; PNG."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    life = float(programme.points.expiry_days)
    ages = np.linspace(0, life, 73)
    levels = [0.0, *found.model.edges.tolist()]
    for number, level in enumerate(levels):
        chance = liability.redemption_chance(found.model, ages, life - ages, level)
        colour = f"C{number}"
        left.plot(ages, chance, color=colour, label=f"holds {level:,.0f} or more")
        many = [liability.redemption_chance(one, ages, life - ages, level) for one in found.draws[:100]]
        left.fill_between(ages, *np.quantile(many, [0.025, 0.975], axis=0), color=colour, alpha=0.15)
    left.axvline(found.model.observed_days, color="#555555", linewidth=0.8, linestyle=":")
    left.set(xlabel="age of the lot, days (dotted: the oldest seen)", ylabel="chance of redemption before expiry")
    left.set_ylim(0, 1)
    left.legend(fontsize=7)
    rows = found.by_tier.drop(index="all")
    spread = np.abs(np.stack([rows["liability"] - rows["liability_low"], rows["liability_high"] - rows["liability"]]))
    right.bar(rows.index, rows["liability"], yerr=spread, color="#8fb08f", capsize=4)
    right.set(ylabel=f"liability, {programme.currency}", title=f"{found.at:%Y-%m-%d}")
    figure.savefig(path, dpi=110)
    return path
