"""What diversity and a cap on popularity cost and bring: accuracy against spread, over their strength.

The lists are mixed by the code that serves them, and judged by what was bought after the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned import positions
from features.learned.bulk import best_many
from serving import mixing
from serving.champions import Taste
from serving.snapshot import Trait
from training.interactions import Interactions, histories
from training.metrics import coverage, mean_interval, ndcg
from training.recipes import Fitted

STRENGTHS: Mapping[str, Sequence[float]] = {
    "diversity": (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0),
    "boost_popular": (1.0, 0.9, 0.75, 0.5, 0.35, 0.2, 0.1),
    "popularity_cap": (1.0, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9),
}
"""Wish of a request → its strengths, from none. `boost_popular` is a boost of `popularity > 0.99` by a factor."""
FIGURES = ("ndcg", "coverage", "intra_list", "novelty")
_POPULAR = 0.99
_CATEGORY = "category:"


def curve(
    before: Interactions,
    fitted: Fitted,
    bought: sp.csr_matrix,
    k: int = 10,
    *,
    most_members: int = 2_000,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Judge the lists of one recipe under every strength of every wish.

    Args:
        before: What it was fitted on; the tags `category:…` say what is alike.
        fitted: Its form and vectors.
        bought: `Truth.bought`; only members with something in it are judged.
        k: Length of the lists.
        most_members: Of more members every n-th is judged.
        strengths: See `STRENGTHS`.
        seed: Of the bootstrap.
        progress: Told each wish and strength.

    Returns:
        One row for each `wish` and `strength`: `ndcg` with `ndcg_low` and `ndcg_high` (95 % bootstrap over members);
        `coverage`, the share of all products in any list; `intra_list`, the share of pairs within a list that are of
        different categories (NaN where products have none); `novelty`, the mean of −log₂ of the share of members that
        had bought the product (bits; higher is less known); `members`, how many were judged.
    """
    rows = np.flatnonzero(bought.getnnz(axis=1))
    rows = rows[:: -(-len(rows) // most_members) or 1]
    relevant, category = sp.csr_matrix(bought[rows]), categories(before)
    form = fitted.form
    taste = Taste("", form, positions(form.product_ids), form.product_ids.astype(object))
    asked = histories(before, rows, fitted.member_vectors)
    owners = np.asarray(before.counts.getnnz(axis=0)) + 1.0
    bits = -np.log2(owners / (before.counts.shape[0] + 2.0))
    popular, pool = taste.popularity > _POPULAR, best_many(form, asked, before.seconds, mixing.pool(k)).places
    found = []
    for wish, values in strengths.items():
        for strength in values:
            progress(f"{wish} {strength:g}")
            if wish == "popularity_cap":
                lists = best_many(form, asked, before.seconds, k, allowed=taste.popularity <= strength).places
            else:
                factor = np.where(popular, strength, 1.0) if wish == "boost_popular" else np.ones(len(popular))
                lists = _mixed(pool, category, factor, strength if wish == "diversity" else 0.0, k)
            row = {"wish": wish, "strength": strength, **_figures(lists, relevant, category, bits, seed)}
            found.append({**row, "members": len(rows)})
    return pd.DataFrame(found)


def categories(before: Interactions) -> NDArray[np.int64]:
    """(n_products,): a number for each category; −1 where a product has none."""
    tags = [at for at, name in enumerate(before.product_tag_names) if name.startswith(_CATEGORY)]
    found = np.full(len(before.product_ids), -1)
    known = before.product_tags[:, tags].tocoo()
    found[known.row] = known.col
    return found


def _mixed(
    lists: NDArray[np.int32], category: NDArray[np.int64], factor: NDArray[np.float64], diversity: float, k: int
) -> NDArray[np.int32]:
    """(n, k): each list mixed as a request would have it."""
    out, wishes = np.full((len(lists), k), -1, np.int32), mixing.Wishes(diversity)
    for row, places in enumerate(lists.tolist()):
        names = [str(place) for place in places if place >= 0]
        traits = {
            name: Trait(rank, None if category[int(name)] < 0 else str(category[int(name)]), float(factor[int(name)]))
            for rank, name in enumerate(names, start=1)
        }
        chosen = [int(name) for name in mixing.mixed(names, traits, wishes, k)]
        out[row, : len(chosen)] = chosen
    return out


def _figures(
    lists: NDArray[np.int32],
    relevant: sp.csr_matrix,
    category: NDArray[np.int64],
    bits: NDArray[np.float64],
    seed: int,
) -> dict[str, Any]:
    accuracy = mean_interval(ndcg(lists, relevant), np.random.default_rng(seed))
    listed = lists >= 0
    return {
        "ndcg": accuracy.value,
        "ndcg_low": accuracy.low,
        "ndcg_high": accuracy.high,
        "coverage": coverage(lists, len(category)),
        "intra_list": intra_list(lists, category),
        "novelty": float(bits[lists[listed]].mean()) if listed.any() else float("nan"),
    }


def intra_list(lists: NDArray[np.int32], category: NDArray[np.int64]) -> float:
    """Share of pairs within a list whose categories differ, over all pairs with a category on both sides."""
    kinds = np.where(lists >= 0, category[lists], -1)
    first, second = np.triu_indices(lists.shape[1], 1)
    both = (kinds[:, first] >= 0) & (kinds[:, second] >= 0)
    differ = (kinds[:, first] != kinds[:, second]) & both
    return float(differ.sum() / both.sum()) if both.any() else float("nan")


def picture(table: pd.DataFrame, path: Path, title: str) -> Path:
    """Draw what `curve` returned: a row for each wish, NDCG against each kind of spread, strengths at the points."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    wishes, spreads = list(dict.fromkeys(table["wish"])), FIGURES[1:]
    figure = Figure(figsize=(4.2 * len(spreads), 3.4 * len(wishes)), layout="constrained")
    panels = figure.subplots(len(wishes), len(spreads), sharey=True, squeeze=False)
    for wish, line in zip(wishes, panels, strict=True):
        part = table[table["wish"] == wish]
        for spread, panel in zip(spreads, line, strict=True):
            errors = np.stack([part["ndcg"] - part["ndcg_low"], part["ndcg_high"] - part["ndcg"]])
            panel.errorbar(part[spread], part["ndcg"], errors, marker="o", color="#5b8bb0", capsize=2, elinewidth=0.7)
            panel.locator_params(axis="x", nbins=5)
            for at, height, strength in zip(part[spread], part["ndcg"], part["strength"], strict=True):
                panel.annotate(f"{strength:g}", (at, height), textcoords="offset points", xytext=(4, 4), fontsize=8)
            panel.set_xlabel(spread.replace("_", "-"))
        line[0].set_ylabel(f"NDCG under {wish.replace('_', ' ')}")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
