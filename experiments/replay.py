"""Logged decisions run again: from their own inputs to see that they come out the same, or under another policy.

No answer is read back: the journal's payload brings the inputs, its versions say which catalogue, policy, experiments
and models held, features are finished again from the member's state, models score again, and `decide` runs. Equal means
equal in every byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache

import orjson

from features.entities import Catalog
from serving import code, payload, records
from serving.assignment import Experiments
from serving.decide import decide
from serving.policy import Policy
from serving.snapshot import Ask, Decision, Learned, Snapshot

EXAMPLES = 20
"""How many differences a report shows."""


@dataclass(frozen=True, slots=True)
class Record:
    """One logged decision with the inputs it rests on."""

    decision_id: str
    snapshot: Snapshot
    ask: Ask
    learned: Learned
    versions: Mapping[str, str]
    """`catalog`, `policy` and `experiments` → version."""
    decision: Decision
    code: str = ""
    """The code that decided (`serving.code`); empty where it was not kept."""
    replaces: str | None = None
    """The decision that it took the place of, if any."""


Finish = Callable[[bytes, float], Mapping[str, float]]
"""From a member's state and a moment (epoch seconds) to features; an empty state has none."""
Score = Callable[[payload.Payload, Snapshot, Ask], Learned]
"""What the models named in a payload's header say about its state and vector."""


def read(blob: bytes, finish: Finish, score: Score | None = None) -> Record:
    """A journal payload as a record.

    Args:
        blob: one row's payload.
        finish: turns the state into features.
        score: scores again from the bundles of that time; without it, what the models said is taken from the header.

    Raises:
        serving.payload.PayloadError: the blob is no payload.
    """
    found = payload.decode(blob)
    features = finish(found.state, found.header["at"]) if found.state else {}
    snapshot, ask = records.snapshot_of(found.header, features), records.ask_of(found.header)
    learned = records.learned_of(found.header) if score is None else score(found, snapshot, ask)
    versions = records.versions_of(found.header)
    names = {"catalog": versions.catalog, "policy": versions.policy, "experiments": versions.experiments}
    decision = records.decision_of(found.header)
    replaces = found.header["flags"]["replaces"]
    return Record(found.header["decision_id"], snapshot, ask, learned, names, decision, versions.code, replaces)


@dataclass(frozen=True, slots=True)
class Unread:
    """A decision whose rules, models or state are not there any more."""

    decision_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Versions:
    """How the rules of a version are found; each is asked once for every version."""

    catalog: Callable[[str], Catalog]
    policy: Callable[[str], Policy]
    experiments: Callable[[str], Experiments]


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that came out otherwise; `fields` names where."""

    decision_id: str
    fields: tuple[str, ...]
    before: tuple[str, ...]
    """What was given, in order."""
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What running decisions again showed; `failed` holds those that could not be run, with the reason."""

    total: int = 0
    equal: int = 0
    static: int = 0
    """Answers of the lowest rung, which no inputs stand behind; they are counted and not run."""
    differences: tuple[Difference, ...] = ()
    different: int = 0
    other_code: int = 0
    """Of `different`: how many another version of the code decided."""
    failed: Mapping[str, str] = field(default_factory=dict)
    net_before: float = 0.0
    """Net value by the bills of what was given, in the programme's currency."""
    net_after: float = 0.0

    @property
    def same(self) -> bool:
        """Whether every decision that could be run came out the same, and none failed."""
        return not self.different and not self.failed


def reexecute(
    snapshot: Snapshot, ask: Ask, learned: Learned, catalog: Catalog, policy: Policy, experiments: Experiments
) -> Decision:
    """The decision that these inputs give."""
    return decide(snapshot, ask, learned, catalog, policy, experiments)


def replay(records: Iterable[Record | Unread], versions: Versions, policy: Policy | None = None) -> ReplayReport:
    """Run decisions again and compare.

    Args:
        records: the decisions, with their inputs; one that is unread counts as failed.
        versions: where catalogues, policies and experiments of a version are.
        policy: takes the place of the logged one. Then `different` counts the decisions that would have given something
            else, and not those where only a chance or a number changed. Values are those of the bills, not measured.
    """
    tally = _Tally()
    catalogs, policies = lru_cache(versions.catalog), lru_cache(versions.policy)
    experiments = lru_cache(versions.experiments)
    for record in records:
        tally.total += 1
        if isinstance(record, Unread):
            tally.failed[record.decision_id] = record.reason
            continue
        if record.decision.mode == "fallback":
            tally.static += 1
            continue
        try:
            rules = policy or policies(record.versions["policy"])
            known = catalogs(record.versions["catalog"]), rules, experiments(record.versions["experiments"])
            again = reexecute(record.snapshot, record.ask, record.learned, *known)
        except (ValueError, KeyError, OSError) as error:
            tally.failed[record.decision_id] = f"{type(error).__name__}: {error}"
            continue
        tally.compare(record, again, given_only=policy is not None)
    return tally.report()


class _Tally:
    """Counts while records go by."""

    def __init__(self) -> None:
        self.total = self.static = self.equal = self.different = self.other_code = 0
        self.before = self.after = 0.0
        self.differences: list[Difference] = []
        self.failed: dict[str, str] = {}

    def compare(self, record: Record, again: Decision, *, given_only: bool) -> None:
        before, after = _given(record.decision), _given(again)
        self.before += sum(result.value.net for result in record.decision.results)
        self.after += sum(result.value.net for result in again.results)
        same = before == after if given_only else orjson.dumps(record.decision) == orjson.dumps(again)
        if same:
            self.equal += 1
            return
        self.different += 1
        self.other_code += record.code != code.version()
        if len(self.differences) < EXAMPLES:
            where = _where(record.decision, again)
            self.differences.append(Difference(record.decision_id, where, before, after))

    def report(self) -> ReplayReport:
        return ReplayReport(
            total=self.total,
            equal=self.equal,
            static=self.static,
            differences=tuple(self.differences),
            different=self.different,
            other_code=self.other_code,
            failed=self.failed,
            net_before=round(self.before, 4),
            net_after=round(self.after, 4),
        )


def _given(decision: Decision) -> tuple[str, ...]:
    return tuple(f"{one.placement}/{one.rank}:{one.id}" for one in decision.results)


def _where(one: Decision, other: Decision) -> tuple[str, ...]:
    return tuple(field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name))
