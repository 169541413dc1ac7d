"""What the row of a decision says beside the decision: its contacts, where it came from, and what it rests on."""

from __future__ import annotations

from serving import code
from serving.answer import Stamp
from serving.calls import Call
from serving.eligibility import route
from serving.journal_rows import ContactRow
from serving.present import Present
from serving.records import Origin, Versions
from serving.snapshot import Ask, Decision, Learned


def contacts(decision: Decision, ask: Ask, present: Present) -> tuple[ContactRow, ...]:
    """The offers and actions that are put before the member, each with its channel."""
    found = []
    for one in decision.results:
        candidate = present.rulebook.candidates.get(one.id)
        if candidate is not None and one.kind in ("offer", "action") and candidate.type != "do_nothing":
            found.append(ContactRow(one.id, candidate.type, one.kind, route(candidate, ask) or ""))
    return tuple(found)


def origin(call: Call, present: Present, decision: Decision, stamp: Stamp, built: float | None) -> Origin:
    """Where the decision came from; `built` is when the member's state was made, epoch seconds."""
    candidates = present.rulebook.candidates
    types = {one.id: candidates[one.id].type for one in decision.results if one.id in candidates}
    return Origin(
        stamp.decision_id, call.asked.request_id, call.asked.direction, stamp.currency, built, types, stamp.reservations
    )


def versions(present: Present, learned: Learned) -> Versions:
    """What has to be at hand to run the decision again."""
    book = present.rulebook
    return Versions(
        book.catalog.version, book.policy.version, book.experiments.version, learned.versions, code.version()
    )
