"""One member as the programme sees them: segment, tier, points by expiry, churn, next purchase, consents, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import isinf, isnan
from typing import Any

import numpy as np

from features import rule_segments, segments
from features.entities import Programme
from features.states import COLUMNS, State
from serving.answer import moment
from serving.champions import Champions
from serving.members import Member


def profile(
    member_id: str,
    member: Member,
    consents: Mapping[str, bool],
    at: float,
    programme: Programme,
    champions: Champions,
) -> dict[str, Any]:
    """What `GET /v1/members/{id}` says.

    Args:
        member_id: whose profile it is.
        member: from the online store, finished at `at`.
        consents: purpose → consent, with what events said since the profile was made.
        at: epoch seconds.
        programme: tiers, thresholds, currency.
        champions: the churn model; without one, churn and next purchase are null.
    """
    lifecycle, why = segments.lifecycle(member.features, programme.segments)
    value, why_value = segments.value_label(member.features, programme.segments)
    return {
        "member_id": member_id,
        "segment": {"lifecycle": lifecycle, "why": why, "value": value, "why_value": why_value},
        "segments": [
            {"id": one.segment.id, "name": one.segment.name, "when": one.segment.when, "because": one.because}
            for one in rule_segments.explained(member.features, programme)
        ],
        "tier": _tier(member.features, programme),
        "points": _points(member, at),
        "churn": _churn(member, champions),
        "next_purchase": _next_purchase(member, champions, at),
        "lifetime_value": None if champions.lifetime is None else champions.lifetime.told(member.row),
        "consents": dict(consents),
        "region": member.state.region,
        "feature_age_s": max(at - member.built_at, 0.0),
        "as_of": moment(at),
        "currency": programme.currency,
    }


def _tier(features: Mapping[str, float], programme: Programme) -> dict[str, Any]:
    rank = _number(features, "tier_rank")
    index = 0 if rank is None else min(int(rank), len(programme.tiers) - 1)
    tier = programme.tiers[index]
    next_tier = programme.tiers[index + 1] if index + 1 < len(programme.tiers) else None
    return {
        "id": tier.id,
        "name": tier.name,
        "next": next_tier.id if next_tier else None,
        "spend_to_next": _number(features, "spend_to_next_tier"),
        "spend_to_keep": _number(features, "spend_to_keep_tier"),
        "days_left": _number(features, "tier_days_left"),
    }


def _points(member: Member, at: float) -> dict[str, Any]:
    lots = [{"expires_at": moment(when), "points": points} for when, points in expiring(member.state, at)]
    return {"balance": _number(member.features, "points_balance"), "by_expiry": lots}


def expiring(state: State, at: float) -> list[tuple[float | None, int]]:
    """What is left of the points, by when it expires (epoch seconds; None never), soonest first."""
    left: dict[int, int] = defaultdict(int)
    expires: dict[int, float] = {}
    columns = [state.columns[COLUMNS["points", name]] for name in ("occurred_us", "lot", "points", "expires_us")]
    for occurred, lot, points, expiry in zip(*columns, strict=True):
        if occurred <= at * 1e6:
            left[lot] += points
            if expiry == expiry and expiry:
                expires[lot] = max(expires.get(lot, 0.0), expiry / 1e6)
    by_expiry: dict[float | None, int] = defaultdict(int)
    for lot, points in left.items():
        when = expires.get(lot)
        if points and (when is None or when > at):
            by_expiry[when] += points
    return sorted(by_expiry.items(), key=lambda one: (one[0] is None, one[0] or 0.0))


def _churn(member: Member, champions: Champions) -> dict[str, Any] | None:
    if champions.churn is None:
        return None
    return {
        "probability": champions.learned(member, 0.0, 0).churn,
        "horizon_days": round(champions.churn.form.horizon),
        "reasons": [{"feature": name, "change": change} for name, change in champions.why_churn(member)],
    }


_SHARES = (0.5, 0.1, 0.9)
_FAR_DAYS = 1096.0
"""Nobody is told of a purchase more than three years ahead."""


def _next_purchase(member: Member, champions: Champions, at: float) -> dict[str, Any] | None:
    """When the next purchase may come: the day by which it has with a chance of one half, and an 80 % interval.

    Null where it is not within three years.
    """
    model = champions.churn
    if model is None:
        return None
    days = model.form.next_purchase(member.row[model.columns][None, :], np.array(_SHARES), _FAR_DAYS)[0].tolist()
    median, low, high = (None if isinf(each) else moment(at + each * 86_400.0) for each in days)
    return {"median": median, "interval": [low, high], "interval_share": 0.8}


def _number(features: Mapping[str, float], name: str) -> float | None:
    value = features.get(name, float("nan"))
    return None if isnan(value) else value
