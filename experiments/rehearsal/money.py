"""What a rehearsed month earned and took, member by member, under the truth.

Money earned is against the same month in which nobody was given anything: margin of what was caused − discounts − gifts
− contacts − what points will cost. A basket that an offer adds is counted with the chance that the truth gives it
and the margin it has on average, baskets that were called off with that margin; `margin_told` is the same from the very
baskets that came, which is as true and noisier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.programme.chance import Floats
from experiments.rehearsal.month import Given, Month, rows_of
from features.entities import DO_NOTHING, Candidate

LINES = ("margin", "discounts", "gifts", "contacts", "points_of_offers", "points_of_baskets")
"""What money earned is made of; all but the first are costs, counted as such: 0 or less."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What things cost, in the programme's currency."""

    candidates: Mapping[str, Candidate]
    contact_cost: Mapping[str, float]
    """Channel → one contact."""
    cost_per_point: float
    """With the chance that it is redeemed in it."""
    points_per_money: Floats
    """By member: what their tier earns."""


def accounts(month: Month, tariff: Tariff) -> pd.DataFrame:
    """One row for each member, also those who cannot be reached.

    Returns:
        The lines of `LINES`; `earned`, their sum; `earned_told`, with the margin of the very baskets that came;
        `money` and `points` that offers took; `messages`; `given`, decisions other than doing nothing; `answered`,
        those that were redeemed; `baskets` more than without; `liability`, what points issued because of us will
        cost; `fading`, the chance of having begun to fade.
    """
    size = len(month.truth.member_ids)
    told, bare = month.all_told(), month.all_told(nothing=True)
    baskets, before = _baskets(month, told["purchases"]), _baskets(month, bare["purchases"])
    gone = before.loc[~before.index.isin(baskets.index), "row"]
    who = np.array([one.visit.row for one in month.given], dtype=np.int64)
    margin = _summed(who, month.chances() * month.truth.impulse_margin[who], size)
    margin -= np.bincount(gone, minlength=size) * month.truth.impulse_margin
    seen = _margin(month, told["purchases"]) - _margin(month, bare["purchases"])
    spent = _summed(baskets["row"], baskets["gross"], size) - _summed(before["row"], before["gross"], size)
    taken = takes(month, tariff, told)
    usual = spent * tariff.points_per_money * tariff.cost_per_point
    found = pd.DataFrame(
        {
            "margin": margin,
            "discounts": -_summed(taken["row"], taken["discount"], size),
            "gifts": -_summed(taken["row"], taken["gift"], size),
            "contacts": -_summed(who, [_contact(one, tariff) for one in month.given], size),
            "points_of_offers": -_summed(taken["row"], taken["points"], size) * tariff.cost_per_point,
            "points_of_baskets": -usual,
        },
        index=pd.Index(month.truth.member_ids, name="member_id"),
    )
    found["earned"] = found[list(LINES)].sum(axis=1)
    found["earned_told"] = found["earned"] - margin + seen
    found["money"] = -(found["discounts"] + found["gifts"] + found["contacts"])
    found["points"] = _summed(taken["row"], taken["points"], size)
    real = np.array([one.candidate_id != DO_NOTHING.id for one in month.given], dtype=bool)
    mailed = np.array([one.visit.channel == "email" for one in month.given], dtype=bool)
    found["given"], found["messages"] = _summed(who, real, size), _summed(who, real & mailed, size)
    found["answered"] = np.bincount(taken["row"], minlength=size).astype(np.float64)
    found["baskets"] = _summed(baskets["row"], np.ones(len(baskets)), size) - np.bincount(before["row"], minlength=size)
    found["liability"] = -(found["points_of_offers"] + found["points_of_baskets"])
    found["fading"] = month.fading
    return found


def takes(month: Month, tariff: Tariff, told: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What each redemption took: `key` of the visit, `row` of the member, `discount`, `gift` (money), `points`."""
    given = {one.visit.key: one for one in month.given}
    answers = told["offer_events"]
    redeemed = answers[answers["type"] == "redeem"]
    amounts = told["purchases"].dropna(subset=["offer_id"]).groupby("offer_id")["unit_price"].sum().to_dict()
    rows = []
    for key, saved in zip(redeemed["decision_id"], redeemed["value"], strict=True):
        one = given[key]
        terms = tariff.candidates[one.candidate_id].economics
        row, points = one.visit.row, terms.points
        if one.candidate_type == "points_multiplier":
            points = max(terms.points - 1.0, 0.0) * tariff.points_per_money[row] * amounts.get(key, 0.0)
        rows.append((key, row, float(saved), float(terms.cost), float(points)))
    found = pd.DataFrame(rows, columns=["key", "row", "discount", "gift", "points"])
    return found.astype({"row": np.int64, "discount": float, "gift": float, "points": float})


def _contact(one: Given, tariff: Tariff) -> float:
    if one.candidate_id == DO_NOTHING.id:
        return 0.0
    return tariff.candidates[one.candidate_id].economics.contact_cost + tariff.contact_cost[one.visit.channel]


def _baskets(month: Month, purchases: pd.DataFrame) -> pd.DataFrame:
    """Baskets by id: `row` of the member and `gross`, before any discount."""
    found = purchases.assign(gross=purchases["unit_price"] * purchases["quantity"])
    found = found.groupby("basket_id").agg(member_id=("member_id", "first"), gross=("gross", "sum"))
    return found.assign(row=rows_of(month.truth, found["member_id"]))


def _margin(month: Month, purchases: pd.DataFrame) -> Floats:
    shop = month.truth.shop
    place = pd.Index(shop.product_ids).get_indexer(pd.Index(purchases["product_id"]))
    rows = rows_of(month.truth, purchases["member_id"])
    return _summed(rows, shop.margin[place] * purchases["quantity"].to_numpy(), len(month.truth.member_ids))


def _summed(rows: npt.ArrayLike, values: npt.ArrayLike, size: int) -> Floats:
    found = np.bincount(np.asarray(rows, dtype=np.int64), np.asarray(values, dtype=np.float64), minlength=size)
    return found.astype(np.float64)
