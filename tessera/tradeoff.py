"""What diversity and a cap on popularity cost on this history, as a table and a picture."""

from __future__ import annotations

from pathlib import Path

from features import history
from features.workspace import Workspace
from tessera.progress import Steps
from tessera.setup import needs_tables


def run(ws: Workspace, recipe: str, days: float, k: int, members: int, out: Path | None) -> Path:
    """Fit a recipe before the last `days`, mix its lists at every strength, judge them by what followed.

    Returns:
        The folder of `tradeoff.csv` and `tradeoff.png`.
    """
    from experiments import tradeoff
    from training import recipes
    from training.ledger import Ledger
    from training.split import cut_before, truth

    needs_tables(ws)
    steps, folder = Steps(), out or ws.reports / "tradeoff"
    ends = history.ends_at(ws.tables)
    cut = cut_before(ends, days)
    with steps.step(f"{recipe} from what was known at {cut:%Y-%m-%d}"):
        ledger = Ledger.read(ws)
        before = ledger.at(cut)
        fitted = recipes.fit(recipe, before)
        bought = truth(before, ledger.after(cut, days)).bought
    with steps.step("lists at every strength"):
        table = tradeoff.curve(before, fitted, bought, k, most_members=members)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "tradeoff.csv", index=False)
    title = f"{recipe}, {k} products, the {days:g} days after {cut:%Y-%m-%d}, {int(table['members'].max()):,} members"
    tradeoff.picture(table, folder / "tradeoff.png", title)
    print(table.round(4).to_string(index=False))
    steps.note(f"{folder}")
    return folder
