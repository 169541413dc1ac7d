"""What each marketer's lever costs, from the journal, in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pandas as pd

from experiments.journal_replay import past
from experiments.levers import Followed, LeverCost, Logged, costs
from experiments.replay import Record, Unread, Versions
from features import catalog, history
from features.workspace import Workspace
from tessera import clock
from tessera.setup import RefusedError, needs_tables
from training import drawn, settings


def run(ws: Workspace, most: int) -> int:
    """Print what every lever costs; 0 also where there is none.

    Raises:
        RefusedError: no decision of an offer or action is in the journal.
    """
    needs_tables(ws)
    book = catalog.load(ws.catalog)
    with past(ws) as (found, versions):
        logged = list(islice(_logged(found, versions), most))
    if not logged:
        raise RefusedError("levers: the journal holds no decision about offers or actions yet; serve some first")
    followed = _followed(ws)
    told = costs(logged, followed)
    if not told:
        print(f"No candidate has a lever in the rules that made {len(logged):,} decisions: nothing is bent.")
        return 0
    folder = ws.reports / "levers"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(told).to_csv(folder / "levers.csv", index=False)
    for one in told:
        print(sentence(one, book.programme.currency))
    print(f"What comes after the window counts as the bills say. All figures: {folder / 'levers.csv'}")
    return 0


def sentence(one: LeverCost, currency: str) -> str:
    """One lever in words."""
    name = f"{one.candidate_id} (lever {one.lever:g})" if one.candidate_id else "All levers together"
    head = f"{name}: without, {one.moved:.1%} of {one.decisions:,} decisions go to something else"
    bills = f"{_money(one.expected, currency)} per 1,000 decisions by the bills"
    if one.cost is None:
        return f"{head}. It costs {bills}; what followed cannot say: {one.refused}."
    seen = f"{_money(one.cost, currency)} [{one.low:+,.2f}, {one.high:+,.2f}]"
    said = (
        "It costs" if one.low > 0 else "It earns money" if one.high < 0 else "It is not shown to cost or earn anything"
    )
    return f"{head}. {said}: {seen} per 1,000 decisions by what followed, {bills}."


def _money(value: float, currency: str) -> str:
    return f"{value:+,.2f} {currency}"


def _logged(found: Iterator[Record | Unread], versions: Versions) -> Iterator[Logged]:
    for one in found:
        if isinstance(one, Unread) or one.decision.mode == "fallback" or not one.decision.chances:
            continue
        if one.ask.family not in ("offer", "action"):
            continue
        rules = one.versions
        yield Logged(
            one.decision_id, one.snapshot, one.ask, one.learned, versions.catalog(rules["catalog"]),
            versions.policy(rules["policy"]), versions.experiments(rules["experiments"]),
            one.decision.chances[0].probabilities, one.decision.results[0].id,
        )  # fmt: skip


def _followed(ws: Workspace) -> dict[str, Followed]:
    days = settings.read(ws.training).response.window_days
    at = min(clock.now(ws), history.ends_at(ws.tables))
    found = drawn.decisions(ws.tables, at, days)
    return {
        one: Followed(float(baskets), bool(responded))
        for one, baskets, responded in zip(found["decision_id"], found["baskets"], found["responded"], strict=True)
        if one
    }
