"""Popularity: lists of a region of its own only where regions differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from features.learned import MemberHistory, Popularity, top_k
from training.interactions import Interactions, build, histories, member_history
from training.recipes import config_from, fit

AT = datetime(2024, 6, 1, tzinfo=UTC)
_REGIONS = np.array(["north", "south"])


def _history(chances: NDArray[np.float64]) -> Interactions:
    """Members, half of them of the north, who buy product p with `chances[region, p]`; the last one's is not known."""
    n = 400
    region = np.arange(n) % 2
    member, product = np.nonzero(np.random.default_rng(6).random((n, chances.shape[1])) < chances[region])
    names = [f"b{i}" for i in range(len(member))]
    purchases = pd.DataFrame(
        {
            "purchase_id": names,
            "basket_id": names,
            "member_id": [f"m{i:03d}" for i in member],
            "product_id": [f"p{i:02d}" for i in product],
            "quantity": 1.0,
            "reverses": None,
        }
    ).assign(**_since(len(member), 5))
    members = pd.DataFrame(
        {"member_id": [f"m{i:03d}" for i in range(n)], "region": _REGIONS[region], "birth_year": None}
    )
    members.loc[n - 1, "region"] = None
    return build(purchases, pd.DataFrame({"product_id": []}).assign(**_since(0, 9)), members.assign(**_since(n, 9)), AT)


def _since(n: int, days: int) -> dict[str, pd.Series[pd.Timestamp]]:
    moments = pd.Series([AT - timedelta(days=days)] * n, dtype="datetime64[us, UTC]")
    return {"occurred_at": moments, "known_at": moments}


def _form(found: Interactions, **settings: bool) -> Popularity:
    form = fit("popularity", found, config_from("popularity", settings)).form
    assert isinstance(form, Popularity)
    return form


_UNLIKE = np.stack([np.geomspace(0.5, 0.02, 30), np.geomspace(0.5, 0.02, 30)[::-1]])


def test_where_regions_buy_differently_each_has_a_list_of_its_own_for_new_members_too() -> None:
    form = _form(_history(_UNLIKE))
    assert form.regions.tolist() == ["north", "south"]
    for region, first in (("north", set(range(5))), ("south", set(range(25, 30)))):
        best = top_k(form.score(MemberHistory(region=region), AT.timestamp()), 5)
        assert len(first & set(best.tolist())) >= 4
    assert form.score(MemberHistory(region="west"), 0.0) is form.score(MemberHistory(), 0.0)
    assert form.regional.sum(axis=1) == pytest.approx(form.scores.sum(), rel=1e-5)


def test_where_regions_buy_alike_or_are_not_wanted_there_is_one_list() -> None:
    assert len(_form(_history(np.tile(_UNLIKE[:1], (2, 1)))).regions) == 0
    assert len(_form(_history(_UNLIKE), by_region=False).regions) == 0


def test_a_member_is_asked_for_with_the_own_region() -> None:
    found = _history(_UNLIKE)
    assert [member_history(found, row).region for row in (0, 1, 399)] == ["north", "south", ""]
    together = histories(found, np.array([1, 399])).regions
    assert together is not None
    assert together.tolist() == ["south", ""]
