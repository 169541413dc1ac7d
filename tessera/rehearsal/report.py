"""A rehearsal in words, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.rehearsal import comparing
from experiments.rehearsal.comparing import Estimated
from tessera.rehearsal.policies import BASELINES, OURS, POLICIES, TITLES

COLUMNS = {
    "earned": "earned", "money": "spent", "points": "points", "liability": "liability", "messages": "messages",
    "given": "given", "answered": "redeemed", "baskets": "baskets more", "fading": "fading",
}  # fmt: skip
"""Figure → what it is called in the table."""


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """One budget in one of its periods: what there was, and what each policy took of it."""

    budget: str
    unit: str
    period: int
    amount: float
    spent: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One world, or one real history with assumed answers."""

    name: str
    currency: str
    members: int
    days: int
    decisions: Mapping[str, int]
    accounts: Mapping[str, pd.DataFrame]
    budgets: Sequence[BudgetUse]
    assumed: Mapping[str, object] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The baseline that earned most."""
        return comparing.best(self.accounts, BASELINES)

    def gain(self, seed: int, what: str = "earned") -> Estimated:
        """Ours over the best baseline."""
        return comparing.gain(self.accounts, OURS, self.best, seed, what)


def lines(of: Outcome, seed: int) -> list[str]:
    """The table and what follows from it, in words."""
    found, gain, told = comparing.summary(of.accounts, seed), of.gain(seed), of.gain(seed, "earned_told")
    table = pd.DataFrame({title: [_cell(found[one], what) for one in POLICIES] for what, title in COLUMNS.items()})
    table.index = pd.Index([TITLES[one] for one in POLICIES])
    head = f"{of.name}: {of.members:,} members, {of.days} days of decisions and 14 until all is settled"
    said = [
        head + (" — ANSWERS ARE ASSUMED" if of.assumed else ""),
        table.to_string(),
        f"  money in {of.currency}, against giving nobody anything; fading: chance of having begun to buy less",
        f"  {_verdict(gain, TITLES[of.best], of.currency)}",
        f"  the same from the very baskets that came: {_span(told)}",
    ]
    others = {name: comparing.gain(of.accounts, OURS, name, seed) for name in BASELINES if name != of.best}
    said += [f"  ours over {TITLES[name]}: {_span(one)}" for name, one in others.items()]
    over = [f"{one.budget} ({TITLES[who]})" for one in of.budgets for who, x in one.spent.items() if x > one.amount]
    said.append("  budgets: " + (f"OVERSPENT {', '.join(over)}" if over else "none was overspent"))
    return said + [f"    {_used(one)}" for one in of.budgets]


def _verdict(gain: Estimated, other: str, currency: str) -> str:
    said = f"ours over the best baseline, {other}: {_span(gain)} {currency}"
    if gain.low > 0:
        return f"{said}: ahead"
    return f"{said}: {'BEHIND' if gain.high < 0 else 'not ahead: the interval holds 0'}"


def _span(one: Estimated) -> str:
    return f"{one.value:+,.0f} ({one.low:+,.0f} to {one.high:+,.0f})"


def _cell(found: Mapping[str, Estimated], what: str) -> str:
    one = found[what]
    if what == "fading":
        return f"{one.value:.3f}"
    return (
        f"{one.value:,.0f} ({one.low:,.0f}…{one.high:,.0f})" if what in ("earned", "liability") else f"{one.value:,.0f}"
    )


def _used(one: BudgetUse) -> str:
    parts = (f"{name} {one.spent.get(name, 0.0):,.0f}" for name in POLICIES)
    since = f"from {pd.Timestamp(one.period, unit='s'):%d %b}, " if one.period else ""
    return f"{one.budget}: {since}{one.amount:,.0f} {one.unit}: {', '.join(parts)}"


def as_json(every: Sequence[Outcome], seed: int, settings: Mapping[str, Any]) -> str:
    """Everything with its intervals; `assumed` says what of it nobody observed."""
    said = [
        {
            "name": one.name,
            "assumed": dict(one.assumed) or False,
            "currency": one.currency,
            "members": one.members,
            "days": one.days,
            "policies": {
                name: {
                    "title": TITLES[name],
                    "decisions": one.decisions[name],
                    **{what: asdict(x) for what, x in figures.items()},
                }
                for name, figures in comparing.summary(one.accounts, seed).items()
            },
            "best_baseline": one.best,
            "gain_over_best_baseline": asdict(one.gain(seed)),
            "gain_from_the_baskets_that_came": asdict(one.gain(seed, "earned_told")),
            "gain_over": {name: asdict(comparing.gain(one.accounts, OURS, name, seed)) for name in BASELINES},
            "budgets": [asdict(x) for x in one.budgets],
        }
        for one in every
    ]
    return json.dumps({"seed": seed, **settings, "rehearsals": said}, indent=1, default=str)


def picture(every: Sequence[Outcome], seed: int, path: Path) -> Path:
    """Money earned by policy, and the gain of ours over the best baseline, with intervals; PNG."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    figure = Figure(figsize=(4.2 * len(every) + 1.2, 5.2), layout="constrained")
    panels = figure.subplots(2, len(every), squeeze=False, height_ratios=(3, 2))
    for place, one in enumerate(every):
        found, names = comparing.summary(one.accounts, seed), list(POLICIES)
        above, below = panels[0][place], panels[1][place]
        _points(above, [found[name]["earned"] for name in names], [TITLES[name] for name in names], place == 0)
        above.set_title(f"{one.name}\n{'ANSWERS ASSUMED, not observed' if one.assumed else f'{one.members:,} members'}")
        above.set_xlabel(f"money earned, {one.currency}")
        gains = [comparing.gain(one.accounts, OURS, name, seed) for name in BASELINES]
        _points(below, gains, [f"over {TITLES[name]}" for name in BASELINES], place == 0)
        below.set_xlabel(f"gain of ours, {one.currency}")
    figure.savefig(path, dpi=110)
    return path


def _points(panel: Any, found: Sequence[Estimated], names: Sequence[str], named: bool) -> None:
    places = list(range(len(found)))[::-1]
    middle = [one.value for one in found]
    spread = [[max(one.value - one.low, 0.0) for one in found], [max(one.high - one.value, 0.0) for one in found]]
    panel.errorbar(middle, places, xerr=spread, fmt="o", markersize=5, capsize=3)
    panel.axvline(0, color="#555555", linewidth=0.8, linestyle=":")
    panel.set_yticks(places, names if named else [""] * len(names))
    panel.set_ylim(-0.6, len(found) - 0.4)
