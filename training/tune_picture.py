"""Pictures of a search: what each trial found and which settings decided it, or what several objectives cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.tune import OBJECTIVES, Plan, Tried, frontier

_DOT, _BEST, _EARLY = "#8fb3cd", "#2f5f86", "#bbbbbb"


def draw(plan: Plan, found: Sequence[Tried], importances: Mapping[str, float], path: Path) -> Path:
    """PNG or SVG: on the left the history, or with several objectives the trade-off; on the right the importances."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    if len(plan.objectives) > 1:
        _trade_off(left, plan, found)
    else:
        _history(left, plan, found)
    _importance(right, plan, importances)
    figure.suptitle(f"{plan.recipe}: {len(found)} trials, seed {plan.seed}", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def _history(panel: Any, plan: Plan, found: Sequence[Tried]) -> None:
    done = [one for one in found if one.state == "complete"]
    early = [one for one in found if one.state == "pruned" and one.values]
    values = np.array([one.values[0] for one in done])
    best = np.maximum.accumulate if OBJECTIVES[plan.objectives[0]] == "maximize" else np.minimum.accumulate
    panel.scatter([one.number for one in early], [one.values[0] for one in early], s=14, color=_EARLY, label="stopped")
    panel.scatter([one.number for one in done], values, s=18, color=_DOT, label="a trial")
    if len(values):
        panel.step([one.number for one in done], best(values), where="post", color=_BEST, label="best so far")
        panel.axhline(values[0], color="#999999", linewidth=0.8, linestyle=":", label="before the search")
    panel.set(xlabel="trial", ylabel=_said(plan, 0))
    panel.legend(loc="best", fontsize=8)


def _trade_off(panel: Any, plan: Plan, found: Sequence[Tried]) -> None:
    done = [one for one in found if one.state == "complete"]
    front = frontier(found, plan)
    panel.scatter([one.values[1] for one in done], [one.values[0] for one in done], s=18, color=_DOT, label="a trial")
    panel.scatter(
        [one.values[1] for one in front], [one.values[0] for one in front], s=26, color=_BEST, label="not beaten"
    )
    panel.set(xlabel=_said(plan, 1), ylabel=_said(plan, 0))
    panel.legend(loc="best", fontsize=8)


def _importance(panel: Any, plan: Plan, importances: Mapping[str, float]) -> None:
    if not importances:
        panel.text(0.5, 0.5, "too few trials to say\nwhich setting decides", ha="center", va="center", color="#777777")
        panel.set_axis_off()
        return
    shown = sorted(importances.items(), key=lambda pair: pair[1])
    panel.barh([name for name, _ in shown], [value for _, value in shown], color=_DOT)
    panel.set(title=f"share of {plan.objectives[0]} that a setting decides (PED-ANOVA)", xlim=(0, None))
    panel.title.set_fontsize(9)


def _said(plan: Plan, at: int) -> str:
    name = plan.objectives[at]
    return f"{name}@{plan.k}, mean of the folds" if name != "seconds" else "seconds of a fit, mean of the folds"
