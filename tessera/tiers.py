"""`tessera tiers` and `tessera backtest tiers`: what becomes of members' tiers, and what would change it."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from features import catalog, history
from features.workspace import Workspace
from tessera import clock
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables


def fit(ws: Workspace) -> None:
    """Fit the forecast on the history and write it where the service finds it.

    Raises:
        RefusedError: The history is too short.
    """
    from features.learned.tier_outcome import to_json
    from features.table_files import replacing
    from training import tier_outcome
    from training.frames import HistoryTooShortError

    needs_tables(ws)
    steps, at = Steps(), min(history.ends_at(ws.tables), clock.now(ws))
    with steps.step("how many baskets come, and what they are worth"):
        try:
            model = tier_outcome.fit(ws.tables, catalog.load(ws.catalog).programme, at)
        except HistoryTooShortError as reason:
            raise RefusedError(str(reason)) from reason
    with replacing(ws.tier_outcome) as tmp:
        tmp.write_bytes(to_json(model))
    print(f"forecast of tiers: {ws.tier_outcome}; a running service takes it up by itself")


def member(ws: Workspace, member_id: str, *, as_json: bool) -> None:
    """Print the member's outlook and the cheapest sets that change it.

    Raises:
        RefusedError: Nobody knows the member, or the forecast was not fitted.
    """
    from serving.house import open_house
    from serving.problems import RefusedError as Refusal
    from serving.views import Views

    with closing(open_house(ws, secrets.token_bytes, open_door=True, patient=True)) as opened:
        try:
            found = Views(opened).tier_path(member_id)
        except Refusal as refusal:
            raise RefusedError(refusal.problem.detail) from refusal
    if as_json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    print(f"{member_id}: {found['tier']}; what is bought until {found['counts_until']} counts ({found['days']:g} days)")
    for goal in found["goals"]:
        _tell(goal, found["currency"])


def _tell(goal: dict[str, Any], currency: str) -> None:
    need = "nothing can reach it any more" if goal["need"] is None else f"{goal['need']:.2f} {currency} are needed"
    if goal["measure"] == "baskets" and goal["need"] is not None:
        need = f"{goal['need']:g} baskets are needed"
    print(f"\n{goal['goal']} {goal['tier']}: {need}; chance {goal['chance']:.1%}, at best {goal['best_chance']:.1%}")
    for step in goal["paths"]:
        if step["reached"]:
            names = ", ".join(f"{one['times']} × {one['id']}" for one in step["set"])
            print(f"  {step['target']:.0%}: {names}: {step['chance']:.1%} for {step['cost']:.2f} {currency}")
        else:
            print(f"  {step['target']:.0%}: nothing does it")
    print(f"  {goal['text']}")


def backtest(ws: Workspace, cut_offs: int, out: Path | None) -> None:
    """Print and write forecasts of upgrades and downgrades at past moments, beside the run rate, and what came.

    Args:
        ws: the workspace.
        cut_offs: how many at most.
        out: folder; None is `HOME/reports/backtest-tiers`.
    """
    from training import tier_backtest
    from training.frames import HistoryTooShortError
    from training.pictures import calibration_picture

    needs_tables(ws)
    steps, programme = Steps(), catalog.load(ws.catalog).programme
    at = min(history.ends_at(ws.tables), clock.now(ws))
    with steps.step(f"tiers, {cut_offs} cut-offs at most"):
        try:
            found = tier_backtest.run(ws.tables, programme, at, cut_offs, 0, steps.note)
        except HistoryTooShortError as reason:
            raise RefusedError(str(reason)) from reason
    table = tier_backtest.figures(found)
    if table.empty:
        raise RefusedError("fewer than five members rose or fell: there is nothing to judge")
    folder = out or ws.reports / "backtest-tiers"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "tiers.csv", index=False)
    print(table.to_string(index=False, float_format=lambda each: f"{each:.3f}"), end="\n\n")
    up = found.event == "upgrade"
    picture = calibration_picture(found.came[up], found.chance[tier_backtest.OURS][up], folder / "calibration.png")
    print(f"table and picture: {folder}, {picture.name}")
