"""Lives under decisions of ours: the same equations as a history's, what is known in them, and what the line brings."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import later_value
from experiments.programme.chance import Floats, Whole
from experiments.programme.year import FEATURES, Lived, Seen, by_lot
from experiments.worlds import WORLDS
from training.effects import EffectConfig

QUICK = EffectConfig(folds=2, trees=40, rounds=(30,), shallow_leaves=(4,), most=400_000)


def _nothing(seen: Seen) -> tuple[Whole, Floats]:
    return np.zeros(len(seen.rows), np.int64), np.ones((len(seen.rows), 6))


def _lived(name: str, by: object = None) -> Lived:
    choose = by_lot(WORLDS[name]) if by is None else by
    (found,) = later_value._lives(WORLDS[name], 400, 60, 400, 3, choose)  # type: ignore[arg-type]
    return found


def test_where_offers_cause_nothing_lives_are_the_same_whatever_is_decided() -> None:
    lot, nothing = _lived("none"), _lived("none", _nothing)
    assert (nothing.arm == 0).all() and nothing.used.sum() == 0 and lot.used.sum() > 50
    assert lot.baskets.sum() == pytest.approx(nothing.baskets.sum(), rel=0.05)
    again = _lived("none", _nothing)
    assert np.array_equal(again.margin, nothing.margin)


def test_what_is_known_of_members_is_what_they_did_before() -> None:
    one = _lived("strong")
    known = dict(zip(FEATURES, one.features.T, strict=True))
    assert np.nanmin(known["days_since_basket"]) >= 0 and (known["baskets_365"] >= known["baskets_90"]).all()
    bought = np.array([one.baskets[m, :w].sum() for m, w in zip(one.member, one.number, strict=True)])
    young = one.number * 14 < 350  # all of it within a year
    assert np.array_equal(bought[young] > 0, np.isfinite(known["days_since_basket"][young]))
    assert np.array_equal(bought[young], known["baskets_365"][young])
    assert known["contacts_84"].max() <= 6 and known["contacts_28"].max() <= 2
    share = np.bincount(one.arm, minlength=6) / len(one.arm)
    assert np.abs(share - one.chances.mean(axis=0)).max() < 0.02


@pytest.mark.slow
def test_the_line_does_no_harm_where_there_is_nothing_and_brings_no_loss_where_there_is_something() -> None:
    """A loss of half a percent would be seen."""
    for name in ("none", "strong"):
        taught = later_value.learned(WORLDS[name], members=6000, products=80, seed=5, config=QUICK)
        found = later_value.year(WORLDS[name], taught, members=3000, products=80, seed=905)
        assert found.high > -0.005 * found.without, name
        if name == "none":
            assert max(abs(money) for _, money, _ in taught.story.levels) < 0.5
