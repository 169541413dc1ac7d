"""The marketer's `earning.yaml`: read into rules, or every mistake in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from features import filters
from features.catalog_entries import Days, Id, Moment, Money
from features.entities import Programme
from features.ledger.rules import SPENDING, Earning, EarningLimit, EarningRule, Occasion, SpendingRule
from features.written import Written, did_you_mean, moment, sentences

FILE = "earning.yaml"
Count = Annotated[int, Field(ge=0, le=10_000_000)]


class LimitEntry(Written):
    """How much at most."""

    times: Annotated[int, Field(ge=1)] | None = None
    points: Annotated[int, Field(ge=1)] | None = None
    per: Literal["day", "week", "month", "year", "ever"] = "month"


class RuleEntry(Written):
    """One earning rule as it is written."""

    id: Id
    type: Occasion
    points: Count = 0
    multiplier: Annotated[float, Field(ge=1, le=100)] = 1.0
    points_referred: Count = 0
    days: Annotated[int, Field(ge=1, le=366)] = 1
    min_spend: Money = 0.0
    categories: list[str] = Field(default_factory=list)
    products: list[str] = Field(default_factory=list)
    tiers: list[str] = Field(default_factory=list)
    segments: list[str] = Field(default_factory=list)
    starts: Moment = None
    ends: Moment = None
    expiry_days: Days | None = None
    limit: LimitEntry = LimitEntry()

    def rule(self, zone: str) -> EarningRule:
        """The same as the other rooms know it."""
        lists = ("categories", "products", "tiers", "segments")
        plain = self.model_dump(exclude={*lists, "starts", "ends", "limit"})
        words: dict[str, Any] = {name: tuple(getattr(self, name)) for name in lists}
        times: dict[str, Any] = {"starts": moment(self.starts, zone), "ends": moment(self.ends, zone)}
        return EarningRule(**plain, **words, **times, limit=EarningLimit(**self.limit.model_dump()))


class ChannelEntry(Written):
    """What points are worth in one channel."""

    value_per_point: Annotated[float, Field(gt=0)]
    cost_per_point: Money | None = None
    min_points: Annotated[int, Field(ge=1)] = 1
    step: Annotated[int, Field(ge=1)] = 1


class EarningFile(Written):
    """`earning.yaml`."""

    rules: list[RuleEntry] = Field(default_factory=list)
    channels: dict[str, ChannelEntry] = Field(default_factory=dict)


def path(folder: Path) -> Path:
    """Where the file lies, if there is one."""
    return folder / FILE


def parse(raw: Mapping[str, Any], programme: Programme, errors: list[str], file: str = FILE) -> Earning:
    """The rules of the file; mistakes are added to `errors`, a sentence for each.

    Args:
        raw: what the YAML holds.
        programme: its tiers, segments and time zone.
        errors: grows.
        file: the name to give in sentences.
    """
    try:
        written = EarningFile.model_validate(raw)
    except ValidationError as error:
        errors.extend(_named(sentence, raw) for sentence in sentences(error, EarningFile, file))
        return Earning()
    rules = tuple(entry.rule(programme.timezone) for entry in written.rules)
    for place, rule in enumerate(rules):
        errors.extend(f'{file}: rule "{rule.id}": {fault}' for fault in _faults(rule, programme))
        if rule.id in [other.id for other in rules[:place]]:
            errors.append(f'{file}: rule "{rule.id}": the id is used twice; rename one')
    errors.extend(
        f'{file}: channels names "{name}"{did_you_mean(name, SPENDING)}'
        for name in written.channels
        if name not in SPENDING
    )
    channels = tuple(SpendingRule(name, **entry.model_dump()) for name, entry in sorted(written.channels.items()))
    return Earning(rules, channels)


def _named(sentence: str, raw: Mapping[str, Any]) -> str:
    """Put a rule's id in the place of its position."""
    rules = raw.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        if isinstance(rule, dict) and "id" in rule:
            sentence = sentence.replace(f'"rules.{index}.', f'rule "{rule["id"]}": "')
            sentence = sentence.replace(f" rules.{index}.", f' rule "{rule["id"]}": ')
    return sentence


def _faults(rule: EarningRule, programme: Programme) -> Iterator[str]:
    yield from _reward_faults(rule)
    yield from _misplaced(rule)
    if rule.starts and rule.ends and rule.starts >= rule.ends:
        yield f"ends {rule.ends:%Y-%m-%d} is not after it starts {rule.starts:%Y-%m-%d}; correct one of them"
    tiers = [tier.id for tier in programme.tiers]
    yield from (f'tiers names "{one}"{did_you_mean(one, tiers)}' for one in rule.tiers if one not in tiers)
    yield from _segment_faults(rule, programme)


def _reward_faults(rule: EarningRule) -> Iterator[str]:
    if rule.id == "spend":
        yield 'the id "spend" is kept for what a basket earns at the rate of its tier; choose another'
    if rule.multiplier > 1 and rule.type != "purchase":
        yield f"multiplier {rule.multiplier:g} needs money to multiply; type {rule.type} takes points"
    if rule.multiplier > 1 and rule.points:
        yield f"gives both a multiplier {rule.multiplier:g} and {rule.points} points; make two rules of it"
    if rule.multiplier == 1 and rule.points + rule.points_referred == 0:
        yield "gives nothing: write points, or for purchases a multiplier above 1"


_ONLY: Mapping[str, tuple[str, ...]] = {
    "days": ("check_in_streak",),
    "points_referred": ("referral",),
    "categories": ("purchase",),
    "products": ("purchase",),
    "min_spend": ("purchase", "referral"),
}
_NOTHING = EarningRule("nothing", "purchase")


def _misplaced(rule: EarningRule) -> Iterator[str]:
    for name, occasions in _ONLY.items():
        if getattr(rule, name) != getattr(_NOTHING, name) and rule.type not in occasions:
            yield f"{name} means nothing for type {rule.type}; it belongs to {' and '.join(occasions)}, leave it out"
    if rule.type == "check_in_streak" and rule.days < 2:
        yield "days 1 is no streak; write how many days in a row, or take type check_in"


def _segment_faults(rule: EarningRule, programme: Programme) -> Iterator[str]:
    if rule.segments and rule.starts is None:
        yield "segments need `starts`: the audience are the members who are in them at that moment"
    known = {one.id: one for one in programme.rule_segments}
    for name in rule.segments:
        if name not in known:
            yield f'segments names "{name}"{did_you_mean(name, known)}'
        elif any(asked.startswith("points_") for asked in filters.names(known[name].when)):
            yield (
                f'segment "{name}" asks about points, which this rule itself changes: the audience would depend on '
                "itself; name a segment that does not"
            )


def again(raw: Mapping[str, Any]) -> Earning:
    """The rules as a catalogue's JSON holds them."""
    rules = tuple(
        EarningRule(**{name: _again(name, value) for name, value in row.items()}) for row in raw.get("rules", ())
    )
    return Earning(rules, tuple(SpendingRule(**row) for row in raw.get("channels", ())))


def _again(name: str, value: Any) -> Any:
    if name in ("starts", "ends"):
        return None if value is None else datetime.fromisoformat(value)
    if name == "limit":
        return EarningLimit(**value)
    return tuple(value) if isinstance(value, list) else value
