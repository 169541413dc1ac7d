"""What each piece of the blend brings: judged without each part, each group of features, and the second stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from features.learned import ProductForm
from features.learned.candidates import groups, names
from training.evaluate import judge
from training.interactions import Interactions
from training.metrics import Values, mean_interval
from training.ranker import no_trees
from training.recipes import Fitted
from training.recipes.blend import Bases, BlendConfig, Past, pasts, taught

WHOLE = "the blend"
_DRAWS = 1000


def ablation(
    before: Interactions,
    bought: sp.csr_matrix,
    bought_new: sp.csr_matrix,
    config: BlendConfig,
    *,
    k: int = 10,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Judge the blend, and the blend without each of its pieces, on the same members.

    Args:
        before: What was known at the cut.
        bought: `Truth.bought`: what followed.
        bought_new: The same with `only_new`: what the member had not bought before.
        config: Of the blend.
        k: Length of the lists.
        seed: Of the bootstrap.
        progress: Told each variant before it is judged.

    Returns:
        A row for each variant: `variant`; `ndcg` over all products and `new`, NDCG with bought products left out of
        lists and truth; `ndcg_change` and `new_change`, less the blend's, each with `_low` and `_high` (95 % paired
        bootstrap over members).
    """
    known, now = pasts(before, config), Bases.of(before, config)
    judged: dict[str, tuple[Values, Values]] = {}
    for variant, form in _variants(known, now, config):
        progress(variant)
        fitted = Fitted(form)
        judged[variant] = (
            judge(before, fitted, bought, k).ndcg,
            judge(before, fitted, bought_new, k, only_new=True).ndcg,
        )
    return pd.DataFrame([_row(variant, each, judged[WHOLE], seed) for variant, each in judged.items()])


def _variants(known: Sequence[Past], now: Bases, config: BlendConfig) -> Iterator[tuple[str, ProductForm]]:
    parts, depth = tuple(config.parts), config.candidates
    everything = names(parts)
    whole = taught(known, config, everything, check=config.proven)
    yield WHOLE, now.served(whole, config)
    yield "no second stage: the mean of the bases", now.ranked_by(no_trees(everything), depth)
    for part in parts if len(parts) > 1 else ():
        rest = tuple(other for other in parts if other != part)
        fewer = [Past(one.inner, one.bases.only(rest)) for one in known]
        yield f"without part {part}", now.only(rest).ranked_by(taught(fewer, config, names(rest)).trees, depth)
    for group, features in groups(parts).items():
        kept = tuple(name for name in everything if name not in features)
        yield f"without features: {group}", now.ranked_by(taught(known, config, kept).trees, depth)
    for part in parts:
        yield f"{part} alone", now.parts[part]


def _row(variant: str, each: tuple[Values, Values], whole: tuple[Values, Values], seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"variant": variant}
    for name, values, full in zip(("ndcg", "new"), each, whole, strict=True):
        change = mean_interval(values - full, np.random.default_rng(seed), _DRAWS)
        row |= {name: float(values.mean()) if len(values) else float("nan")}
        row |= {f"{name}_change": change.value, f"{name}_low": change.low, f"{name}_high": change.high}
    return row
