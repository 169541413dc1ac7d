"""Experiments as a marketer writes them, one YAML file each, and as the rest of serving knows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, ValidationError

from features.catalog_entries import Id
from features.written import Written, WrittenError, moment, read, sentences

BUCKETS = 10_000


class ExperimentError(ValueError):
    """The experiments cannot be used; `errors` holds a sentence for every mistake in all files."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class VariantEntry(Written):
    """One arm, as written."""

    id: Id
    weight: Annotated[float, Field(ge=0, le=1)]
    offers: list[str] | None = None
    policy: dict[str, Any] = Field(default_factory=dict)


class TargetingEntry(Written):
    """Who is meant, as written."""

    tiers: list[str] = Field(default_factory=list)
    lifecycles: list[Literal["new", "active", "at-risk", "lapsed"]] = Field(default_factory=list)


class ExperimentEntry(Written):
    """One file of `configs/experiments/`."""

    key: Id
    owner: str = ""
    hypothesis: Annotated[str, Field(min_length=10)]
    layer: Id
    layer_salt: Annotated[str, Field(min_length=1)]
    layer_buckets: list[list[int]]
    salt: Annotated[str, Field(min_length=1)]
    hash_algo: Literal["fnv1a32x2-10k"]
    families: list[Literal["offer", "action"]] = Field(default=["offer", "action"])
    targeting: TargetingEntry = TargetingEntry()
    start: datetime | date
    ends: datetime | date | None = None
    coverage: Annotated[float, Field(ge=0, le=1)] = 1.0
    variants: Annotated[list[VariantEntry], Field(min_length=2)]


@dataclass(frozen=True, slots=True)
class Variant:
    """One arm. Of the candidates an experiment is about, its members may get only `offers`."""

    id: str
    weight: float
    offers: frozenset[str] = frozenset()
    override: str = ""
    """JSON that is put over the policy; empty changes nothing."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment, checked; times are epoch seconds, layer buckets half-open."""

    key: str
    layer: str
    layer_salt: str
    layer_buckets: tuple[tuple[int, int], ...]
    salt: str
    families: tuple[str, ...]
    tiers: tuple[str, ...]
    lifecycles: tuple[str, ...]
    start: float
    ends: float | None
    coverage: float
    variants: tuple[Variant, ...]

    @property
    def about(self) -> frozenset[str]:
        """Every candidate that some variant names."""
        return frozenset().union(*(variant.offers for variant in self.variants))


@dataclass(frozen=True, slots=True)
class Experiments:
    """All experiments, in the order of their keys; `version` is the hash of what was written."""

    version: str
    experiments: tuple[Experiment, ...] = ()


NONE = Experiments("none")


def load(folder: Path) -> Experiments:
    """Read every `*.yaml` of a folder; dates are days in UTC. A folder that is absent holds none.

    Raises:
        ExperimentError: with all mistakes of all files.
    """
    digest, errors, found = hashlib.sha256(), [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            content, raw = read(path)
            digest.update(path.name.encode() + b"\0" + content + b"\0")
            entry = ExperimentEntry.model_validate(raw)
        except WrittenError as error:
            errors.append(str(error))
        except ValidationError as error:
            errors += sentences(error, ExperimentEntry, path.name)
        else:
            errors += [f"{path.name}: {fault}" for fault in _faults(entry)]
            found.append(_experiment(entry))
    errors += list(_clashes(found))
    if errors:
        raise ExperimentError(errors)
    version = digest.hexdigest()[:12] if found else NONE.version
    return Experiments(version, tuple(sorted(found, key=lambda one: one.key)))


def _faults(entry: ExperimentEntry) -> Iterator[str]:
    total = sum(one.weight for one in entry.variants)
    if not 0.99 <= total <= 1.01:
        yield f"the weights of the variants add up to {total:g}; they must add up to 1"
    ids = [one.id for one in entry.variants]
    for twice in sorted({one for one in ids if ids.count(one) > 1}):
        yield f'variant "{twice}" is written {ids.count(twice)} times; keep one'
    for pair in entry.layer_buckets:
        if len(pair) != 2 or not 0 <= pair[0] < pair[1] <= BUCKETS:
            yield f"layer_buckets {pair} is no range; write [from, to] with 0 ≤ from < to ≤ {BUCKETS}"
    start, ends = moment(entry.start, "UTC"), moment(entry.ends, "UTC")
    if start and ends and ends <= start:
        yield f"ends {entry.ends} before it starts {entry.start}; swap them or correct the year"
    if all(one.offers is None and not one.policy for one in entry.variants):
        yield "its variants do not differ; give each `offers` or a `policy`"


def _experiment(entry: ExperimentEntry) -> Experiment:
    start, ends = moment(entry.start, "UTC"), moment(entry.ends, "UTC")
    return Experiment(
        key=entry.key,
        layer=entry.layer,
        layer_salt=entry.layer_salt,
        layer_buckets=tuple((pair[0], pair[-1]) for pair in entry.layer_buckets if pair),
        salt=entry.salt,
        families=tuple(entry.families),
        tiers=tuple(entry.targeting.tiers),
        lifecycles=tuple(entry.targeting.lifecycles),
        start=start.timestamp() if start else 0.0,
        ends=ends.timestamp() if ends else None,
        coverage=entry.coverage,
        variants=tuple(_variant(one) for one in entry.variants),
    )


def _variant(entry: VariantEntry) -> Variant:
    override = orjson.dumps(entry.policy, option=orjson.OPT_SORT_KEYS).decode() if entry.policy else ""
    return Variant(entry.id, entry.weight, frozenset(entry.offers or ()), override)


def _clashes(found: Iterable[Experiment]) -> Iterator[str]:
    for one, other in combinations(found, 2):
        names = f'experiments "{one.key}" and "{other.key}"'
        if one.key == other.key:
            yield f'experiment key "{one.key}" is used twice; a key is unique for ever, rename one'
        if one.salt == other.salt:
            yield f'{names} share the salt "{one.salt}", so their variants go together; give one a salt of its own'
        if one.layer != other.layer:
            continue
        if one.layer_salt != other.layer_salt:
            yield f'{names} are in layer "{one.layer}" with different layer_salt; a layer has one'
        if any(a[0] < b[1] and b[0] < a[1] for a in one.layer_buckets for b in other.layer_buckets):
            yield f'{names} share buckets of layer "{one.layer}"; give them ranges that do not overlap'


def to_json(experiments: Experiments) -> bytes:
    """All experiments as JSON, from which `from_json` makes equal ones."""
    return orjson.dumps(experiments, default=sorted)


def from_json(text: bytes) -> Experiments:
    """The experiments that `to_json` wrote."""
    raw = orjson.loads(text)
    return Experiments(raw["version"], tuple(_from_plain(one) for one in raw["experiments"]))


def _from_plain(raw: dict[str, Any]) -> Experiment:
    variants = tuple(Variant(**{**one, "offers": frozenset(one["offers"])}) for one in raw["variants"])
    lists = {name: tuple(raw[name]) for name in ("families", "tiers", "lifecycles")}
    buckets = tuple((begin, end) for begin, end in raw["layer_buckets"])
    return Experiment(**{**raw, **lists, "layer_buckets": buckets, "variants": variants})
