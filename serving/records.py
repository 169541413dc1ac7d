"""A decision's inputs and outcome as JSON and back: what stands in the header of a journal payload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.snapshot import (
    Ask,
    Bill,
    Boost,
    Chances,
    Contact,
    Decision,
    Estimate,
    FatigueEstimate,
    Learned,
    LifetimeEstimate,
    Placement,
    Reaction,
    Reason,
    ResponseEstimate,
    Result,
    Snapshot,
    Suppressed,
    Trait,
    Value,
)

LAYOUT = 1


@dataclass(frozen=True, slots=True)
class Flags:
    """What keeps a decision from being learned from, or says how it came about."""

    learnable: bool = True
    redecided: bool = False
    """The first decision of its period could not be given again, or what was drawn first could not be reserved."""
    replaces: str | None = None
    """That decision."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What has to be at hand to run the decision again."""

    catalog: str
    policy: str
    experiments: str
    models: Mapping[str, str]
    code: str = ""
    """`serving.code.version()`; empty in decisions made before it was kept."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a decision came from, beside its inputs."""

    decision_id: str
    request_id: str | None
    direction: str
    currency: str
    built_at: float | None
    """When the member's state was made, epoch seconds; None where there was none."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Given candidate → its type."""
    reservations: Mapping[str, str] = field(default_factory=dict)
    """Given candidate → its reservation."""


def header(
    origin: Origin,
    decision: Decision,
    snapshot: Snapshot,
    ask: Ask,
    learned: Learned,
    versions: Versions,
    flags: Flags,
) -> dict[str, Any]:
    """The header of a payload. Features are left out: they are finished again from the state beside the header."""
    return {
        "v": LAYOUT,
        "decision_id": origin.decision_id,
        "request_id": origin.request_id,
        "direction": origin.direction,
        "currency": origin.currency,
        "built_at": origin.built_at,
        "types": origin.types,
        "reservations": origin.reservations,
        "at": snapshot.at,
        "decision": decision,
        "ask": ask,
        "snapshot": {
            "member_id": snapshot.member_id,
            "known": snapshot.known,
            "consents": snapshot.consents,
            "contacts": snapshot.contacts,
            "exposures": snapshot.exposures,
            "paused": sorted(snapshot.paused),
            "refused": sorted(snapshot.refused),
            "prices": snapshot.prices,
            "spent_out": sorted(snapshot.spent_out),
            "degraded": snapshot.degraded,
            "reactions": snapshot.reactions,
            "timezone": snapshot.timezone,
            "redeemed_share": snapshot.redeemed_share,
            "burned_share": snapshot.burned_share,
        },
        "learned": learned,
        "versions": versions,
        "flags": flags,
    }


def snapshot_of(found: Mapping[str, Any], features: Mapping[str, float]) -> Snapshot:
    """The snapshot of a header, with the features finished again."""
    kept = found["snapshot"]
    return Snapshot(
        member_id=kept["member_id"],
        at=found["at"],
        known=kept["known"],
        features=features,
        consents=kept["consents"],
        contacts=tuple(Contact(**one) for one in kept["contacts"]),
        exposures=kept["exposures"],
        paused=frozenset(kept["paused"]),
        refused=frozenset(kept["refused"]),
        prices=kept.get("prices", {}),
        spent_out=frozenset(kept.get("spent_out", ())),
        degraded=tuple(kept["degraded"]),
        reactions=tuple(Reaction(**one) for one in kept.get("reactions", ())),
        timezone=kept.get("timezone"),
        redeemed_share=kept.get("redeemed_share"),
        burned_share=kept.get("burned_share"),
    )


def ask_of(found: Mapping[str, Any]) -> Ask:
    """What was asked."""
    kept = found["ask"]
    lists = {name: tuple(kept[name]) for name in ("include", "exclude")}
    boosts = tuple(Boost(**one) for one in kept.get("boosts", ()))
    places = tuple(Placement(**one) for one in kept["placements"])
    return Ask(**{**kept, **lists, "boosts": boosts, "placements": places})


def learned_of(found: Mapping[str, Any]) -> Learned:
    """What the models said."""
    kept = found["learned"]
    return Learned(
        churn=kept["churn"],
        products=tuple((product, score) for product, score in kept["products"]),
        responses={kind: ResponseEstimate(**one) for kind, one in kept["responses"].items()},
        effects={candidate: Estimate(**one) for candidate, one in kept.get("effects", {}).items()},
        lifetimes=_lifetimes(kept.get("lifetimes", {})),
        lifetimes_of_type=_lifetimes(kept.get("lifetimes_of_type", {})),
        fatigue=FatigueEstimate(**kept["fatigue"]) if kept.get("fatigue") else None,
        versions=kept["versions"],
        traits={product: Trait(**one) for product, one in kept.get("traits", {}).items()},
        narrowed=kept.get("narrowed", False),
    )


def _lifetimes(kept: Mapping[str, Any]) -> dict[str, LifetimeEstimate]:
    return {name: LifetimeEstimate(**one) for name, one in kept.items()}


def versions_of(found: Mapping[str, Any]) -> Versions:
    """What it rested on."""
    return Versions(**found["versions"])


def decision_of(found: Mapping[str, Any]) -> Decision:
    """What was decided."""
    kept = found["decision"]
    return Decision(
        **{
            **kept,
            "results": tuple(_result(one) for one in kept["results"]),
            "chances": tuple(Chances(**one) for one in kept["chances"]),
            "suppressed": tuple(Suppressed(**one) for one in kept["suppressed"]),
        }
    )


def _result(kept: Mapping[str, Any]) -> Result:
    worth = kept["value"]
    interval, later = worth["effect_interval"], worth.get("lifetime_interval")
    value = Value(
        **{
            **worth,
            "bill": Bill(**worth["bill"]),
            "effect_interval": None if interval is None else (interval[0], interval[1]),
            "lifetime_interval": None if later is None else (later[0], later[1]),
        }
    )
    return Result(**{**kept, "value": value, "reasons": tuple(Reason(**one) for one in kept["reasons"])})
