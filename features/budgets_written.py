"""`budgets.yaml` as a marketer writes it: a list of budgets, checked against the candidates they pay for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from features.catalog_entries import CHANNELS, TYPES, Days, Id, Moment, Text
from features.entities import Budget, Candidate, Programme
from features.written import Written, did_you_mean, moment, sentences

FILE = "budgets.yaml"
OUTBOUND = ("email", "sms", "push", "call")
"""Channels through which a message goes out."""
_ALL_TYPES = tuple(sorted({one for many in TYPES.values() for one in many} - {"do_nothing"}))
_FAMILIES = ("offer", "action", "benefit")
_LISTS = ("candidates", "types", "families", "channels", "tiers", "tags")


class BudgetEntry(Written):
    """One budget."""

    id: Id
    name: Text
    unit: Literal["money", "points", "messages", "units"]
    amount: Annotated[float, Field(gt=0, le=1e12)]
    every_days: Days | None = None
    starts: Moment = None
    ends: Moment = None
    candidates: list[str] = Field(default_factory=list)
    types: list[str] = Field(default_factory=list)
    families: list[str] = Field(default_factory=list)
    channels: list[str] = Field(default_factory=list)
    tiers: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    hard: bool = False
    overspend: Annotated[float, Field(gt=0, le=0.2)] = 0.001

    def budget(self, zone: str) -> Budget:
        """The same as the other rooms know it; times are aware and in UTC."""
        lists: dict[str, Any] = {name: tuple(getattr(self, name)) for name in _LISTS}
        return Budget(
            id=self.id,
            name=self.name,
            unit=self.unit,
            amount=self.amount,
            every_days=self.every_days,
            starts=moment(self.starts, zone),
            ends=moment(self.ends, zone),
            hard=self.hard,
            overspend=self.overspend,
            **lists,
        )


def path(folder: Path) -> Path:
    """Where the budgets of a catalogue are written, if it has any."""
    return folder / FILE


def parse(
    raw: dict[str, Any], programme: Programme, candidates: Sequence[Candidate] | None, errors: list[str]
) -> tuple[Budget, ...]:
    """The budgets that `raw` holds; a sentence for each mistake is added to `errors`.

    Without `candidates`, as some of them are wrong themselves, what a budget says of them is not looked at.
    """
    errors.extend(
        f'{FILE}: unknown key "{key}"{did_you_mean(str(key), ["budgets"])}' for key in raw if key != "budgets"
    )
    rows = raw.get("budgets")
    if not isinstance(rows, list):
        errors.append(f'{FILE}: a list below "budgets:" is missing; write "budgets: []" for none')
        return ()
    found: dict[str, Budget] = {}
    for index, row in enumerate(rows):
        budget = _budget(row, index, programme, candidates, errors)
        if budget is None:
            continue
        if budget.id in found:
            errors.append(f'{FILE}: budget "{budget.id}" is written twice; rename one')
        found[budget.id] = budget
    return tuple(found.values())


def _budget(
    row: object, index: int, programme: Programme, candidates: Sequence[Candidate] | None, errors: list[str]
) -> Budget | None:
    name = row.get("id") if isinstance(row, dict) else None
    prefix = f"{FILE}: budget " + (f"number {index + 1}" if name is None else f'"{name}"')
    try:
        budget = BudgetEntry.model_validate(row).budget(programme.timezone)
    except ValidationError as error:
        errors.extend(sentences(error, BudgetEntry, prefix))
        return None
    faults = list(_numbers(budget))
    if candidates is not None:
        faults += _words(budget, programme, candidates)
        faults = faults or list(_idle(budget, candidates))
    errors.extend(f"{prefix}: {fault}" for fault in faults)
    return budget


def _words(budget: Budget, programme: Programme, candidates: Sequence[Candidate]) -> Iterator[str]:
    """Names of what does not exist."""
    known: dict[str, Iterable[str]] = {
        "candidates": [one.id for one in candidates],
        "types": _ALL_TYPES,
        "families": _FAMILIES,
        "channels": OUTBOUND if budget.unit == "messages" else CHANNELS,
        "tiers": [tier.id for tier in programme.tiers],
        "tags": {tag for one in candidates for tag in one.tags},
    }
    for name, words in known.items():
        there = sorted(words)
        for asked in getattr(budget, name):
            if asked not in there:
                what = "outbound channel" if name == "channels" and budget.unit == "messages" else name[:-1]
                yield f'{name} names the unknown {_SINGULAR.get(name, what)} "{asked}"{did_you_mean(asked, there)}'


_SINGULAR = {"families": "family"}


def _numbers(budget: Budget) -> Iterator[str]:
    if budget.unit in ("messages", "units") and budget.amount != int(budget.amount):
        yield f"amount {budget.amount:g} of {budget.unit} is not whole; write a whole number"
    starts, ends = budget.starts, budget.ends
    if starts is not None and ends is not None and starts >= ends:
        yield f"ends {_day(ends)} before it starts {_day(starts)}; swap them or correct the year"


def _day(when: datetime) -> str:
    return when.date().isoformat()


def _idle(budget: Budget, candidates: Sequence[Candidate]) -> Iterator[str]:
    """What is right in itself but pays for nothing."""
    paid = [one for one in candidates if one.type != "do_nothing" and pays_for(budget, one)]
    if not paid:
        yield "pays for nothing: no candidate fits all its lists together; take one of them out"
        return
    if budget.unit == "points" and not any(one.economics.points for one in paid):
        yield f"pays for nothing: {_some(paid)} give no points; name candidates that do, or change the unit"
    money = any(one.economics.discount or one.economics.cost or one.economics.contact_cost for one in paid)
    if budget.unit == "money" and not money and not budget.channels:
        yield f"pays for nothing: {_some(paid)} cost no money; name candidates that do, or change the unit"


def _some(candidates: Sequence[Candidate]) -> str:
    names = [one.id for one in candidates[:3]]
    return ", ".join(names) + (" and others" if len(candidates) > 3 else "")


def pays_for(budget: Budget, candidate: Candidate) -> bool:
    """Whether the budget pays for the candidate, as far as that hangs on neither member nor channel."""
    return (
        (not budget.candidates or candidate.id in budget.candidates)
        and (not budget.types or candidate.type in budget.types)
        and (not budget.families or candidate.family in budget.families)
        and (not budget.tags or not set(budget.tags).isdisjoint(candidate.tags))
        and _reachable(budget, candidate)
    )


def _reachable(budget: Budget, candidate: Candidate) -> bool:
    wanted = budget.channels or (OUTBOUND if budget.unit == "messages" else ())
    return not wanted or not candidate.channels or not set(wanted).isdisjoint(candidate.channels)


def seats(candidates: Iterable[Candidate]) -> Iterator[Budget]:
    """The stock that each invitation with a capacity has without anybody writing it: its seats, until it begins."""
    for one in candidates:
        if one.occasion is not None and one.occasion.capacity is not None:
            name, amount = f"Seats of {one.name}", float(one.occasion.capacity)
            yield Budget(f"{one.id}-seats", name, "units", amount, ends=one.occasion.at, candidates=(one.id,))


def from_json(row: dict[str, Any]) -> Budget:
    """The budget that a catalogue's JSON holds."""
    lists: dict[str, Any] = {name: tuple(row[name]) for name in _LISTS}
    times = {name: None if row[name] is None else datetime.fromisoformat(row[name]) for name in ("starts", "ends")}
    return Budget(**{**row, **lists, **times})
