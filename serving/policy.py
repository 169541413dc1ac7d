"""The operator's policy, and the two steps that it governs last: from scores to probabilities, from those to a draw."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import Field, ValidationError

from features.entities import ACTION_TYPES, BENEFIT_TYPES, OFFER_TYPES
from features.written import Written, WrittenError, did_you_mean, merged, read, sentences
from features.written import parse as parse_yaml
from serving import contact_rules
from serving.contact_rules import ContactCap, ContactRules
from serving.exploration import Exploration

TYPES = tuple(dict.fromkeys(one for one in (*OFFER_TYPES, *ACTION_TYPES, *BENEFIT_TYPES) if one != "do_nothing"))
FIXED = ("id", "salt", "holdout", "families")
"""What no variant may change: it says what is randomised, so it is one and the same for everybody."""
_DAY = 86400.0

Share = Annotated[float, Field(ge=0, le=1)]
Money = Annotated[float, Field(ge=0)]
Factor = Annotated[float, Field(ge=0, le=10)]
FamilyName = Literal["offer", "action", "benefit", "product"]
ChannelName = Literal["app", "web", "email", "sms", "push", "till", "call"]
LifecycleName = Literal["new", "active", "at-risk", "lapsed"]


class PolicyError(ValueError):
    """The policy cannot be used; `errors` holds a sentence for every mistake."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class Holdout(Written):
    """The universal holdout: which share of members, drawn anew after how many days."""

    share: Annotated[float, Field(ge=0, le=0.5)]
    window_days: Annotated[int, Field(ge=1)]


class FamilyRules(Written):
    """What holds for one family of candidates."""

    period_days: Annotated[int, Field(ge=0)]
    reward_window_days: Annotated[int, Field(ge=1)]
    do_nothing_floor: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    explore: bool = False


class UnknownMember(Written):
    """What is assumed of a member without history."""

    basket_value: Money
    year_spend: Money


class LifecycleRules(Written):
    """Factors of one lifecycle label, and its churn where no model says."""

    response: Factor
    effect_share: Factor
    churn: Share


class Cap(Written):
    """At most `count` contacts in `days` days."""

    count: Annotated[int, Field(ge=1)]
    days: Annotated[int, Field(ge=1, le=90)]


class ChannelRules(Written):
    """What a contact through one channel costs, and how many there may be."""

    contact_cost: Money
    fatigue: Money
    cap: Cap | None = None


class Prior(Written):
    """What is assumed of one type of candidate."""

    response: Share
    effect_share: Share
    retention: Share = 0.0
    """A marketer's own assumption: the share of churn that a response prevents. Gives way to what was seen."""


class BillRules(Written):
    """Which lines of the bill count. A team may start with response × value and turn on one term at a time.

    Response × value is `margin: response` with everything else false, `delta: 0` and no exploration.
    """

    margin: Literal["effect", "response"] = "effect"
    """Whether the margin counts for what a candidate causes, or for everybody who responds to it."""
    liability: bool = True
    fatigue: bool = True
    prices: bool = True


class Policy(Written):
    """`policy.yaml`, checked."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    salt: Annotated[str, Field(min_length=1, max_length=200)]
    delta: Factor
    holdout: Holdout
    families: dict[FamilyName, FamilyRules]
    exploration: Exploration
    unknown_member: UnknownMember
    lifecycles: dict[LifecycleName, LifecycleRules]
    churn_drag: Share
    fatigue_days: Annotated[int, Field(ge=1, le=90)]
    channels: dict[ChannelName, ChannelRules]
    priors: dict[str, Prior]
    contact: ContactRules | None = None
    bill: BillRules = BillRules()
    pause_when_harmful: bool = False
    """Whether a candidate that was shown to drive purchases away is paused at night."""

    def channel(self, name: str | None) -> ChannelRules | None:
        """The rules of a channel; None where the channel is not known yet."""
        return self.channels.get(cast(ChannelName, name))

    def lifecycle(self, label: str) -> LifecycleRules:
        """What is assumed under a label; a member without one counts as active."""
        return self.lifecycles[cast(LifecycleName, label or "active")]

    @cached_property
    def caps(self) -> tuple[tuple[ContactCap, ...], tuple[ContactCap, ...]]:
        """All caps, those of the channels and of the contact rules: whatever the candidate, and for some of them."""
        own = [(name, rules.cap) for name, rules in self.channels.items() if rules.cap is not None]
        mine = tuple(ContactCap(count=cap.count, days=cap.days, channels=(name,)) for name, cap in own)
        every = mine if self.contact is None else mine + self.contact.caps
        return tuple(cap for cap in every if cap.wide), tuple(cap for cap in every if not cap.wide)

    @cached_property
    def text(self) -> str:
        """The policy as canonical JSON; `parse` makes an equal one of it."""
        said = self.model_dump(mode="json")
        if said["contact"] is None:  # policies kept before there were contact rules keep their version
            del said["contact"]
        if said["exploration"]["share"] is None:  # and those before chance had a limit as a share
            del said["exploration"]["share"], said["exploration"]["least"]
        if self.bill == BillRules():  # and those in which every line counts
            del said["bill"]
        return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()

    @cached_property
    def version(self) -> str:
        """SHA-256 of the content, first 12 hex; comments and order do not count."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def load(path: Path) -> Policy:
    """Read `policy.yaml`; PolicyError with every mistake in it."""
    try:
        return parse(read(path)[1], path.name)
    except WrittenError as error:
        raise PolicyError([str(error)]) from error


