"""Golden questions: made-up members whose answers are written into a bundle.

A file can be whole and still be the wrong file; its answers tell. The questions hold nothing of any real member.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.churn import Churn
from features.learned.factors import Factors
from features.learned.faults import LearnedError
from features.learned.member import MemberHistory
from features.learned.ranking import top_k
from features.learned.storage import ProductForm

_SHOWN = 10
_TOLERANCE = 1e-4
"""Sums of 32-bit products differ between machines by about this much, relative to the largest."""
_DAY = 86_400.0


def of_products(form: ProductForm, at: float) -> dict[str, Any]:
    """Three made-up members (nothing bought, little, much) and the form's best products for each, at epoch seconds."""
    rng = np.random.default_rng(0)
    questions = [_question(form, bought, rng) for bought in (0, 2, 12)]
    return {"at": at, "members": [question | _answer(form, question, at) for question in questions]}


def check_products(form: ProductForm, golden: Mapping[str, Any]) -> None:
    """Ask again; raises `LearnedError` where an answer differs."""
    for question in golden["members"]:
        said = _answer(form, question, float(golden["at"]))
        if not np.allclose(said["scores"], question["scores"], rtol=_TOLERANCE, atol=_TOLERANCE):
            raise LearnedError("the model does not answer as it did when it was trained; export it again")


def of_churn(churn: Churn, rows: NDArray[np.float64]) -> dict[str, Any]:
    """Made-up rows of features, (n, n_features), and the probability of each; NaN is written as null."""
    written = [[None if np.isnan(value) else float(value) for value in row] for row in rows]
    return {"rows": written, "chances": churn.probability(rows).tolist()}


def check_churn(churn: Churn, golden: Mapping[str, Any]) -> None:
    """Ask again; raises `LearnedError` where an answer differs."""
    rows = np.array([[np.nan if value is None else value for value in row] for row in golden["rows"]], np.float64)
    said = churn.probability(rows)
    if not np.allclose(said, golden["chances"], rtol=0.0, atol=1e-9):
        raise LearnedError("the churn model does not answer as it did when it was trained; export it again")


def _question(form: ProductForm, bought: int, rng: np.random.Generator) -> dict[str, Any]:
    count = min(bought, len(form.product_ids))
    index = np.sort(rng.choice(len(form.product_ids), count, replace=False))
    vector = rng.normal(size=form.vectors.shape[1]) if isinstance(form, Factors) and bought else None
    return {
        "product_index": index.tolist(),
        "count": rng.integers(1, 5, count).tolist(),
        "days_ago": rng.integers(1, 90, count).tolist(),
        "vector": None if vector is None else np.round(vector, 4).tolist(),
    }


def _answer(form: ProductForm, question: Mapping[str, Any], at: float) -> dict[str, Any]:
    vector = question["vector"]
    member = MemberHistory(
        np.array(question["product_index"], np.int32),
        np.array(question["count"], np.float32),
        at - np.array(question["days_ago"], np.float64) * _DAY,
        None if vector is None else np.array(vector, np.float32),
    )
    scores = form.score(member, at)
    best = top_k(scores, min(_SHOWN, len(scores)))
    return {"products": form.product_ids[best].tolist(), "scores": [float(score) for score in scores[best]]}
