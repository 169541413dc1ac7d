"""BPR: what the library leaves out is put back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from features.learned import Factors
from training.interactions import Interactions, build
from training.recipes import config_from, fit

AT = datetime(2024, 6, 1, tzinfo=UTC)
_CHANCES = np.geomspace(0.2, 0.01, 60)


def _without_taste() -> Interactions:
    """Each of 800 members buys each of 60 products with the chance above; one more is never bought."""
    member, product = np.nonzero(np.random.default_rng(4).random((800, 60)) < _CHANCES)
    names = [f"b{i}" for i in range(len(member))]
    moments = pd.Series([AT - timedelta(days=5)] * len(member)).astype("datetime64[us, UTC]")
    purchases = pd.DataFrame(
        {
            "purchase_id": names,
            "basket_id": names,
            "member_id": [f"m{i}" for i in member],
            "product_id": [f"p{i:02d}" for i in product],
            "quantity": 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )
    since = pd.Series([AT - timedelta(days=9)] * 61).astype("datetime64[us, UTC]")
    products = pd.DataFrame({"product_id": [f"p{i:02d}" for i in range(61)], "occurred_at": since, "known_at": since})
    nobody = pd.DataFrame({"member_id": [], "occurred_at": since[:0], "known_at": since[:0]})
    return build(purchases, products, nobody, AT)


def test_without_tastes_scores_differ_by_the_logarithm_of_popularity_and_the_unsold_comes_last() -> None:
    fitted = fit("bpr", _without_taste(), config_from("bpr", {"factors": 4, "regularization": 0.1, "lately": 0.0}))
    assert isinstance(fitted.form, Factors)
    assert fitted.member_vectors is not None
    scores = (fitted.member_vectors @ fitted.form.vectors.T + fitted.form.biases).mean(axis=0)
    assert scores.argmin() == 60
    slope = np.polyfit(np.log(_CHANCES), scores[:60], 1)[0]
    assert 0.8 < slope < 1.4  # the scores of the library have a slope of about 0


def test_passes_over_a_long_history_are_fewer_but_never_fewer_than_ten() -> None:
    history = _without_taste()
    few = fit("bpr", history, config_from("bpr", {"factors": 4, "passes": 10}))
    capped = fit("bpr", history, config_from("bpr", {"factors": 4, "passes": 50, "most_steps": 1}))
    assert isinstance(few.form, Factors)
    assert isinstance(capped.form, Factors)
    assert np.array_equal(few.form.vectors, capped.form.vectors)
