"""One candidate of a decision explained, as JSON values: why not, what would change it, what a member may read."""

from __future__ import annotations

from typing import Any

from serving import explain_words, thresholds, value
from serving.answer import moment
from serving.counterfactuals import Found, ways
from serving.explain_case import Case, Standing, standing
from serving.explain_obstacles import Obstacle, obstacle
from serving.explain_steps import Change
from serving.snapshot import Decision


def explained(case: Case, decision: Decision, name: str) -> dict[str, Any]:
    """Everything about one candidate. Takes milliseconds to a quarter of a second.

    Args:
        case: The inputs of the decision.
        decision: What came of them.
        name: A candidate's id.

    Raises:
        KeyError: the family of the decision has no such candidate.
    """
    candidate, programme = case.candidate(name), case.catalog.programme
    if candidate is None:
        raise KeyError(name)
    found = standing(case, name)
    met = obstacle(case, candidate, found.reason, found.seen.portrait) if found.reason else None
    given = next((one for one in decision.results if one.id == name), None)
    member = (
        explain_words.for_member(given) if given else explain_words.for_member_not(candidate, found.reason, programme)
    )
    priced = [] if found.worth is None else explain_words.worth(value.written(found.worth), programme.currency)
    return {
        "candidate": name,
        "outcome": found.outcome,
        "probability": found.chance,
        "why": priced if given is None else explain_words.why(given, programme.currency),
        "why_not": None if given else _why_not(found, met, case),
        **_changes(case, name, found),
        "member_sentence": member,
    }


def _why_not(found: Standing, met: Obstacle | None, case: Case) -> dict[str, Any]:
    text = explain_words.why_not(found, met, case.catalog.programme)
    if met is None:
        return {"text": text, "rival": found.rival, "gap": round(max(found.gap, 0.0), 4)}
    numbers = {"feature": met.feature or None, "value": met.value, "low": met.low, "high": met.high, "gap": met.gap}
    reason = met.reason
    return {
        "text": text,
        "stage": reason.stage,
        "code": reason.code,
        "until": moment(reason.until),
        **{key: one if isinstance(one, str) else _finite(one) for key, one in numbers.items()},
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and abs(number) < 1e300 else None


def _changes(case: Case, name: str, found: Standing) -> dict[str, Any]:
    if found.outcome == "dropped":
        sets, none = ways(case, name), explain_words.NONE_FOUND
    elif found.outcome == "outdone":
        sets, none = thresholds.winning(case, name, found), explain_words.NEVER_WINS
    else:
        return {"changes": [], "none_found": None}
    return {"changes": [_set(one, case) for one in sets], "none_found": None if sets else none}


def _set(found: Found, case: Case) -> dict[str, Any]:
    programme = case.catalog.programme
    return {
        "steps": [_step(change, case) for change in found.changes],
        "then": explain_words.then(found.then, programme.currency),
        "wins": found.then.rival is None,
    }


def _step(change: Change, case: Case) -> dict[str, Any]:
    timed = change.kind == "wait"
    return {
        "by": change.by,
        "kind": change.kind,
        "what": change.what or None,
        "now": None if timed else change.now,
        "needed": None if timed else change.needed,
        "from": moment(change.needed) if timed else None,
        "before": moment(change.until),
        "text": explain_words.step(change, case.catalog.programme),
    }
