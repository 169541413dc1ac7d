"""Cut a history by time: learn from what was known before, be judged by what came after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import scipy.sparse as sp

from training.interactions import Interactions, kept_purchases


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What members bought after the cut, in the rows and columns of the interactions before it."""

    bought: sp.csr_matrix
    """(n_members, n_products) bool."""
    unknown_members: int
    """Members who bought but were not known at the cut; they are judged nowhere."""
    unknown_products: float
    """Share of what was bought by known members that nobody knew at the cut and no recipe could have named."""


def cut_before(ends_at: datetime, days: float) -> datetime:
    """The moment that leaves `days` of the history after it."""
    return ends_at - timedelta(days=days)


def after(purchases: pd.DataFrame, at: datetime, days: float | None = None) -> pd.DataFrame:
    """The rows of `(at, at + days]`, or all after `at`; whenever they became known, for this is hindsight."""
    later = purchases["occurred_at"] > at
    if days is not None:
        later &= purchases["occurred_at"] <= at + timedelta(days=days)
    return purchases[later]


def truth(before: Interactions, purchases_after: pd.DataFrame, only_new: bool = False) -> Truth:
    """What was bought and kept after the cut.

    Args:
        before: The interactions known at the cut.
        purchases_after: Rows of the typed table after the cut; returns inside them are taken off.
        only_new: Leave out what the member had bought before the cut (discovery, not repeat purchase).
    """
    kept = kept_purchases(purchases_after).drop_duplicates(["member_id", "product_id"])
    known_member = kept["member_id"].isin(before.member_ids.tolist()).to_numpy(bool)
    known_product = kept["product_id"].isin(before.product_ids.tolist()).to_numpy(bool)
    inside = kept[known_member & known_product]
    rows = np.searchsorted(before.member_ids, inside["member_id"].to_numpy(np.str_))
    columns = np.searchsorted(before.product_ids, inside["product_id"].to_numpy(np.str_))
    bought = sp.csr_matrix((np.ones(len(inside), np.int8), (rows, columns)), shape=before.counts.shape)
    if only_new:
        bought = sp.csr_matrix(bought - bought.multiply(before.counts > 0))
        bought.eliminate_zeros()
    return Truth(
        bought=bought.astype(bool),
        unknown_members=int(kept.loc[~known_member, "member_id"].nunique()),
        unknown_products=float(np.mean(~known_product[known_member])) if known_member.any() else 0.0,
    )
