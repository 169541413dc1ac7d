"""The marketer's `segments.yaml`: read into rule segments, or every mistake in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from features import behavior, filters
from features.entities import Programme, RuleSegment
from features.written import Written, did_you_mean, sentences

FILE = "segments.yaml"
WORDS = ("tier", "lifecycle", "value")
"""What a rule may ask about beside the features."""


class _Entry(Written):
    id: str
    name: str
    when: str


class _File(Written):
    segments: list[_Entry] = Field(default_factory=list)


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


def path(folder: Path) -> Path:
    """Where the file lies, if there is one."""
    return folder / FILE
