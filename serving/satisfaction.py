"""What a bad score in a survey changes: no promotions for a while, and a call that makes up for it may come at once."""

from __future__ import annotations

from features.entities import Candidate
from serving.contact_rules import Dissatisfied
from serving.policy import Policy
from serving.snapshot import Snapshot, Suppressed

_DAY, _HOUR = 86400.0, 3600.0
HOURS_SINCE = "hours_since_low_score"
"""The number that a condition may ask for."""
_SCORE = Dissatisfied.model_fields["score"].default


def low_score_at(snapshot: Snapshot, policy: Policy) -> float | None:
    """When the member last gave a bad score that was neither resolved nor followed by a better one; None without."""
    rule = policy.contact.dissatisfied if policy.contact else None
    bad = rule.score if rule else _SCORE
    since: float | None = None
    for one in snapshot.reactions:
        if one.at > snapshot.at:
            continue
        if one.kind == "score" and one.value is not None:
            since = one.at if one.value <= bad else None
        elif one.kind == "resolved":
            since = None
    return since


def hours_since(snapshot: Snapshot, policy: Policy) -> dict[str, float]:
    """The hours since then, as a number of the member; nothing where there is no such score."""
    since = low_score_at(snapshot, policy)
    return {} if since is None else {HOURS_SINCE: (snapshot.at - since) / _HOUR}


def why_not(candidate: Candidate, since_hours: float | None, at: float, policy: Policy) -> Suppressed | None:
    """Why a promotion may not go to a member who is dissatisfied; None where it may."""
    rule = policy.contact.dissatisfied if policy.contact else None
    if rule is None or since_hours is None or candidate.entitlement:
        return None
    if candidate.family != "offer" and candidate.type not in rule.actions:
        return None
    until = at - since_hours * _HOUR + rule.rest_days * _DAY
    return Suppressed(candidate.id, "suitability", "DISSATISFIED", until) if at < until else None
