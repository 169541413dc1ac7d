"""The marketer's catalogue: its YAML files in, one checked `Catalog` out, or every mistake at once in plain words."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from features import budgets_written, segments_written, standing
from features.catalog_entries import Entry, ProgrammeFile
from features.catalog_faults import faults
from features.catalog_json import from_json, to_json
from features.entities import (
    DO_NOTHING,
    Budget,
    Candidate,
    Catalog,
    Family,
    Programme,
    RuleSegment,
)
from features.ledger import written as earning_written
from features.ledger.rules import Earning
from features.written import WrittenError, did_you_mean, read, sentences

__all__ = ["FILES", "CatalogError", "from_json", "load", "to_json"]

FILES: dict[str, Family] = {"offers": "offer", "actions": "action", "benefits": "benefit"}


class CatalogError(ValueError):
    """The catalogue cannot be used; `errors` holds a sentence for every mistake in all its files."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load(folder: Path) -> Catalog:
    """Read `tiers.yaml`, `offers.yaml`, `actions.yaml` and `benefits.yaml`; others where they are there.

    A date stands for the start of that day in the programme's time zone; `ends` is the first moment an entry no
    longer holds. `catalog.actions` always has exactly one entry of type `do_nothing`.

    Raises:
        CatalogError: with all mistakes of all files, each naming file, entry, value, rule and way out.
    """
    errors: list[str] = []
    digest = hashlib.sha256()
    programme = _programme(folder, errors, digest)
    tiers = tuple(tier.id for tier in programme.tiers) if programme else ()
    zone = programme.timezone if programme else "UTC"
    seen: dict[str, str] = {}
    found = {name: _entries(folder, name, zone, tiers, seen, errors, digest) for name in FILES}
    if programme is not None:
        programme = replace(programme, rule_segments=_rule_segments(folder, programme, errors, digest))
        errors.extend(_segment_faults(found, programme))
        programme = replace(programme, earning=_earning(folder, programme, errors, digest))
    budgets = _with_seats(_budgets(folder, programme, found, errors, digest), found)
    if errors or programme is None:
        raise CatalogError(errors)
    actions = found["actions"]
    if all(action.type != "do_nothing" for action in actions):
        actions = (*actions, DO_NOTHING)
    return Catalog(digest.hexdigest()[:12], programme, found["offers"], actions, found["benefits"], budgets)


def _raw(path: Path, errors: list[str], digest: Any) -> dict[str, Any] | None:
    try:
        content, value = read(path)
    except WrittenError as error:
        errors.append(str(error))
        return None
    digest.update(path.name.encode() + b"\0" + content + b"\0")
    return value


def _programme(folder: Path, errors: list[str], digest: Any) -> Programme | None:
    raw = _raw(folder / "tiers.yaml", errors, digest)
    if raw is None:
        return None
    try:
        written = ProgrammeFile.model_validate(raw)
    except ValidationError as error:
        errors.extend(_named(sentence, raw) for sentence in sentences(error, ProgrammeFile, "tiers.yaml"))
        return None
    rules = written.tier_rules.rules()
    wrong = [f"tiers.yaml: {one}" for one in (*_ladder_faults(written), *standing.faults(rules, written.ladder()))]
    errors.extend(wrong)
    return Programme(
        currency=written.currency,
        timezone=written.timezone,
        tiers=written.ladder(),
        points=written.points_rules(),
        segments=written.segment_rules(),
        default_margin_rate=written.default_margin_rate,
        churn_horizon_days=written.churn_horizon_days,
        region_timezones=tuple(sorted(written.region_timezones.items())),
        tier_rules=rules,
    )


def _rule_segments(folder: Path, programme: Programme, errors: list[str], digest: Any) -> tuple[RuleSegment, ...]:
    """The marketer's segments; a catalogue without the file has none."""
    if not segments_written.path(folder).exists():
        return ()
    raw = _raw(segments_written.path(folder), errors, digest)
    return () if raw is None else segments_written.parse(raw, programme, errors)


def _earning(folder: Path, programme: Programme, errors: list[str], digest: Any) -> Earning:
    """The marketer's earning rules; a catalogue without the file has none."""
    if not earning_written.path(folder).exists():
        return Earning()
    raw = _raw(earning_written.path(folder), errors, digest)
    return Earning() if raw is None else earning_written.parse(raw, programme, errors)


def _budgets(
    folder: Path,
    programme: Programme | None,
    found: Mapping[str, tuple[Candidate, ...]],
    errors: list[str],
    digest: Any,
) -> tuple[Budget, ...]:
    """The budgets; a catalogue without the file has none."""
    if programme is None or not budgets_written.path(folder).exists():
        return ()
    raw = _raw(budgets_written.path(folder), errors, digest)
    candidates = None if errors else [one for many in found.values() for one in many]
    return () if raw is None else budgets_written.parse(raw, programme, candidates, errors)


def _with_seats(budgets: tuple[Budget, ...], found: Mapping[str, tuple[Candidate, ...]]) -> tuple[Budget, ...]:
    """The budgets with the seats of events, unless somebody wrote those as a budget of their own."""
    written = {one.id for one in budgets}
    seats = budgets_written.seats(one for many in found.values() for one in many)
    return (*budgets, *(one for one in seats if one.id not in written))


