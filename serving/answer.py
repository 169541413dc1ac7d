"""The answer to a caller, written from a decision; the same whether it was just made or comes from the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from serving import explain_words
from serving.snapshot import Decision, Result, Value


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer says beside its decision."""

    decision_id: str
    request_id: str | None
    currency: str
    models: Mapping[str, str]
    degraded: tuple[str, ...] = ()
    feature_age_s: float | None = None
    """Seconds between the making of the member's state and the decision; None where there was no state."""
    cold_start: bool = False
    repeated: bool = False
    reservations: Mapping[str, str] = field(default_factory=dict)
    """Given candidate → its reservation."""


def written(decision: Decision, stamp: Stamp, explain: str, titles: Mapping[str, str]) -> dict[str, Any]:
    """The answer as JSON values; `meta.took_ms` is for the edge to fill in.

    Args:
        decision: what was decided, with its reasons.
        stamp: ids, versions, and how it came about.
        explain: `none` leaves reasons and drops out, `full` adds the chances of every candidate.
        titles: product id → name, for the content of product results.
    """
    answer: dict[str, Any] = {
        "decision_id": stamp.decision_id,
        "request_id": stamp.request_id,
        "member_id": decision.member_id,
        "policy": {
            "id": decision.policy_id,
            "version": decision.policy_version,
            "experiment": decision.experiment,
            "variant": decision.variant,
            "mode": decision.mode,
        },
        "results": [_explained(one, stamp, explain, titles) for one in decision.results],
        "suppressed": [],
        "meta": {
            "took_ms": 0.0,
            "feature_age_s": stamp.feature_age_s,
            "degraded": stamp.degraded,
            "models": stamp.models,
            "cold_start": stamp.cold_start,
            "repeated": stamp.repeated,
        },
    }
    if explain != "none":
        answer["suppressed"] = [
            {"id": one.id, "stage": one.stage, "code": one.code, "until": moment(one.until)}
            for one in decision.suppressed
        ]
    if explain == "full":
        answer["chances"] = [
            {"placement": one.placement, "rank": one.rank, "probabilities": one.probabilities}
            for one in decision.chances
        ]
    return answer


def _explained(one: Result, stamp: Stamp, explain: str, titles: Mapping[str, str]) -> dict[str, Any]:
    line = _result(one, stamp, explain, titles)
    if explain == "full":
        why = explain_words.why(one, stamp.currency)
        line["explanation"] = {"why": why, "member_sentence": explain_words.for_member(one)}
    return line


def _result(one: Result, stamp: Stamp, explain: str, titles: Mapping[str, str]) -> dict[str, Any]:
    content = one.content
    if one.kind == "product" and one.id in titles:
        content = {"title": titles[one.id], **content}
    return {
        "placement": one.placement,
        "rank": one.rank,
        "id": one.id,
        "kind": one.kind,
        "probability": one.probability,
        "slate_probability": one.slate_probability,
        "value": _value(one.value, stamp.currency),
        "reasons": [] if explain == "none" else one.reasons,
        "content": content,
        "expires_at": moment(one.expires_at),
        "reservation_id": stamp.reservations.get(one.id),
    }


def _value(value: Value, currency: str) -> dict[str, Any]:
    return {
        "net": value.net,
        "score": value.score,
        "currency": currency,
        "effect": value.effect,
        "effect_interval": value.effect_interval,
        "response": value.response,
        "basis": value.basis,
        "assumed": value.basis != "experiment",
        "fatigue_basis": value.fatigue_basis,
        "lifetime_basis": value.lifetime_basis,
        "lifetime_interval": value.lifetime_interval,
        "bill": value.bill,
    }


def moment(seconds: float | None) -> str | None:
    """Epoch seconds as RFC 3339 text in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
