"""The contact policy: why a candidate may not reach the member now, and the first moment at which it may.

In order: the candidate's own limit and cooldown, a channel whose messages come back, rest after having been ignored,
caps, quiet hours. A drop carries the code of the first of them and the moment at which none of them holds any more, as
things stand: a cap that frees at night waits for the morning. Pure: what the member did comes in with the history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from features.entities import Candidate
from serving import quiet
from serving.contact_rules import PUSHED, ContactCap, ContactRules, code
from serving.policy import Policy
from serving.portrait import History
from serving.snapshot import Ask, Snapshot, Suppressed

_DAY = 86400.0
_ROUNDS = 100
"""Rules hand a candidate on to each other this often at most; each time the moment moves on."""
_NONE = ContactRules()
QUIET = "QUIET_HOURS"
"""The code of a drop by quiet hours."""

Held = tuple[str, float]
"""The code of a rule that holds, and when it lets go."""


@dataclass(frozen=True, slots=True)
class Contacting:
    """What contact rules ask of one member at one moment."""

    snapshot: Snapshot
    ask: Ask
    history: History
    rules: ContactRules
    wide_caps: tuple[ContactCap, ...]
    """Whatever the candidate."""
    narrow_caps: tuple[ContactCap, ...]
    """For some of them."""
    zone: str
    """The programme's."""
    since: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)
    """Candidate or type → how often it was put before the member since the last answer, and when last."""
    times: dict[tuple[object, ...], list[float]] = field(default_factory=dict)
    """Contacts that one cap counts; worked out once for all candidates that share it."""
    wide: dict[tuple[str, float], Held | None] = field(default_factory=dict)
    """What caps hold of a channel, whatever the candidate; worked out once for each moment."""
    held: dict[tuple[str, float], Held | None] = field(default_factory=dict)
    """What else holds a whole channel; worked out once for each moment."""


def contacting(snapshot: Snapshot, ask: Ask, past: History, policy: Policy, zone: str) -> Contacting | None:
    """The contact rules made ready for one member; None where none of them can hold."""
    rules = policy.contact or _NONE
    pushed = ask.channel is None or ask.channel in PUSHED
    if not (past.contacts or (pushed and (rules.quiet or snapshot.reactions))):
        return None
    return Contacting(snapshot, ask, past, rules, *policy.caps, zone, _since(past) if rules.ignored else {})


def _since(past: History) -> dict[tuple[str, str], tuple[int, float]]:
    found: dict[tuple[str, str], tuple[int, float]] = {}
    for one in past.contacts:
        for key in (("candidate", one.candidate_id), ("type", one.candidate_type)):
            if one.answered:
                found.pop(key, None)
            else:
                found[key] = (found[key][0] + 1 if key in found else 1, one.at)
    return found


def why_not(candidate: Candidate, channel: str | None, now: Contacting) -> Suppressed | None:
    """The first contact rule that holds the candidate on this channel, and the first moment at which none does."""
    found = _held(candidate, channel, now, now.snapshot.at)
    if found is None:
        return None
    name, until = found
    for _ in range(_ROUNDS):
        later = _held(candidate, channel, now, until)
        if later is None:
            break
        until = later[1]
    return Suppressed(candidate.id, "contact_policy", name, until)


def quiet_until(channel: str | None, now: Contacting, at: float) -> float | None:
    """When the quiet hours that hold this channel at `at` are over; None where there are none."""
    spans = now.rules.quiet.get(channel or "")
    if not spans or now.ask.direction == "inbound":
        return None
    return quiet.until(spans, member_zone(now.snapshot, now.ask, now.zone), at)


def member_zone(snapshot: Snapshot, ask: Ask, programme_zone: str) -> ZoneInfo:
    """The caller's `context.timezone`, else the member's own, else the programme's; a name that is none is passed."""
    said = ask.context.get("timezone")
    given = quiet.zone(said) if isinstance(said, str) else None
    return given or quiet.zone(snapshot.timezone) or quiet.zone(programme_zone) or ZoneInfo("UTC")


def _held(candidate: Candidate, channel: str | None, now: Contacting, at: float) -> Held | None:
    return _own(candidate, now, at) or _rest(candidate, channel, now, at) or channel_held(channel, now, at)


