"""Segments a marketer writes: a name and a rule over a member's features and labels, in `catalog/segments.yaml`.

A rule is a filter expression (`features.filters`) over every feature of the programme by its name (in backquotes where
the name has a colon or a space: `` `bought_365d:coffee` >= 2 ``) and over the words `tier`, `lifecycle` and `value`. A
number the member does not have fits no test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from features import filters, segments
from features.entities import Programme, RuleSegment


@dataclass(frozen=True, slots=True)
class Membership:
    """One segment the member is in, and the numbers that say so."""

    segment: RuleSegment
    because: Mapping[str, float | str]
    """Every field the rule asks about and the member has → its value."""


def facts(features: Mapping[str, float], programme: Programme) -> dict[str, float | str]:
    """What rules may ask about one member: numbers that are there, and the three words."""
    found: dict[str, float | str] = {name: value for name, value in features.items() if value == value}
    rank = min(int(found.get("tier_rank", 0.0)), len(programme.tiers) - 1)
    found["tier"] = programme.tiers[max(rank, 0)].id
    found["lifecycle"] = segments.lifecycle(features, programme.segments)[0]
    found["value"] = segments.value_label(features, programme.segments)[0]
    return found


def of(features: Mapping[str, float], programme: Programme) -> frozenset[str]:
    """The ids of the segments a member with these features is in."""
    if not programme.rule_segments:
        return frozenset()
    known = facts(features, programme)
    return frozenset(one.id for one in programme.rule_segments if filters.compile(one.when, {})(known))


def explained(features: Mapping[str, float], programme: Programme) -> tuple[Membership, ...]:
    """The same with the numbers behind each membership, in the order of the file."""
    known, inside = facts(features, programme), of(features, programme)
    return tuple(
        Membership(one, {name: known[name] for name in filters.names(one.when) if name in known})
        for one in programme.rule_segments
        if one.id in inside
    )
