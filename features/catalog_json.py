"""A checked catalogue as JSON and back, so that a decision can be run again with the catalogue it was made from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from features import budgets_written
from features.entities import (
    Candidate,
    Catalog,
    Conditions,
    Economics,
    Limits,
    Occasion,
    PointsRules,
    Programme,
    RuleSegment,
    SegmentRules,
    Tier,
    TierRules,
)
from features.ledger import written as earning_written


def to_json(catalog: Catalog) -> bytes:
    """The whole catalogue as JSON, from which `from_json` makes an equal one."""
    return orjson.dumps(catalog)


def from_json(text: bytes) -> Catalog:
    """The catalogue that `to_json` wrote."""
    raw = orjson.loads(text)
    rules = raw["programme"]
    programme = Programme(
        **{
            **rules,
            "tiers": tuple(Tier(**tier) for tier in rules["tiers"]),
            "points": PointsRules(**rules["points"]),
            "segments": SegmentRules(**rules["segments"]),
            "rule_segments": tuple(RuleSegment(**one) for one in rules.get("rule_segments", ())),
            "region_timezones": tuple((region, zone) for region, zone in rules.get("region_timezones", ())),
            "earning": earning_written.again(rules.get("earning", {})),
            "tier_rules": TierRules(**rules.get("tier_rules", {})),
        }
    )
    families = {name: tuple(_candidate(row) for row in raw[name]) for name in ("offers", "actions", "benefits")}
    budgets = tuple(budgets_written.from_json(row) for row in raw.get("budgets", ()))
    return Catalog(version=raw["version"], programme=programme, budgets=budgets, **families)


def _candidate(row: dict[str, Any]) -> Candidate:
    conditions: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row["conditions"].items()
    }
    return Candidate(
        **{
            **row,
            "conditions": Conditions(**conditions),
            "limits": Limits(**row["limits"]),
            "economics": Economics(**row["economics"]),
            "starts": _time(row["starts"]),
            "ends": _time(row["ends"]),
            "placements": tuple(row["placements"]),
            "channels": tuple(row["channels"]),
            "tags": tuple(row["tags"]),
            "occasion": _occasion(row.get("occasion")),
        }
    )


def _occasion(row: dict[str, Any] | None) -> Occasion | None:
    return None if row is None else Occasion(**{**row, "at": datetime.fromisoformat(row["at"])})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
