"""Who an earning rule for segments is for: the members who are in one of them when the rule starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from features import flows, history
from features.entities import Programme


def of(tables_dir: Path, programme: Programme) -> Mapping[str, frozenset[str]]:
    """Rule → members, for each rule that names segments and has begun; from what was known at that moment.

    Args:
        tables_dir: The folder of the tables.
        programme: Its earning rules and rule segments.
    """
    found: dict[str, frozenset[str]] = {}
    for rule in programme.earning.rules:
        if rule.segments and rule.starts is not None and rule.starts <= history.ends_at(tables_dir):
            labels = flows.labelled(tables_dir, programme, rule.starts)
            inside = labels[list(rule.segments)].any(axis=1)
            found[rule.id] = frozenset(labels.index[inside])
    return found
