"""A programme, a policy and members to decide for, with numbers that are easy to work out by hand."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

from features import catalog as catalogs
from features.entities import Candidate, Catalog
from features.written import merged
from serving import policy as policies
from serving.policy import Policy
from serving.snapshot import Ask, Learned, Placement, Snapshot

CONFIGS = Path(__file__).parents[2] / "configs"
CATALOG = catalogs.load(CONFIGS / "catalog")
POLICY = policies.load(CONFIGS / "policy.yaml")
DAY = 86400.0
AT = 20_000 * DAY + 3600.0
CONSENTS = {"personalisation": True, "email": True, "sms": True, "push": True, "call": True}
FEATURES = {
    "recency_days": 12.0,
    "tenure_days": 400.0,
    "lifetime_baskets": 30.0,
    "baskets_365d": 20.0,
    "spend_365d": 900.0,
    "avg_basket_value": 40.0,
    "recency_over_gap": 0.8,
    "points_balance": 800.0,
    "points_expiring_30d": 0.0,
    "tier_rank": 1.0,
    "spend_to_next_tier": 300.0,
}


def varied(**over: Any) -> Policy:
    """The example policy with other values in it."""
    return policies.parse(merged(POLICY.model_dump(mode="json"), over))


EVERYBODY = varied(holdout={"share": 0.0}, contact={"quiet_hours": []})
"""Nobody is held out, and no hour is quiet."""
CERTAIN = varied(
    holdout={"share": 0.0},
    contact={"quiet_hours": []},
    families={
        family: {"do_nothing_floor": 0.0, "explore": False} for family in ("offer", "action", "benefit", "product")
    },
)
"""Nothing is left to chance either."""


def member(name: str = "m1", **features: float) -> Snapshot:
    """A member whom we know well: active, silver, 40 a basket."""
    return Snapshot(name, AT, known=True, features={**FEATURES, **features}, consents=CONSENTS)


def stranger(name: str = "u1") -> Snapshot:
    """Somebody of whom nothing is known."""
    return Snapshot(name, AT, known=False)


def offers(*candidates: Candidate) -> Catalog:
    """The example programme with these offers only."""
    return replace(CATALOG, version="-".join(one.id for one in candidates), offers=candidates)


def ask(family: Any = "offer", count: int = 1, **more: Any) -> Ask:
    """One placement of an app."""
    return Ask(family, (Placement("home", count),), **{"channel": "app", **more})


def only(**features: float) -> dict[str, float]:
    """Features where all but these are missing."""
    return {**dict.fromkeys(FEATURES, nan), **features}


KNOWN = Learned(churn=0.2, products=(("p1", 3.0), ("p2", 2.0), ("p3", 1.0)))
