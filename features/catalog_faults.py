"""What is wrong with an entry of the catalogue whose fields are each right, in sentences a marketer can act on."""

from __future__ import annotations

from collections.abc import Callable

from features.catalog_entries import TYPES, EconomicsEntry, Entry
from features.entities import Family
from features.written import did_you_mean, moment


def faults(entry: Entry, family: Family, zone: str, tiers: tuple[str, ...], *, money: bool = True) -> list[str]:
    """What is wrong with an entry whose fields are each right: a sentence for each. `money` looks at the reward too."""
    found = _type_faults(entry, family) + _date_faults(entry, zone) + _range_faults(entry) + _event_faults(entry, zone)
    reward = _REWARDS.get(entry.type) if money else None
    if reward is not None and (sentence := reward(entry.economics)):
        found.append(sentence)
    if entry.economics.burns > max(entry.conditions.min_points or 0.0, entry.conditions.min_points_expiring_30d or 0.0):
        found.append(
            f"economics.burns {entry.economics.burns:g} points that a member may not have; write conditions.min_points "
            "(or min_points_expiring_30d) of at least as many"
        )
    if tiers:
        unknown = [tier for tier in entry.conditions.tiers if tier not in tiers]
        found += [f'conditions.tiers names the unknown tier "{tier}"{did_you_mean(tier, tiers)}' for tier in unknown]
    return found


def _type_faults(entry: Entry, family: Family) -> list[str]:
    if entry.type not in TYPES[family]:
        return [f'type "{entry.type}" is unknown for {family}s{did_you_mean(entry.type, TYPES[family])}']
    if entry.type == "do_nothing" and entry.id != "do_nothing":
        return ['type "do_nothing" must have the id "do_nothing"; rename it']
    if entry.id == "do_nothing" and entry.type != "do_nothing":
        return ['the id "do_nothing" is kept for doing nothing; choose another']
    return []


def _date_faults(entry: Entry, zone: str) -> list[str]:
    starts, ends = moment(entry.starts, zone), moment(entry.ends, zone)
    if starts is None or ends is None or starts < ends:
        return []
    if starts == ends:
        return [f"ends {entry.ends} at the moment it starts; `ends` is the first moment it is over, write a later one"]
    return [f"ends {entry.ends} before it starts {entry.starts}; swap them or correct the year"]


def _event_faults(entry: Entry, zone: str) -> list[str]:
    if entry.event is None:
        return []
    if entry.type not in ("event_invitation", "event"):
        return [f'event is for invitations; type "{entry.type}" is none, take it out or make it an event_invitation']
    begins, starts = moment(entry.event.at, zone), moment(entry.starts, zone)
    if starts is not None and begins is not None and begins <= starts:
        return [f"event.at {entry.event.at} is not after starts {entry.starts}, so nobody could be invited"]
    return []


def _range_faults(entry: Entry) -> list[str]:
    low, high = entry.conditions.min_recency_days, entry.conditions.max_recency_days
    if low is None or high is None or low <= high:
        return []
    return [
        f"conditions.min_recency_days {low:g} is above max_recency_days {high:g}, so nobody could get it; swap them"
    ]


def _percent(money: EconomicsEntry) -> str | None:
    if 0 < money.discount <= 1:
        return None
    return f"economics.discount {money.discount:g} must be a share above 0 and at most 1; write 0.10 for ten percent"


def _amount(money: EconomicsEntry) -> str | None:
    return None if money.discount > 0 else "economics.discount 0 gives nothing off; write the amount of money"


def _multiplier(money: EconomicsEntry) -> str | None:
    return (
        None if money.points > 1 else f"economics.points {money.points:g} must be a factor above 1; write 2 for double"
    )


def _fixed(money: EconomicsEntry) -> str | None:
    return None if money.points > 0 else "economics.points 0 gives no points; write how many"


def _given(money: EconomicsEntry) -> str | None:
    return None if money.cost > 0 else "economics.cost 0 cannot be right for something we pay; write what one costs us"


_REWARDS: dict[str, Callable[[EconomicsEntry], str | None]] = {
    "discount_percent": _percent,
    "discount_amount": _amount,
    "points_multiplier": _multiplier,
    "points_fixed": _fixed,
    "points_bonus": _fixed,
    "gift": _given,
    "free_shipping": _given,
}