def parse(content: str | bytes | Mapping[str, Any], name: str = "policy.yaml") -> Policy:
    """A policy from YAML or JSON text, or from what one of them holds; PolicyError with every mistake in it."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        raw = parse_yaml(text, name) if isinstance(text, str) else dict(text)
        policy = Policy.model_validate(raw)
    except WrittenError as error:
        raise PolicyError([str(error)]) from error
    except ValidationError as error:
        raise PolicyError(sentences(error, Policy, name)) from error
    wrong = [f"{name}: {fault}" for fault in _faults(policy)]
    if wrong:
        raise PolicyError(wrong)
    return policy


def _faults(policy: Policy) -> Iterator[str]:
    for what, known, there in (
        ("families", ("offer", "action", "benefit", "product"), policy.families),
        ("lifecycles", ("new", "active", "at-risk", "lapsed"), policy.lifecycles),
        ("channels", ("app", "web", "email", "sms", "push", "till", "call"), policy.channels),
        ("priors", TYPES, policy.priors),
    ):
        for missing in sorted(set(known) - set(there)):
            yield f"{what}.{missing} is missing; every one needs its rules, add it"
    for unknown in sorted(set(policy.priors) - set(TYPES)):
        yield f'priors."{unknown}" is no type of candidate{did_you_mean(unknown, TYPES)}'
    yield from _family_faults(policy)
    if policy.exploration.least and policy.exploration.share is None:
        yield "exploration.least is allowed beside a share; write exploration.share too (0 allows no more than least)"
    if policy.contact is not None:
        yield from contact_rules.faults(policy.contact)


def _family_faults(policy: Policy) -> Iterator[str]:
    for family, rules in policy.families.items():
        window = rules.reward_window_days
        if rules.period_days and window % rules.period_days:
            yield f"families.{family}: reward_window_days {window} is no multiple of period_days {rules.period_days}"
        if family in ("offer", "action") and policy.holdout.window_days % window:
            yield (
                f"holdout.window_days {policy.holdout.window_days} is no multiple of families.{family}."
                f"reward_window_days {window}, so members would change sides inside a reward window; make it one"
            )
        if family in ("benefit", "product") and rules.do_nothing_floor:
            yield f"families.{family}: do_nothing_floor is for offers and actions only; take it out"
        if family == "product" and rules.explore:
            yield "families.product: explore must be false; a product list is ordered by score"


@lru_cache(maxsize=64)
def varied(policy_text: str, override: str) -> Policy:
    """The policy with a variant's JSON override put in; PolicyError where it may not be or makes no policy."""
    over = orjson.loads(override)
    if touched := sorted(set(over) & set(FIXED)):
        raise PolicyError(
            [f"a variant may not change {', '.join(touched)}: that says what is randomised; leave it out"]
        )
    return parse(merged(orjson.loads(policy_text), over))


def period(at: float, family: FamilyName, policy: Policy) -> int | None:
    """Number of the period that `at` (epoch seconds) lies in, counted from 1970 in UTC; None where there is none."""
    days = policy.families[family].period_days
    return int(at // (days * _DAY)) if days else None


def window(at: float, family: FamilyName, policy: Policy) -> int:
    """Number of the reward window of this family that `at` (epoch seconds) lies in, counted from 1970 in UTC."""
    return int(at // (policy.families[family].reward_window_days * _DAY))


def unit(key: str) -> float:
    """A number in [0, 1) with 53 bits, the same for the same key on every machine (BLAKE2b)."""
    return (int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 11) / 9007199254740992.0


def nothing_is_drawn(member_id: str, family: FamilyName, at: float, policy: Policy) -> bool:
    """Whether the "do nothing" floor fell on the member for this family's reward window.

    Families with the same window share the draw: an offer that comes as the next action is not withheld from the one
    answer and given in the other.
    """
    floor = policy.families[family].do_nothing_floor
    if not floor:
        return False
    return unit(f"{policy.salt}|nothing|{member_id}|{window(at, family, policy)}") < floor


def draw(chances: Sequence[float], number: float) -> int:
    """The index that `number` in [0, 1) falls on when the chances lie end to end."""
    for index, chance in enumerate(chances):
        number -= chance
        if number < 0.0:
            return index
    return max(index for index, chance in enumerate(chances) if chance > 0.0)