def _own(candidate: Candidate, now: Contacting, at: float) -> Held | None:
    shown = now.history.by_candidate.get(candidate.id)
    if not shown:
        return None
    limits = candidate.limits
    if limits.per_member is not None:
        until = free_again(shown, limits.per_member, limits.per_days, at)
        if until is not None:
            return f"LIMIT_{limits.per_member}_PER_{limits.per_days}D", until
    until = shown[-1] + limits.cooldown_days * _DAY
    return ("COOLDOWN", until) if at < until else None


def _rest(candidate: Candidate, channel: str | None, now: Contacting, at: float) -> Held | None:
    """Rests and caps, which spare rights, service messages and benefits."""
    if not now.history.contacts or candidate.entitlement or candidate.family == "benefit":
        return None
    if now.since and (ignored := _ignored(candidate, now, at)) is not None:
        return ignored
    key = (channel or "", at)
    if key not in now.wide:
        now.wide[key] = _capped(now.wide_caps, candidate, key[0], now, at)
    return now.wide[key] or _capped(now.narrow_caps, candidate, key[0], now, at)


def _ignored(candidate: Candidate, now: Contacting, at: float) -> Held | None:
    for rest in now.rules.ignored:
        what = candidate.type if rest.per == "type" else candidate.id
        count, last = now.since.get((rest.per, what), (0, 0.0))
        if count >= rest.after and at < (until := last + rest.rest_days * _DAY):
            return f"{'TYPE_' if rest.per == 'type' else ''}IGNORED_{rest.after}", until
    return None


def _capped(
    caps: tuple[ContactCap, ...], candidate: Candidate, channel: str, now: Contacting, at: float
) -> Held | None:
    for cap in caps:
        if _fits(cap, candidate.id, candidate.type, channel) and (channel or cap.per != "channel"):
            value = _apart(cap, candidate.id, candidate.type, channel)
            until = free_again(_counted(cap, value, now), cap.count, cap.days, at)
            if until is not None:
                return code(cap, value), until
    return None


def _fits(cap: ContactCap, candidate_id: str, kind: str, channel: str) -> bool:
    return (
        (not cap.channels or channel in cap.channels)
        and (not cap.types or kind in cap.types)
        and (not cap.candidates or candidate_id in cap.candidates)
    )


def _apart(cap: ContactCap, candidate_id: str, kind: str, channel: str) -> str | None:
    """What the cap counts apart, as far as this candidate goes; None where it counts all together."""
    if cap.per == "all":
        return None
    return {"channel": channel, "type": kind, "candidate": candidate_id}[cap.per]


def _counted(cap: ContactCap, value: str | None, now: Contacting) -> list[float]:
    key = (id(cap), value)
    found = now.times.get(key)
    if found is None:
        found = [
            one.at
            for one in now.history.contacts
            if _fits(cap, one.candidate_id, one.candidate_type, one.channel)
            and (value is None or value == _apart(cap, one.candidate_id, one.candidate_type, one.channel))
        ]
        now.times[key] = found
    return found


def channel_held(channel: str | None, now: Contacting, at: float) -> Held | None:
    """What holds everything on a channel, rights and service messages included; None where nothing does."""
    if channel not in PUSHED:
        return None
    key = (channel, at)
    if key not in now.held:
        now.held[key] = _bounced(channel, now, at) or _quiet(channel, now, at)
    return now.held[key]


def _bounced(channel: str, now: Contacting, at: float) -> Held | None:
    rule = now.rules.bounced
    if rule is None:
        return None
    came = [one.at for one in now.snapshot.reactions if one.kind == "bounced" and one.channel == channel]
    for last in range(len(came) - 1, rule.after - 2, -1):
        until = came[last] + rule.rest_days * _DAY
        enough = came[last] - came[last - rule.after + 1] < rule.within_days * _DAY
        if enough and came[last] <= now.snapshot.at and at < until:
            return f"{channel.upper()}_BOUNCED", until
    return None


def _quiet(channel: str, now: Contacting, at: float) -> Held | None:
    until = quiet_until(channel, now, at)
    return None if until is None else (QUIET, until)


def free_again(times: list[float], count: int, days: int, at: float) -> float | None:
    """When fewer than `count` of these times lie in the last `days` days; None where that is so already."""
    if len(times) < count:
        return None
    until = times[-count] + days * _DAY
    return until if at < until else None