def _segment_faults(found: Mapping[str, tuple[Candidate, ...]], programme: Programme) -> Iterator[str]:
    known = [one.id for one in programme.rule_segments]
    for name, candidates in found.items():
        for one in candidates:
            for asked in one.conditions.segments:
                if asked not in known:
                    yield (
                        f'{name}.yaml: {one.family} "{one.id}": conditions.segments names the unknown segment '
                        f'"{asked}"{did_you_mean(asked, known)}; segments are written in {segments_written.FILE}'
                    )


def _named(sentence: str, raw: dict[str, Any]) -> str:
    """Put a tier's id in the place of its position: `tiers.1.min_spend` → `tier "gold": min_spend`."""
    tiers = raw.get("tiers")
    for index, tier in enumerate(tiers if isinstance(tiers, list) else []):
        if isinstance(tier, dict) and "id" in tier:
            sentence = sentence.replace(f'"tiers.{index}.', f'tier "{tier["id"]}": "')
            sentence = sentence.replace(f" tiers.{index}.", f' tier "{tier["id"]}": ')
    return sentence


def _ladder_faults(written: ProgrammeFile) -> Iterator[str]:
    ladder = written.ladder()
    if ladder[0].min_spend != 0:
        yield (
            f'tier "{ladder[0].id}": min_spend {ladder[0].min_spend:g} is the lowest, so new members would have no '
            "tier; add a tier with min_spend 0"
        )
    for low, high in pairwise(ladder):
        if low.min_spend == high.min_spend:
            yield f'tier "{high.id}": min_spend {high.min_spend:g} is that of tier "{low.id}" too; make one higher'
    for before, after in pairwise(written.tiers):
        if after.min_spend < before.min_spend:
            yield (
                f'tier "{after.id}": min_spend {after.min_spend:g} is below the {before.min_spend:g} of tier '
                f'"{before.id}" before it; list the tiers from the lowest to the highest, or correct the number'
            )
    ids = [tier.id for tier in ladder]
    for twice in sorted({one for one in ids if ids.count(one) > 1}):
        yield f'tier "{twice}" is written {ids.count(twice)} times; keep one'
    rules = written.segments
    if rules.potential_spend_365d > rules.high_spend_365d:
        yield (
            f"segments.potential_spend_365d {rules.potential_spend_365d:g} is above high_spend_365d "
            f"{rules.high_spend_365d:g}; potential members spend less than high ones, swap them"
        )


def _entries(
    folder: Path,
    name: str,
    zone: str,
    tiers: tuple[str, ...],
    seen: dict[str, str],
    errors: list[str],
    digest: Any,
) -> tuple[Candidate, ...]:
    raw = _raw(folder / f"{name}.yaml", errors, digest)
    if raw is None:
        return ()
    errors.extend(f'{name}.yaml: unknown key "{key}"{did_you_mean(str(key), [name])}' for key in raw if key != name)
    rows = raw.get(name)
    if not isinstance(rows, list):
        errors.append(f'{name}.yaml: a list below "{name}:" is missing; write "{name}: []" for none')
        return ()
    found = (_entry(f"{name}.yaml", FILES[name], index, row, zone, tiers, errors) for index, row in enumerate(rows))
    candidates = tuple(candidate for candidate in found if candidate is not None)
    for row in rows:
        _once(f"{name}.yaml", FILES[name], row, seen, errors)
    return candidates


def _entry(
    file: str, family: Family, index: int, row: object, zone: str, tiers: tuple[str, ...], errors: list[str]
) -> Candidate | None:
    prefix = f"{file}: {family} {_label(row, index)}"
    if not isinstance(row, dict):
        errors.append(f'{prefix}: {row} is no entry; write keys and values below "- id: …"')
        return None
    try:
        entry = Entry.model_validate(row)
    except ValidationError as error:
        errors.extend(sentences(error, Entry, prefix))
        rest = _without(row, error)
        money = all(fault["loc"][0] != "economics" for fault in error.errors())
        more = faults(rest, family, zone, tiers, money=money) if rest else []
        errors.extend(f"{prefix}: {fault}" for fault in more)
        return None
    errors.extend(f"{prefix}: {fault}" for fault in faults(entry, family, zone, tiers))
    return entry.candidate(family, zone)


def _label(row: object, index: int) -> str:
    name = row.get("id") if isinstance(row, dict) else None
    return f"number {index + 1}" if name is None else f'"{name}"'


def _without(row: dict[str, Any], error: ValidationError) -> Entry | None:
    """The entry without what was refused, so that the rules about the rest can be told too; None if nothing is left."""
    rest = copy.deepcopy(row)
    for fault in error.errors():
        here: Any = rest
        for part in fault["loc"]:
            inner = here.get(part)
            if not isinstance(inner, dict):
                here.pop(part, None)
                break
            here = inner
    try:
        return Entry.model_validate({"id": "unnamed", "name": "unnamed", **rest})
    except ValidationError:
        return None


def _once(file: str, family: Family, row: object, seen: dict[str, str], errors: list[str]) -> None:
    name = row.get("id") if isinstance(row, dict) else None
    if not isinstance(name, str):
        return
    if name in seen:
        errors.append(
            f'{file}: {family} "{name}": the id is already used in {seen[name]}; ids are unique over offers, actions '
            "and benefits, rename one"
        )
    seen.setdefault(name, file)
