"""The four policies of a rehearsal, each the operator's own policy with some of it changed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

OURS = "ours"
_CERTAIN: Mapping[str, Any] = {"families": {"offer": {"explore": False}}}
POLICIES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "random": {
            "families": {"offer": {"explore": True}},
            "exploration": {"allowance": 1_000_000.0, "gamma": 0.0, "floor": 1.0},
            "bill": {"prices": False},
        },
        "response": {
            **_CERTAIN,
            "delta": 0.0,
            "bill": {"margin": "response", "liability": False, "fatigue": False, "prices": False},
        },
        "effect": {**_CERTAIN, "bill": {"prices": False}},
        OURS: {},
    }
)
"""Name → what of `policy.yaml` it changes. All keep salt, holdout and floor: the same members are held out."""
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "random": "random eligible",
        "response": "response × value, hard caps",
        "effect": "effect, hard caps",
        OURS: "ours",
    }
)
BASELINES = tuple(name for name in POLICIES if name != OURS)


def with_prices(name: str) -> bool:
    """Whether shadow prices are solved for this policy."""
    return bool(POLICIES[name].get("bill", {}).get("prices", True))
