"""Explanations in words: for the marketer with every number, for the member with none that is ours.

All texts of explanations stand here and in `serving.explain`, so that they can be translated in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import inf, isnan
from zoneinfo import ZoneInfo

from features.entities import Candidate, Programme
from serving import explain
from serving.explain_case import Standing
from serving.explain_obstacles import Obstacle
from serving.explain_steps import Change, Kind
from serving.snapshot import Result, Suppressed, Value

_BASIS = {
    "experiment": "measured on choices drawn by lot",
    "response": "a stated share of the answers that were seen",
    "prior": "assumed: no experiment says better yet",
}
_LINES = {
    "margin": "margin of the baskets it causes",
    "lifetime": "later value",
    "discount": "discount and goods",
    "liability": "points it gives",
    "contact": "the contact",
    "fatigue": "what recent contacts cost in attention",
    "budget_price": "what its budgets could earn elsewhere",
}
_CHANGES: Mapping[Kind, str] = {
    "wait": "from {date}",
    "baskets": "{needed:.0f} more visit(s) with a purchase{before}",
    "category": "one more visit with a purchase of {what}{before}",
    "spend": "{needed:.2f} {currency} more spent in one visit{before}",
    "points": "{more:.0f} more points{before}",
    "basket_value": "a basket of {needed:.2f} {currency} (now {now:.2f}){before}",
    "consent": "the member agrees to {what}",
    "resolved": "the complaint behind the bad score is resolved",
    "cost": "its cost falls to {needed:.2f} {currency} (now {now:.2f})",
    "discount": "its discount falls to {needed:g} (now {now:g})",
    "given_points": "its points fall to {needed:g} (now {now:g})",
    "contact_cost": "its contact costs {needed:.2f} {currency} (now {now:.2f})",
    "lever": "its lever rises to {needed:g} (now {now:g})",
    "condition": "its condition {what} is set to {needed:g} (now {now:g})",
    "open_to": "its condition on {what} also names this member's",
    "limit": "its limit {what} is set to {needed:g} (now {now:g})",
    "starts": "it starts now",
    "ends": "its end is moved",
    "resume": "`tessera pause --resume` brings it back",
    "budget": "the budget {what} gets more",
    "include": "the request names it",
    "exclude": "the request no longer excludes it",
    "filter": "the request has no filter",
    "channel": "the request comes through {what}",
    "placement": "the request asks for the place {what}",
    "effect": "an experiment shows that it causes {needed:.4f} baskets (now {now:.4f})",
    "price": "one unit of the budget {what} earns {needed:.4g} {currency} elsewhere (now {now:.4g})",
}
THEN = {
    "outdone": "it may be given, and would still lose {gap:.2f} {currency} to {rival}",
    "undrawn": "it wins wherever nothing is left to chance",
    "given": "it is given",
}
NONE_FOUND = "no set of up to three changes that anybody could make lets it through"
NEVER_WINS = "no single change of its terms, its lever or its effect makes it win"


def day(at: float, programme: Programme) -> str:
    """A moment by the programme's clock, to the second where it is not at a full minute."""
    clock = datetime.fromtimestamp(at, ZoneInfo(programme.timezone))
    return f"{clock:%a %-d %b %Y %H:%M:%S}" if clock.second else f"{clock:%a %-d %b %Y %H:%M}"


def step(change: Change, programme: Programme) -> str:
    """A change, for the marketer."""
    now, needed = change.now or 0.0, change.needed or 0.0
    field, _, label = change.what.partition(":")
    return _CHANGES[change.kind].format(
        what=field if label or change.what.endswith(":") else change.what,
        now=now,
        needed=needed,
        more=needed - now,
        currency=programme.currency,
        date=day(needed, programme) if change.kind == "wait" else "",
        before="" if change.until is None else f" before {day(change.until, programme)}",
    )


def then(standing: Standing, currency: str) -> str:
    """What becomes of the candidate once the changes are made."""
    if standing.outcome in ("given", "undrawn") and standing.rival is None:
        return THEN["undrawn"]
    return THEN[standing.outcome].format(gap=max(standing.gap, 0.0), rival=standing.rival, currency=currency)


