"""Segments a marketer writes: a name and a rule over a member's features and labels, in `catalog/segments.yaml`.

A rule is a filter expression (`features.filters`) over every feature of the programme by its name (in backquotes where
the name has a colon or a space: `` `bought_365d:coffee` >= 2 ``) and over the words `tier`, `lifecycle` and `value`. A
number the member does not have fits no test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from features import behavior, filters, segments
from features.entities import Programme, RuleSegment
from features.written import Written, did_you_mean, sentences

FILE = "segments.yaml"
WORDS = ("tier", "lifecycle", "value")


class _Entry(Written):
    id: str
    name: str
    when: str


class _File(Written):
    segments: list[_Entry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Membership:
    """One segment the member is in, and the numbers that say so."""

    segment: RuleSegment
    because: Mapping[str, float | str]
    """Every field the rule asks about and the member has → its value."""


def parse(raw: Mapping[str, Any], programme: Programme, errors: list[str]) -> tuple[RuleSegment, ...]:
    """The segments of the file; mistakes are added to `errors`, a sentence for each."""
    try:
        written = _File.model_validate(raw)
    except ValidationError as error:
        errors.extend(sentences(error, _File, FILE))
        return ()
    known = (*WORDS, *behavior.names(programme))
    ids = [entry.id for entry in written.segments]
    for place, entry in enumerate(written.segments):
        errors.extend(f'{FILE}: segment "{entry.id}": {fault}' for fault in _faults(entry, known, ids[:place]))
    return tuple(RuleSegment(entry.id, entry.name, entry.when) for entry in written.segments)


def _faults(entry: _Entry, known: tuple[str, ...], earlier: list[str]) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", entry.id):
        yield 'this is no id: use up to 64 of a-z, 0-9, "-" and "_", and begin with a letter or digit'
    if entry.id in earlier:
        yield "the id is used twice; rename one"
    try:
        asked = filters.names(entry.when)
    except filters.FilterError as error:
        yield f"when: {error}"
        return
    for name in asked:
        if name not in known:
            hint = did_you_mean(name, known)
            yield f'when: there is no feature "{name}"{hint}; `tessera segments --fields` lists all'


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


def path(folder: Path) -> Path:
    """Where the file lies, if there is one."""
    return folder / FILE
