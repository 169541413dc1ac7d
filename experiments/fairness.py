"""What members of each group were given, and how far declared rules explain that it differs.

Terms belong to the candidate: nobody pays another price for the same one. But who is given what differs, by the tiers
and rules that a marketer declared and by what a candidate is worth for a member. This counts it, by tier, region and
whatever else the members table declares: means and shares of each group beside all others, plain and with tier and
lifecycle held equal (direct standardisation). What is left then no declared rule explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEASURES = ("discount", "points", "net")
"""Of each decision: money off and points if used, and net value by its bill."""
_ERROR = 0.05
"""Chance that anything at all is flagged where no group differs: intervals are as wide as all comparisons ask for."""


@dataclass(frozen=True, slots=True)
class Gap:
    """One group beside all others, by one measure."""

    attribute: str
    group: str
    measure: str
    members: int
    mean: float
    others: float
    ratio: float
    """Mean over the others' mean; NaN where that is 0."""
    held_equal: float
    """The same with tier and lifecycle held equal; NaN where no stratum holds both."""
    low: float
    high: float
    """Interval of `held_equal`, by member; it holds for all comparisons together (Bonferroni)."""
    verdict: str
    """even, explained (held equal, the gap is gone), open (too few to tell) or flagged."""


def gaps(
    given: pd.DataFrame, attributes: Sequence[str], declared: Sequence[str], *, threshold: float = 0.8, least: int = 30
) -> tuple[Gap, ...]:
    """Compare groups.

    Args:
        given: a row for each decision: member_id, MEASURES, a column `gets:…` (0 or 1) for each candidate, and the
            attributes.
        attributes: columns to compare by.
        declared: columns that rules may hang on: held equal.
        threshold: a ratio below it, or above one over it, is a gap (four fifths by default).
        least: smaller groups are passed over.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold}: a ratio between 0 and 1, as 0.8 for four fifths")
    measures = [*MEASURES, *(name for name in map(str, given) if name.startswith("gets:"))]
    by_member = given.groupby("member_id", sort=True)
    means = by_member[measures].mean()
    about = by_member[[*dict.fromkeys([*attributes, *declared])]].first().fillna("")
    stratum = about[list(declared)].astype(str).agg("|".join, axis=1) if declared else pd.Series("", index=about.index)
    cases = []
    for attribute in attributes:
        rest = [name for name in declared if name != attribute]
        held = about[rest].astype(str).agg("|".join, axis=1) if rest else pd.Series("", index=about.index)
        strata = pd.factorize(held if attribute in declared else stratum)[0]
        for group in sorted(about[attribute].astype(str).unique()):
            mine = (about[attribute].astype(str) == group).to_numpy()
            if group == "" or min(int(mine.sum()), int((~mine).sum())) < least:
                continue
            cases += [((attribute, group, measure), mine, strata) for measure in measures]
    wide = NormalDist().inv_cdf(1 - _ERROR / 2 / max(len(cases), 1))
    values = {measure: means[measure].to_numpy(np.float64) for measure in measures}
    return tuple(
        _gap(names, values[names[2]], mine, strata, (threshold, wide), declared=names[0] in declared)
        for names, mine, strata in cases
    )


def _gap(
    names: tuple[str, str, str], values: Floats, mine: NDArray[np.bool_], strata: NDArray[np.int64],
    rules: tuple[float, float], *, declared: bool,
) -> Gap:  # fmt: skip
    own, others = float(values[mine].mean()), float(values[~mine].mean())
    ratio = own / others if others > 0 else float("nan")
    narrow, errors = rules
    wide = 1 / narrow
    held, low, high = _held_equal(values, mine, strata, errors)
    apart = ratio < narrow or ratio > wide
    if high < narrow or low > wide:
        verdict = "explained" if declared else "flagged"
    elif not apart and narrow <= held <= wide:
        verdict = "even"
    elif narrow <= held <= wide and not low <= ratio <= high:
        verdict = "explained"
    else:
        verdict = "open"
    return Gap(*names, int(mine.sum()), own, others, ratio, held, low, high, verdict)


def _held_equal(
    values: Floats, mine: NDArray[np.bool_], strata: NDArray[np.int64], errors: float
) -> tuple[float, float, float]:
    """Ratio of means where both groups have the strata of the smaller one, with its interval on the log scale."""
    count = strata.max(initial=-1) + 1
    size = [np.bincount(strata[side], minlength=count).astype(np.float64) for side in (mine, ~mine)]
    both = (size[0] > 1) & (size[1] > 1)
    nan = float("nan")
    if not both.any():
        return nan, nan, nan
    weight = np.where(both, size[0], 0.0)
    weight /= weight.sum()
    means, variances = [], []
    for side, many in zip((mine, ~mine), size, strict=True):
        total = np.bincount(strata[side], values[side], count)
        square = np.bincount(strata[side], values[side] ** 2, count)
        mean = total / np.maximum(many, 1)
        spread = np.maximum(square / np.maximum(many, 1) - mean**2, 0) * many / np.maximum(many - 1, 1)
        means.append(float(weight @ mean))
        variances.append(float((weight**2) @ (spread / np.maximum(many, 1))))
    if min(means) <= 0:
        return nan, nan, nan
    error = (variances[0] / means[0] ** 2 + variances[1] / means[1] ** 2) ** 0.5
    ratio = means[0] / means[1]
    half = float(np.exp(errors * error))
    return ratio, ratio / half, ratio * half
