"""The values of a decision as JSON and back, bit for bit: floats keep every digit, a missing number is null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import nan
from typing import Any

import orjson

from serving.snapshot import (
    Ask,
    Bill,
    Chances,
    Contact,
    Decision,
    Learned,
    Placement,
    Reason,
    ResponseEstimate,
    Result,
    Snapshot,
    Suppressed,
    Value,
)


def dumps(value: Snapshot | Ask | Learned | Decision) -> bytes:
    """The value as JSON; sets are written in order, so that equal values give equal bytes."""
    return orjson.dumps(value, default=sorted)


def plain(value: Snapshot | Ask | Learned | Decision, *, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The value as what JSON knows, one level unwrapped, for a header that is written as JSON later.

    `leave_out` names fields that are kept elsewhere (a snapshot's `features` come out of the state).
    """
    left = {one.name: getattr(value, one.name) for one in fields(value) if one.name not in leave_out}
    return {name: sorted(one) if isinstance(one, frozenset) else one for name, one in left.items()}


def snapshot(raw: Mapping[str, Any], features: Mapping[str, float] | None = None) -> Snapshot:
    """A snapshot from its JSON; `features` take the place of those that were left out."""
    if features is None:
        features = {name: nan if one is None else one for name, one in raw.get("features", {}).items()}
    return Snapshot(
        **{
            **raw,
            "features": features,
            "contacts": tuple(Contact(**one) for one in raw.get("contacts", ())),
            "paused": frozenset(raw.get("paused", ())),
            "refused": frozenset(raw.get("refused", ())),
            "degraded": tuple(raw.get("degraded", ())),
        }
    )


def ask(raw: Mapping[str, Any]) -> Ask:
    """What was asked, from its JSON."""
    return Ask(
        **{
            **raw,
            "placements": tuple(Placement(**one) for one in raw["placements"]),
            "include": tuple(raw.get("include", ())),
            "exclude": tuple(raw.get("exclude", ())),
        }
    )


def learned(raw: Mapping[str, Any]) -> Learned:
    """What the champions said, from its JSON."""
    return Learned(
        churn=raw.get("churn"),
        products=tuple((product, score) for product, score in raw.get("products", ())),
        responses={name: ResponseEstimate(**one) for name, one in raw.get("responses", {}).items()},
        versions=raw.get("versions", {}),
    )


def decision(raw: Mapping[str, Any]) -> Decision:
    """A decision from its JSON."""
    return Decision(
        **{
            **raw,
            "results": tuple(_result(one) for one in raw["results"]),
            "chances": tuple(Chances(**one) for one in raw["chances"]),
            "suppressed": tuple(Suppressed(**one) for one in raw["suppressed"]),
        }
    )


def _result(raw: Mapping[str, Any]) -> Result:
    worth = raw["value"]
    interval = worth["effect_interval"]
    value = {**worth, "bill": Bill(**worth["bill"]), "effect_interval": None if interval is None else tuple(interval)}
    return Result(**{**raw, "value": Value(**value), "reasons": tuple(Reason(**one) for one in raw["reasons"])})
