"""Which experiment a member is in, and which variant they get: a salted hash and nothing that has to be stored.

The hash is FNV-1a-32 applied twice into 10,000 buckets, which front ends with a GrowthBook SDK (hash version 2) compute
to the same variant. A first exposure sticks; it comes back to us with the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from features.entities import Catalog
from features.written import did_you_mean
from serving.experiments_written import (
    BUCKETS,
    NONE,
    Experiment,
    ExperimentError,
    Experiments,
    Variant,
    from_json,
    load,
    to_json,
)
from serving.policy import Policy, PolicyError, varied

__all__ = ["NONE", "Experiment", "ExperimentError", "Experiments", "Variant", "from_json", "load", "to_json"]

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the experiments mean for one member in one decision."""

    exposures: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    overrides: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def _begun(seed: str) -> int:
    return _fnv(0x811C9DC5, seed)


def _fnv(state: int, text: str) -> int:
    for byte in text.encode():
        state = ((state ^ byte) * 0x01000193) & 0xFFFFFFFF
    return state


def u(seed: str, identity: str) -> float:
    """Where an id falls in [0, 1), in steps of 1/10,000 (GrowthBook hash version 2).

    >>> u("seed", "a"), u("seed", "b"), u("foo", "ab"), u("foo", "def")
    (0.0505, 0.2696, 0.2575, 0.2019)
    """
    return bucket(seed, identity) / BUCKETS


def bucket(seed: str, identity: str) -> int:
    """The same as a whole number, 0…9,999."""
    return _fnv(0x811C9DC5, str(_fnv(_begun(seed), identity))) % BUCKETS


def ranges(coverage: float, weights: Sequence[float]) -> list[tuple[float, float]]:
    """A range of [0, 1) for each variant; more coverage only lengthens each range at its own end.

    Weights that do not add up to one become equal weights; coverage is clipped to [0, 1].

    >>> ranges(0.5, [0.5, 0.5])
    [(0.0, 0.25), (0.5, 0.75)]
    """
    coverage = min(max(coverage, 0.0), 1.0)
    if not 0.99 <= sum(weights) <= 1.01:
        weights = [1.0 / len(weights)] * len(weights)
    result, begin = [], 0.0
    for weight in weights:
        result.append((begin, begin + coverage * weight))
        begin += weight
    return result


def chosen(number: float, spans: Sequence[tuple[float, float]]) -> int | None:
    """The index of the range that holds the number; None where it falls between them."""
    for index, (begin, end) in enumerate(spans):
        if begin <= number < end:
            return index
    return None


def variant(experiment: Experiment, member_id: str, sticky: str | None = None) -> Variant | None:
    """The member's variant by hash, or the one first exposed to; None for a member who is not enrolled."""
    for one in experiment.variants:
        if one.id == sticky:
            return one
    weights = [one.weight for one in experiment.variants]
    index = chosen(u(experiment.salt, member_id), ranges(experiment.coverage, weights))
    return None if index is None else experiment.variants[index]


def held_out(member_id: str, at: float, policy: Policy) -> bool:
    """Whether the member is in the universal holdout: drawn once for each of the holdout's windows."""
    number = int(at // (policy.holdout.window_days * _DAY))
    return u(f"{policy.salt}|holdout|{number}", member_id) < policy.holdout.share


def enrol(
    experiments: Experiments,
    family: str,
    member_id: str,
    at: float,
    tier: str,
    lifecycle: str,
    exposures: Mapping[str, str],
) -> Enrolment:
    """Every experiment the member takes part in with this decision, and what follows from that."""
    taken: dict[str, str] = {}
    withheld: frozenset[str] = frozenset()
    overrides: list[str] = []
    for experiment in experiments.experiments:
        if not _concerns(experiment, family, member_id, at, tier, lifecycle):
            continue
        mine = variant(experiment, member_id, exposures.get(experiment.key))
        if mine is None:
            continue
        taken[experiment.key] = mine.id
        withheld |= experiment.about - mine.offers
        overrides += [mine.override] if mine.override else []
    return Enrolment(taken, withheld, tuple(overrides)) if taken else _NOT_ENROLLED


_NOT_ENROLLED = Enrolment()


def _concerns(experiment: Experiment, family: str, member_id: str, at: float, tier: str, lifecycle: str) -> bool:
    if family not in experiment.families or at < experiment.start:
        return False
    if experiment.ends is not None and at >= experiment.ends:
        return False
    if experiment.tiers and tier not in experiment.tiers:
        return False
    if experiment.lifecycles and lifecycle not in experiment.lifecycles:
        return False
    place = bucket(experiment.layer_salt, member_id)
    return any(begin <= place < end for begin, end in experiment.layer_buckets)


def problems(experiments: Experiments, catalog: Catalog, policy: Policy) -> list[str]:
    """What fits neither the catalogue nor the policy: a sentence for each; empty means they may serve together."""
    return [fault for one in experiments.experiments for fault in _misfits(one, catalog, policy)]


def _misfits(experiment: Experiment, catalog: Catalog, policy: Policy) -> Iterator[str]:
    known = [one.id for one in (*catalog.offers, *catalog.actions)]
    where = f'experiment "{experiment.key}"'
    for unknown in sorted(experiment.about - set(known)):
        yield f'{where}: a variant names the unknown offer "{unknown}"{did_you_mean(unknown, known)}'
    tiers = [tier.id for tier in catalog.programme.tiers]
    for unknown in sorted(set(experiment.tiers) - set(tiers)):
        yield f'{where}: targeting names the unknown tier "{unknown}"{did_you_mean(unknown, tiers)}'
    for one in experiment.variants:
        try:
            varied(policy.text, one.override or "{}")
        except PolicyError as error:
            yield from (f'{where}: variant "{one.id}": {fault}' for fault in error.errors)
