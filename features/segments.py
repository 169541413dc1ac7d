"""Who is new, active, at-risk or lapsed, and who is of high, potential or low value, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.entities import Lifecycle, SegmentRules, ValueLabel

_OWN_RHYTHM_FROM = 3
"""Baskets from which a member's own rhythm is known: two gaps at least."""

_Numbers = npt.NDArray[np.float64]


def lifecycle(features: Mapping[str, float], rules: SegmentRules) -> tuple[Lifecycle, str]:
    """The lifecycle label of a member and why, for people.

    In this order: without any purchase a member is `new` until `lapsed_days` after enrolment and `lapsed` then; last
    bought more than `lapsed_days` ago is `lapsed`; first known (enrolled) at most `new_days` ago is `new`; silent for
    longer than their own rhythm allows is `at-risk`; everybody else is `active`.

    Args:
        features: `recency_days`, `tenure_days`, `lifetime_baskets`, `recency_over_gap`; NaN or absent is unknown.
        rules: The thresholds.
    """
    recency, tenure = _get(features, "recency_days"), _get(features, "tenure_days")
    if math.isnan(recency):
        return _never_bought(tenure, rules)
    if recency > rules.lapsed_days:
        return "lapsed", f"last purchase {recency:.0f} days ago, more than {rules.lapsed_days}"
    if tenure <= rules.new_days:
        return "new", f"with us for {tenure:.0f} days, at most {rules.new_days}"
    return _by_rhythm(recency, features, rules)


def value_label(features: Mapping[str, float], rules: SegmentRules) -> tuple[ValueLabel, str]:
    """The value label of a member and why: by what they spent, net of returns, in 365 days.

    Args:
        features: `spend_365d`; NaN or absent counts as nothing.
        rules: The thresholds.
    """
    spend = _get(features, "spend_365d")
    spend = 0.0 if math.isnan(spend) else spend
    if spend >= rules.high_spend_365d:
        return "high", f"spent {spend:.2f} in 365 days, at least {rules.high_spend_365d:g}"
    if spend >= rules.potential_spend_365d:
        return "potential", f"spent {spend:.2f} in 365 days, at least {rules.potential_spend_365d:g}"
    return "low", f"spent {spend:.2f} in 365 days, less than {rules.potential_spend_365d:g}"


def label(frame: pd.DataFrame, rules: SegmentRules) -> pd.DataFrame:
    """The labels of many members at once, by the same rules.

    Args:
        frame: A row for each member with the features that `lifecycle` and `value_label` read.
        rules: The thresholds.

    Returns:
        Columns `lifecycle` and `value`, with the frame's index.
    """
    recency, tenure = _column(frame, "recency_days"), _column(frame, "tenure_days")
    baskets, over_gap = _column(frame, "lifetime_baskets"), _column(frame, "recency_over_gap")
    never = np.isnan(recency)
    own = (baskets >= _OWN_RHYTHM_FROM) & np.isfinite(over_gap)
    lifecycles = np.select(
        [
            never & (tenure > rules.lapsed_days),
            never,
            recency > rules.lapsed_days,
            tenure <= rules.new_days,
            np.where(own, over_gap > rules.at_risk_gaps, recency > rules.at_risk_days),
        ],
        ["lapsed", "new", "lapsed", "new", "at-risk"],
        default="active",
    )
    spend = np.nan_to_num(_column(frame, "spend_365d"), nan=0.0)
    values = np.select(
        [spend >= rules.high_spend_365d, spend >= rules.potential_spend_365d], ["high", "potential"], default="low"
    )
    return pd.DataFrame({"lifecycle": lifecycles.astype(object), "value": values.astype(object)}, index=frame.index)


def _never_bought(tenure: float, rules: SegmentRules) -> tuple[Lifecycle, str]:
    if tenure > rules.lapsed_days:
        return "lapsed", f"no purchase in the {tenure:.0f} days since enrolment, more than {rules.lapsed_days}"
    return "new", "no purchase yet"


def _by_rhythm(recency: float, features: Mapping[str, float], rules: SegmentRules) -> tuple[Lifecycle, str]:
    over_gap = _get(features, "recency_over_gap")
    if _get(features, "lifetime_baskets") >= _OWN_RHYTHM_FROM and math.isfinite(over_gap):
        text = f"last purchase {recency:.0f} days ago, {over_gap:.1f} times their usual gap"
        if over_gap > rules.at_risk_gaps:
            return "at-risk", f"{text}, more than {rules.at_risk_gaps:g}"
        return "active", f"{text}, at most {rules.at_risk_gaps:g}"
    if recency > rules.at_risk_days:
        return "at-risk", f"last purchase {recency:.0f} days ago, more than {rules.at_risk_days}; no rhythm known yet"
    return "active", f"last purchase {recency:.0f} days ago, at most {rules.at_risk_days}; no rhythm known yet"


def _get(features: Mapping[str, float], name: str) -> float:
    return float(features.get(name, math.nan))


def _column(frame: pd.DataFrame, name: str) -> _Numbers:
    values: Any = frame[name] if name in frame else np.full(len(frame), np.nan)
    return np.asarray(values, dtype=np.float64)