def why(result: Result, currency: str) -> list[str]:
    """Why a result was given, for the marketer, from the numbers of the answer alone."""
    value = result.value
    if result.id == "do_nothing":
        return [f"nothing was given: {result.reasons[0].code if result.reasons else 'NOTHING'}", _drawn(result)]
    if result.kind == "product":
        return ["ranked by what the member is likely to want; no money is claimed"]
    return [*worth(value, currency), _drawn(result)]


def worth(value: Value, currency: str) -> list[str]:
    """A value with its bill and what it rests on, in words."""
    bill = value.bill
    parts = [f"{_LINES[name]} {getattr(bill, name):+.2f}" for name in _LINES if round(getattr(bill, name), 4)]
    said = [f"worth {value.net:.2f} {currency}" + (f": {', '.join(parts)}" if parts else "")]
    between = ""
    if value.effect_interval is not None:
        low, high = value.effect_interval
        between = f", between {low:.4f} and {high:.4f} with 95 %"
    said.append(f"it causes {value.effect:.4f} baskets{between} ({_BASIS[value.basis]})")
    if bill.fatigue and value.fatigue_basis == "prior":
        said.append("the price of recent contacts is the policy's constant")
    return said


def _drawn(result: Result) -> str:
    return f"this came with probability {result.probability:.3f}"


def why_not(standing: Standing, met: Obstacle | None, programme: Programme) -> str:
    """Why a candidate is not the one given, for the marketer."""
    if met is not None:
        said = f"{explain.meaning(met.reason.code)}{_numbers(met)}"
        return said if met.reason.until is None else f"{said}; until {day(met.reason.until, programme)}"
    if standing.outcome == "given":
        return "it was given"
    chance = f"it could have been drawn, with probability {standing.chance:.3f}, and was not"
    if standing.by_floor:
        chance = f"the lot of doing nothing fell on the member for this window; {chance}"
    if standing.rival is None:
        return f"it is worth most; {chance}"
    if standing.gap < 0:
        return f"{standing.rival} is a right of the member, and rights come first"
    lost = f"it is worth {standing.net:.2f} {programme.currency} and loses {standing.gap:.2f} to {standing.rival}"
    return f"{lost}; {chance}" if standing.chance else f"{lost}, more than exploration may cost"


def _numbers(met: Obstacle) -> str:
    if not met.feature or met.feature == "tier_rank":
        return ""
    has = "is not known" if isnan(met.value) else f"is {met.value:.4g}"
    bounds = [f"at least {met.low:.4g}" if met.low > -inf else "", f"at most {met.high:.4g}" if met.high < inf else ""]
    gap = "" if isnan(met.gap) else f", {met.gap:.4g} short"
    return f": {met.feature} {has} and must be {' and '.join(filter(None, bounds))}{gap}"


NOT_CHOSEN = "This was not part of what we picked for you this time"


def for_member_not(candidate: Candidate, reason: Suppressed | None, programme: Programme) -> str:
    """Why not this, for the member: the public terms of the candidate, and the member's own account; nothing else."""
    conditions, code = candidate.conditions, reason.code if reason else ""
    if code == "TIER" and conditions.tiers:
        names = [tier.name for tier in programme.tiers if tier.id in conditions.tiers]
        return f"This is for {' and '.join(names)} members"
    if code == "POINTS" and conditions.min_points is not None:
        return f"This needs {conditions.min_points:,.0f} points"
    if code == "BASKET_VALUE" and conditions.min_basket_value is not None:
        return f"This comes with a basket of {conditions.min_basket_value:,.2f} {programme.currency} or more"
    if code == "NOT_STARTED" and candidate.starts is not None:
        return f"This starts on {candidate.starts.astimezone(ZoneInfo(programme.timezone)):%-d %B %Y}"
    if code == "ENDED":
        return "This is over"
    if code == "OUT_OF_STOCK":
        return "This is not in stock right now"
    if code.startswith("NO_CONSENT_"):
        return f"You did not agree to {_CHANNELS.get(code.removeprefix('NO_CONSENT_'), 'this channel')} from us"
    return NOT_CHOSEN


_CHANNELS = {"EMAIL": "e-mails", "SMS": "text messages", "PUSH": "push messages", "CALL": "calls"}


def for_member(result: Result) -> str:
    """Why this, for the member: the first reason that holds."""
    return result.reasons[0].text if result.reasons else ""
