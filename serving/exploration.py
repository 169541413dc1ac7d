"""From scores in money to chances: how far chance may stray from the best, and what that may cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from features.written import Written

_Money = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Exploration(Written):
    """How chance is spread over candidates that are nearly the best."""

    allowance: _Money
    """What a candidate may lose against the best, in money, to be tried at all."""
    gamma: _Money
    floor: _Share
    share: _Share | None = None
    """What chance may cost at a rank, in expectation, as a share of what the best is worth there; None: no limit."""
    least: _Money = 0.0
    """What it may cost beside that: where the best is worth nothing, a share of it would let nothing be tried."""


def probabilities(scores: Sequence[float], exploration: Exploration | None) -> list[float]:
    """From scores in money to chances; they sum to one.

    Inverse-gap weighting (Abe & Long 1999; Foster & Rakhlin 2020) over the candidates that lose at most the
    allowance against the best: `q = 1 / (K + gamma · gap / allowance)`, the best takes what is left, and a share
    `floor` is spread evenly over them. With no exploration the first of the best gets everything.

    Where that is expected to lose more than `share` of the best score and `least`, the chances of all that is worth
    less than the best are made smaller by one factor, so that it loses just as much (`expected_loss`).
    """
    best = max(range(len(scores)), key=scores.__getitem__)
    result = [0.0] * len(scores)
    if exploration is None:
        result[best] = 1.0
        return result
    allowance, gamma, floor = exploration.allowance, exploration.gamma, exploration.floor
    top = scores[best]
    near = [index for index, score in enumerate(scores) if top - score <= allowance]
    count = len(near)
    for index in near:
        gap = (top - scores[index]) / allowance if allowance else 0.0
        result[index] = (1.0 - floor) / (count + gamma * gap) + floor / count
    if exploration.share is not None:
        _kept_within(exploration.share * max(top, 0.0) + exploration.least, result, scores, top)
    result[best] = 0.0
    result[best] = 1.0 - math.fsum(result)
    return result


def _kept_within(limit: float, chances: list[float], scores: Sequence[float], top: float) -> None:
    cost = expected_loss(chances, scores)
    if cost > limit:
        smaller = limit / cost
        for index, score in enumerate(scores):
            if score < top:
                chances[index] *= smaller


def expected_loss(chances: Sequence[float], scores: Sequence[float]) -> float:
    """What drawing is expected to lose against giving the best: `Σ π(a)·(S* − S_a)`, in money."""
    top = max(scores)
    return math.fsum(chance * (top - score) for chance, score in zip(chances, scores, strict=True) if chance)
