"""One picture of a contest: NDCG of every recipe with its interval, a panel for each part, groups beside everybody."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from training.evaluation.groups import EVERYBODY

if TYPE_CHECKING:
    from training.evaluation.contest import Evaluation

_BAR, _LINE = "#5b8bb0", "#333333"
_SHADES = {
    "baskets": ("#c8d9e6", "#8fb3cd", "#5b8bb0", "#2f5f86"),
    "lifecycle": ("#e6d3c8", "#c99f85", "#a06a4a", "#6e3f24"),
    "value": ("#d3e6cd", "#93bf86", "#5b8f4c"),
}
_GREY = ("#dddddd", "#aaaaaa", "#777777")
_TITLES = {"all": "all", "repeat": "bought again", "explore": "new to the member"}


def draw(evaluation: Evaluation, path: Path) -> Path:
    """Write the picture as PNG or SVG: above everybody, below the groups by activity or segment."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    table = evaluation.table[evaluation.table["skipped"] == ""]
    parts = list(dict.fromkeys(table["part"]))
    recipes = list(dict.fromkeys(table["recipe"]))
    groups = [label for label in dict.fromkeys(table["group"]) if label != EVERYBODY]
    heights = (1.0 + 0.32 * len(recipes), 1.6 + 0.1 * len(recipes) * max(1, len(groups)))
    size = (2.5 + 3.6 * len(parts), sum(heights) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(2, len(parts), sharey="row", squeeze=False, height_ratios=heights)
    for column, part in enumerate(parts):
        own = table[table["part"] == part]
        _bars(panels[0][column], own[own["group"] == EVERYBODY], recipes, part)
        _by_group(panels[1][column], own, recipes, groups)
    panels[1][0].legend(loc="best", fontsize=7)
    k = evaluation.terms.k
    letters = int(size[0] * 13)
    title = f"NDCG@{k}, protocol {evaluation.split.protocol}: {evaluation.sampled}, 95 % intervals"
    figure.suptitle(fill(title, letters), fontsize=10)
    figure.supxlabel(fill(evaluation.split.said, int(letters * 1.2)), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def _bars(panel: Any, rows: pd.DataFrame, recipes: list[str], part: str) -> None:
    shown = rows.set_index("recipe").reindex(recipes[::-1])
    error = np.stack([shown["ndcg"] - shown["ndcg_low"], shown["ndcg_high"] - shown["ndcg"]])
    panel.barh(shown.index, shown["ndcg"], xerr=error, color=_BAR, ecolor=_LINE, capsize=2)
    panel.set_title(f"{_TITLES[part]} ({int(rows['members'].max()):,} members)", fontsize=10)
    panel.set_xlim(left=0)


def _by_group(panel: Any, rows: pd.DataFrame, recipes: list[str], groups: list[str]) -> None:
    """Bars of the groups below each other, recipe by recipe."""
    place = np.arange(len(recipes))[::-1].astype(float)
    height = 0.8 / max(1, len(groups))
    for number, (label, colour) in enumerate(zip(groups, _colours(groups), strict=True)):
        shown = rows[rows["group"] == label].set_index("recipe").reindex(recipes)
        at = place + 0.4 - height * (number + 0.5)
        panel.barh(at, shown["ndcg"], height=height, color=colour, label=label)
    panel.set_yticks(place, recipes)
    panel.set_xlim(left=0)


def _colours(groups: list[str]) -> list[str]:
    """A shade for each group, of one colour for each kind of group."""
    seen: dict[str, int] = {}
    found = []
    for label in groups:
        kind = label.partition(":")[0]
        shades = _SHADES.get(kind, _GREY)
        found.append(shades[seen.setdefault(kind, 0) % len(shades)])
        seen[kind] += 1
    return found
