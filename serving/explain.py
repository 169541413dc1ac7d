"""Why this, and why not that: codes for systems, sentences fit for the member, sentences for the marketer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from math import ceil, isnan, nan

from features.entities import Candidate
from serving.portrait import Portrait
from serving.snapshot import Reason, Suppressed

NOTHING_BETTER = Reason("NOTHING_BETTER", "There is nothing for you to do right now")
NOTHING_FLOOR = Reason("NOTHING_FLOOR", "There is nothing for you to do right now")
HELD_OUT = Reason("HOLDOUT", "There is nothing for you to do right now")
COLD_START = Reason("COLD_START", "A good start for new members")
POPULAR = Reason("POPULAR", "Popular with our members")
TASTE = Reason("TASTE", "Picked from what you like to buy")
CHOSEN = Reason("CHOSEN", "Chosen to go with how you shop")
NOT_PERSONALISED = Reason("NOT_PERSONALISED", "Chosen without use of your shopping history")


_NEW_DAYS, _WHILE_DAYS, _RECENT_DAYS, _OFTEN = 60.0, 28.0, 30.0, 12.0
"""What words claim: days with us, days since the last visit, days that are recent, visits of a year that are often."""


def reasons(candidate: Candidate, who: Portrait, currency: str) -> tuple[Reason, ...]:
    """Why the member got this candidate: the conditions they met, said so that the member may read them.

    Labels such as `at-risk`, churn and money of ours never appear in a text.
    """
    found = [reason for part in _PARTS for reason in part(candidate, who, currency)]
    if not who.known:
        found.append(COLD_START)
    elif not who.personal:
        found.append(NOT_PERSONALISED)
    elif not found:
        found.append(CHOSEN)
    return tuple(found)


def _tier(candidate: Candidate, who: Portrait, _: str) -> Iterator[Reason]:
    if candidate.conditions.tiers:
        yield Reason(f"TIER_{who.tier.id.upper()}", f"Because you are a {who.tier.name} member")
    elif candidate.entitlement and candidate.family == "benefit":
        yield Reason("MEMBER", "Because you are a member")


def _points(candidate: Candidate, who: Portrait, _: str) -> Iterator[Reason]:
    conditions = candidate.conditions
    expiring = who.numbers.get("points_expiring_30d", nan)
    if conditions.min_points_expiring_30d is not None and not isnan(expiring):
        yield Reason("POINTS_EXPIRING", f"{int(expiring)} of your points expire within 30 days")
    balance = who.numbers.get("points_balance", nan)
    if conditions.min_points is not None and not isnan(balance):
        yield Reason("POINTS_TO_USE", f"You have {int(balance)} points to use")


def _next_tier(candidate: Candidate, who: Portrait, currency: str) -> Iterator[Reason]:
    missing = who.numbers.get("spend_to_next_tier", nan)
    if candidate.conditions.max_spend_to_next_tier is not None and who.next_tier and not isnan(missing):
        yield Reason(
            "NEXT_TIER", f"You are {ceil(missing * 100 - 1e-6) / 100:.2f} {currency} away from {who.next_tier.name}"
        )


def _moment(candidate: Candidate, who: Portrait, _: str) -> Iterator[Reason]:
    """A label alone says too little: who is `lapsed` may never have bought, who is `high` may have come once."""
    conditions, numbers = candidate.conditions, who.numbers
    if conditions.lifecycles and who.lifecycle == "new" and not numbers.get("tenure_days", 0.0) > _NEW_DAYS:
        yield Reason("WELCOME", "Because you are new here")
    away = numbers.get("recency_days", 0.0) >= _WHILE_DAYS
    if conditions.lifecycles and who.lifecycle in ("at-risk", "lapsed") and away:
        yield Reason("MISSED_YOU", "Because it has been a while since your last visit")
    if conditions.values and numbers.get("baskets_365d", 0.0) >= _OFTEN:
        yield Reason("VALUED", "Because you often shop with us")


def _purchases(candidate: Candidate, who: Portrait, _: str) -> Iterator[Reason]:
    conditions = candidate.conditions
    if conditions.min_basket_value is not None:
        yield Reason("BASKET", "Because of what is in your basket")
    if conditions.bought_category is not None:
        yield Reason("CATEGORY", f"Because you buy {conditions.bought_category}")
    recent = who.numbers.get("recency_days", nan) <= _RECENT_DAYS
    if conditions.max_recency_days is not None and who.personal and recent:
        yield Reason("RECENT_PURCHASE", "Because of your recent purchase")


_PARTS: tuple[Callable[[Candidate, Portrait, str], Iterator[Reason]], ...] = (
    _tier,
    _points,
    _next_tier,
    _moment,
    _purchases,
)

_CODES: Mapping[str, str] = {
    "PAUSED": "an operator has paused it; `tessera pause --resume` brings it back",
    "EXCLUDED": "the request excludes it",
    "NOT_INCLUDED": "the request asks for others only",
    "FILTER": "the filter of the request leaves it out",
    "NOT_STARTED": "it has not started yet",
    "ENDED": "it has ended",
    "BUDGET_SPENT": "a budget that pays for it has nothing left",
    "OUT_OF_STOCK": "its stock is used up",
    "CHANNEL": "it does not use this channel",
    "PLACEMENT": "it does not fill any of the places asked for",
    "TIER": "the member is in another tier",
    "TENURE": "the member has not been with us long enough",
    "POINTS": "the member has too few points",
    "POINTS_EXPIRING": "too few of the member's points expire soon",
    "BASKET_VALUE": "the basket is too small, or the request did not say how large it is",
    "RECENCY": "the last purchase is too recent or too long ago",
    "BASKETS": "the member bought too seldom within a year",
    "CATEGORY": "the member did not buy in this category within a year",
    "NO_PRODUCTS": "there are no products to recommend",
    "NEXT_TIER": "the next tier is too far away, or there is none",
    "CHURN": "the member is too likely to stay for this",
    "LIFECYCLE": "the member's lifecycle is another",
    "SEGMENT": "the member is in none of its segments",
    "VALUE": "the member's value label is another",
    "DISSATISFIED": "the member gave a bad score lately, and that was not resolved",
    "LOW_SCORE": "the member gave no bad score in the last hours, or it was resolved",
    "TOPIC": "the member bought nothing of the event's topic within a year",
    "COOLDOWN": "it was shown too recently",
    "QUIET_HOURS": "it is quiet hours where the member lives",
    "RESERVATION_REFUSED": "its budget or stock was refused in this request",
    "OTHER_VARIANT": "an experiment keeps it for another variant",
    "HOLDOUT": "the member is in the universal holdout",
}


def dropped(one: Suppressed) -> str:
    """Why a candidate fell out, as a sentence for the marketer.

    >>> dropped(Suppressed("five-off", "contact_policy", "EMAIL_2_PER_7D", 0.0))
    'five-off: contact_policy: at most 2 by email in 7 days, until 1970-01-01T00:00:00Z (EMAIL_2_PER_7D)'
    """
    until = "" if one.until is None else f", until {datetime.fromtimestamp(one.until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{one.id}: {one.stage}: {meaning(one.code)}{until} ({one.code})"


def meaning(code: str) -> str:
    """What a code of something that fell out says, for the marketer.

    >>> meaning("NO_CONSENT_SMS")
    'the member did not agree to sms'
    """
    return _CODES.get(code) or _spelled(code)


def _spelled(code: str) -> str:
    """Codes that carry a channel or numbers: `LIMIT_1_PER_30D`, `EMAIL_2_PER_7D`, `NO_CONSENT_SMS`, `IGNORED_3`."""
    if code.startswith("NO_CONSENT_"):
        return f"the member did not agree to {code.removeprefix('NO_CONSENT_').lower()}"
    if code.endswith("_BOUNCED"):
        return f"a message by {code.removesuffix('_BOUNCED').lower()} came back"
    if "IGNORED_" in code:
        what = "its type was" if code.startswith("TYPE_") else "it was"
        return f"{what} put before the member {code.rsplit('_', 1)[1]} times without an answer"
    what, count, _, days = code.rsplit("_", 3)
    whom = "for one member" if what == "LIMIT" else f"by {what.replace('_', ' ').lower()}"
    return f"at most {count} {whom} in {days.removesuffix('D')} days"
