"""How recipes fare where little or nothing is known: new members, new products, and both at once.

Nobody is new to a model that has seen them. So a share of the members, or of the products, is taken out before anything
is fitted, their purchases with them, and judged by what was bought after the cut:

- *unknown member*: nothing but what every member has when enrolled (tags, where a recipe uses them);
- *first basket*: the purchases of the member's first moment are folded in, without training again;
- *whole history*: all purchases before the cut are folded in; what the first basket is to be compared with;
- *new product*: products nobody has bought, known by category and brand alone, ranked among themselves;
- *both*: the same for members of whom only the first basket is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from features.learned import Histories, score_many, top_k
from training import recipes
from training.inner import narrowed
from training.interactions import Interactions, histories
from training.metrics import Values, mean_interval, ndcg, recall
from training.recipes import Fitted

BASELINE = "popularity"
_AT_ONCE = 4_000_000
_DRAWS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Members asked about, what may be known of them, and what may be named."""

    name: str
    rows: NDArray[np.intp]
    """Rows of the members to be judged."""
    known: Histories
    """What they are scored with."""
    bought: sp.csr_matrix
    """(len(rows), n_products): what they bought afterwards; at least one each."""
    allowed: NDArray[np.bool_] | None
    """(n_products,): what lists may hold; None for all."""


def new_members(before: Interactions, bought: sp.csr_matrix, rows: NDArray[np.intp]) -> tuple[Case, ...]:
    """The first three cases, for members in `rows` who bought afterwards and have bought before."""
    rows = rows[(bought.getnnz(axis=1)[rows] > 0) & (np.diff(before.counts.indptr)[rows] > 0)]
    later = sp.csr_matrix(bought[rows])
    nothing = histories(narrowed(before, np.zeros(len(before.buys), bool), before.at), rows)
    return (
        Case("unknown member", rows, nothing, later, None),
        Case("first basket", rows, histories(first_baskets(before), rows), later, None),
        Case("whole history", rows, histories(before, rows), later, None),
    )


def new_products(
    known: Interactions, bought: sp.csr_matrix, rows: NDArray[np.intp], hidden: NDArray[np.bool_], name: str
) -> Case:
    """Members in `rows` who bought a hidden product afterwards, scored with `known`, in which nobody bought one."""
    later = sp.csr_matrix(bought[rows].multiply(hidden[None, :])).astype(bool)
    later.eliminate_zeros()
    there = later.getnnz(axis=1) > 0
    return Case(name, rows[there], histories(known, rows[there]), sp.csr_matrix(later[there]), hidden)


def first_baskets(interactions: Interactions) -> Interactions:
    """Each member's purchases of the earliest moment alone."""
    first = np.full(interactions.counts.shape[0], np.inf)
    np.minimum.at(first, interactions.buys[:, 0], interactions.bought_at)
    return narrowed(interactions, interactions.bought_at == first[interactions.buys[:, 0]], interactions.at)


def drawn(n: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,): a random share of True, the same number whatever the generator."""
    chosen = np.zeros(n, bool)
    chosen[rng.permutation(n)[: round(share * n)]] = True
    return chosen


def cold_start(
    before: Interactions,
    bought: sp.csr_matrix,
    wanted: Mapping[str, Any],
    *,
    share: float = 0.2,
    k: int = 10,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Judge recipes on all five cases.

    Args:
        before: What was known at the cut.
        bought: `Truth.bought`: what followed, (n_members, n_products).
        wanted: Recipe → configuration, or None for its defaults.
        share: Of the members, and of the products, that are made new.
        k: Length of the lists.
        seed: Of who and what is made new, and of the bootstrap.
        progress: Told the name of each recipe before it is fitted.

    Returns:
        A row for each case and recipe: `case`, `recipe`, `ndcg` and `recall` with `_low` and `_high` (95 % bootstrap
        over members), `gain` over popularity's NDCG on the same members likewise, `members`.
    """
    rng = np.random.default_rng(seed)
    stranger = drawn(before.counts.shape[0], share, rng)
    hidden = drawn(before.counts.shape[1], share, rng)
    of_stranger, of_hidden = stranger[before.buys[:, 0]], hidden[before.buys[:, 1]]
    settings = {BASELINE: None, **wanted}
    without = narrowed(before, ~of_stranger, before.at)
    cases = new_members(before, bought, np.flatnonzero(stranger))
    parts = [_judged(cases, without, settings, k, seed, progress)]
    unsold = narrowed(before, ~of_hidden, before.at)
    case = new_products(unsold, bought, np.arange(len(stranger)), hidden, "new product")
    parts.append(_judged((case,), unsold, settings, k, seed, progress))
    neither = narrowed(before, ~(of_hidden | of_stranger), before.at)
    asked = first_baskets(narrowed(before, ~of_hidden & of_stranger, before.at))
    case = new_products(asked, bought, np.flatnonzero(stranger), hidden, "both")
    parts.append(_judged((case,), neither, settings, k, seed, progress))
    return pd.concat(parts, ignore_index=True)


def _judged(
    cases: tuple[Case, ...],
    known: Interactions,
    settings: Mapping[str, Any],
    k: int,
    seed: int,
    progress: Callable[[str], None],
) -> pd.DataFrame:
    """Fit each recipe on `known` and ask it about each case."""
    found: dict[tuple[str, str], tuple[Values, Values]] = {}
    for name, config in settings.items():
        progress(name)
        fitted = recipes.fit(name, known, config)
        for case in cases:
            ranked = _ranked(case, fitted, known.seconds, k)
            found[case.name, name] = ndcg(ranked, case.bought), recall(ranked, case.bought)
    rows = [
        _row(case.name, name, found[case.name, name], found[case.name, BASELINE][0], seed)
        for case in cases
        for name in settings
    ]
    return pd.DataFrame(rows)


def _ranked(case: Case, fitted: Fitted, at: float, k: int) -> NDArray[np.int64]:
    """(len(case.rows), k): the lists, −1 where they are shorter. Tags count where nothing else is known of a member."""
    out = np.full((len(case.rows), k), -1, np.int64)
    step = max(1, _AT_ONCE // max(case.known.n_products, 1))
    for begin in range(0, len(case.rows), step):
        asked = _with_context(case, fitted).part(begin, min(begin + step, len(case.rows)))
        for place, scores in enumerate(score_many(fitted.form, asked, at), begin):
            best = top_k(scores, k, case.allowed)
            out[place, : len(best)] = best
    return out


def _with_context(case: Case, fitted: Fitted) -> Histories:
    """The vector that a recipe keeps for members without purchases rests on their tags alone."""
    known, vectors = case.known, fitted.member_vectors
    if vectors is None or len(known.product_index):
        return known
    return replace(known, vectors=vectors[case.rows])


def _row(case: str, recipe: str, figures: tuple[Values, Values], baseline: Values, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"case": case, "recipe": recipe}
    for name, values in {"ndcg": figures[0], "recall": figures[1], "gain": figures[0] - baseline}.items():
        interval = mean_interval(values, np.random.default_rng(seed), _DRAWS)
        row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row | {"members": len(baseline)}
