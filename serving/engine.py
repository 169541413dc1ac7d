"""From a request to an answer: looks up what is known, calls `decide`, and hands both to the journal.

Nothing here waits. `plan` works out the answer and the row that must be kept before it leaves; `serving.delivery` waits
for the journal, for one caller of the service or for a whole campaign.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import apsw

from features.states import StateError
from serving import answer, budget_use, holding, mixing, origins, payload, records, repeats
from serving.answer import Stamp
from serving.calls import Call, Plan, Seen, call
from serving.decide import Appraisal, appraise, decide, period_key, seen_and_decided
from serving.fallback import static
from serving.journal import DecisionRow, Journal, Memory, RequestRow, StoredDecision
from serving.members import Member, Stored, fetch
from serving.portrait import Portrait
from serving.present import Present
from serving.problems import Fault, refuse, shown
from serving.records import Flags
from serving.slate import arrange
from serving.snapshot import Ask, Chances, Decision, Learned, Snapshot

__all__ = ["Call", "Engine", "Plan", "Seen", "call"]

MEMORY_S = 90 * 86_400.0
"""How far back contacts count, seconds."""
SLOW_S = 0.010
"""A look into the online store that takes longer is slow."""
VERY_SLOW_S = 0.100
SLOW_IN_A_ROW = 3
"""After so many slow looks, or a very slow one, answers do without for `PAUSE_S` seconds. One may be the machine's."""
PAUSE_S = 1.0
SHOWN_PRODUCTS = 3


class Engine:
    """Plans answers from what decides right now (`present`) and what the journal remembers."""

    def __init__(
        self, journal: Journal, present: Callable[[], Present], new_id: Callable[[], str], *, patient: bool = False
    ) -> None:
        self.journal = journal
        self.present = present
        self._new_id = new_id
        self._patient = patient
        self._no_look_before = 0.0
        self._slow_looks = 0

    def plan(self, call: Call) -> Plan:
        """Work out the answer to a call.

        Raises:
            RefusedError: 409 where the request id belongs to another body.
            JournalError: the journal cannot be read; `plan_static` still answers.
        """
        present = self.present()
        if call.request_id:
            found = self.journal.find_request(call.request_id, int(call.at * 1e6))
            if found is not None:
                return Plan(call, self.again(call, found[0] == call.body_hash, found[1]))
        key = None if call.asked.dry_run else self._period_key(call, present)
        standing = self.journal.find_period(key) if key else None
        if standing is not None:
            first = records.decision_of(payload.decode(standing.payload).header)
            if repeats.stands(first, call.at, present) and self._may_go(first, call, present):
                return self._repeat(call, standing)
        seen = self.look(call, present)
        learned = self._learned(call, seen, present)
        decision, who = seen_and_decided(
            seen.snapshot, call.ask, learned, present.rulebook.catalog, present.rulebook.policy,
            present.rulebook.experiments,
        )  # fmt: skip
        if repeats.waits(decision, call.ask):
            key = standing = None
        return self.first(call, present, seen, learned, decision, key, standing, who)

    def _may_go(self, first: Decision, call: Call, present: Present) -> bool:
        if not repeats.goes_out(first, call.ask, present.rulebook):
            return True
        return repeats.reaches(first, self.look(call, present).snapshot, call.ask, present.rulebook)

    def _period_key(self, call: Call, present: Present) -> str | None:
        return period_key(call.ask, call.member_id, call.at, present.rulebook.policy)

    def appraise(self, call: Call) -> tuple[Appraisal, tuple[Chances, ...]]:
        """What each candidate is worth for the member and with which chance it would be drawn; nothing is kept.

        Raises:
            JournalError: the journal cannot be read.
        """
        present = self.present()
        seen, book = self.look(call, present), present.rulebook
        learned = self._learned(call, seen, present)
        found = appraise(seen.snapshot, call.ask, learned, book.catalog, book.policy, book.experiments)
        drawn = arrange(found.allowed, seen.snapshot, call.ask, found.policy, held_out=found.held_out)
        return found, drawn.chances

    def plan_static(self, call: Call) -> Plan:
        """The answer of the lowest rung: nothing drawn, nothing looked up, kept out of learning."""
        present = self.present()
        # Nothing can be reserved now, so nothing is given that a budget pays for.
        budgets = frozenset(one.id for one in present.rulebook.catalog.budgets)
        paused = present.controls.paused
        snapshot = Snapshot(
            call.member_id, call.at, known=True, paused=paused, spent_out=budgets, degraded=("journal",)
        )
        learned = self._learned(call, Seen(snapshot, Stored(), None), present)
        book = present.rulebook
        certain = decide(snapshot, call.ask, learned, book.catalog, book.policy, book.experiments)
        decision = static(certain, call.ask, book.candidates)
        seen = Seen(snapshot, Stored(), None)
        plan = self.first(replace(call, request_id=None), present, seen, learned, decision, None, None)
        return replace(plan, call=call)

    def again(self, call: Call, same_body: bool, decision_id: str) -> dict[str, Any]:
        """The answer that a decision in the journal gives to this call.

        Raises:
            RefusedError: 409 where the call's request id came with another body.
        """
        if not same_body:
            rule = "the same request_id with another body"
            raise refuse(409, rule, Fault("request_id", rule, shown(call.request_id)))
        stored = self.journal.find_decision(decision_id)
        if stored is None:
            raise refuse(409, f"decision {decision_id} of this request_id was withdrawn; use a new request_id")
        repeated = payload.decode(stored.payload).header["request_id"] != call.request_id
        return self.recorded(stored, call.asked.explain, call.request_id, repeated=repeated)

    def recorded(
        self,
        stored: StoredDecision,
        explain: str = "reasons",
        request_id: str | None = None,
        *,
        repeated: bool = False,
    ) -> dict[str, Any]:
        """The answer that a decision in the journal gave; `repeated` says that it is given for another request."""
        found = payload.decode(stored.payload).header
        built = found["built_at"]
        stamp = Stamp(
            decision_id=stored.decision_id,
            request_id=request_id or found["request_id"],
            currency=found["currency"],
            models=found["versions"]["models"],
            degraded=tuple(found["snapshot"]["degraded"]),
            feature_age_s=None if built is None else max(found["at"] - built, 0.0),
            cold_start=not found["snapshot"]["known"],
            repeated=repeated,
            reservations=found.get("reservations", {}),
        )
        return answer.written(records.decision_of(found), stamp, explain, self.present().products.titles)

    def _repeat(self, call: Call, standing: StoredDecision) -> Plan:
        given = self.recorded(standing, call.asked.explain, call.request_id, repeated=True)
        if call.request_id is None:
            return Plan(call, given)
        row = RequestRow(call.request_id, call.body_hash, standing.decision_id, int(call.at * 1e6))
        return Plan(call, given, request=row)

    def look(self, call: Call, present: Present) -> Seen:
        """Everything that is known about the member right now."""
        stored = self.fetch(call.member_id, present)
        member: Member | None = None
        degraded: tuple[str, ...] = present.champions.missing
        if stored is None:
            degraded = ("features", *degraded)
        else:
            try:
                member = present.rulebook.finish(stored, call.at)
            except StateError:
                stored, degraded = None, ("features", *degraded)
        if present.budgets_away:
            degraded = (budget_use.AWAY, *degraded)
        memory = self.memory(call.member_id, present, int((call.at - MEMORY_S) * 1e6))
        consents = member.state.consents if member else {}
        snapshot = Snapshot(
            member_id=call.member_id,
            at=call.at,
            known=member is not None or stored is None,
            features=member.features if member else {},
            consents={**consents, **memory.consents},
            contacts=memory.contacts,
            exposures=memory.exposures,
            paused=present.controls.paused,
            refused=call.refused,
            prices=present.prices,
            spent_out=present.spent_out,
            degraded=degraded,
            reactions=memory.reactions,
            timezone=present.rulebook.zone_of(member.state.region) if member else None,
            redeemed_share=present.share_redeemed(member),
            burned_share=present.share_burned(member, call.at),
        )
        return Seen(snapshot, stored or Stored(), member)

    def memory(self, member_id: str, present: Present, since: int) -> Memory:
        """What the journal remembers of the member, under whatever id."""
        found = self.journal.memory(member_id, since)
        for card in present.cards.others.get(member_id, ()):
            found = found.joined(self.journal.memory(card, since))
        return found

    def fetch(self, member_id: str, present: Present) -> Stored | None:
        """The member's rows; None while the online store is gone or was slow a moment ago."""
        began = time.monotonic()
        if present.rows is None or began < self._no_look_before:
            return None
        try:
            found = fetch(present.rows, member_id)
        except (apsw.Error, OSError):
            self._no_look_before = time.monotonic() + PAUSE_S
            return None
        took = time.monotonic() - began
        self._slow_looks = self._slow_looks + 1 if took > SLOW_S else 0
        if not self._patient and (self._slow_looks >= SLOW_IN_A_ROW or took > VERY_SLOW_S):
            self._slow_looks, self._no_look_before = 0, time.monotonic() + PAUSE_S
        return found

    def _learned(self, call: Call, seen: Seen, present: Present) -> Learned:
        personal = seen.member if seen.snapshot.consents.get("personalisation", False) else None
        count = _products_wanted(call.ask, present)
        if call.family == "product" and mixing.wanted(call.ask):
            return present.mixable(personal, call.ask, call.at, mixing.pool(count))
        allowed = present.allowed(call.ask, call.at) if count else None
        return present.champions.learned(personal, call.at, count, allowed, effects=call.family != "product")

    def first(
        self,
        call: Call,
        present: Present,
        seen: Seen,
        learned: Learned,
        decision: Decision,
        key: str | None,
        replaced: StoredDecision | None,
        who: Portrait | None = None,
    ) -> Plan:
        """The answer and the row of a fresh decision, which takes the period of `replaced`; `who` is its portrait."""
        decision_id = self._new_id()
        built = seen.member.built_at if seen.member else None
        claim = None
        if not call.asked.dry_run:
            claim = holding.claim(decision_id, call, present, who, decision)
        stamp = Stamp(
            decision_id=decision_id,
            request_id=call.asked.request_id,
            currency=present.rulebook.catalog.programme.currency,
            models=learned.versions,
            degraded=seen.snapshot.degraded,
            feature_age_s=None if built is None else max(call.at - built, 0.0),
            cold_start=not seen.snapshot.known,
            reservations={hold.candidate_id: hold.reservation_id for hold in claim.holds} if claim else {},
        )
        given = answer.written(decision, stamp, call.asked.explain, present.products.titles)
        if call.asked.dry_run:
            return Plan(call, given)
        flags = Flags(
            learnable=replaced is None
            and call.drawn_before is None
            and decision.mode != "fallback"
            and not repeats.waits(decision, call.ask),
            redecided=replaced is not None or call.drawn_before is not None,
            replaces=replaced.decision_id if replaced else call.drawn_before,
        )
        origin = origins.origin(call, present, decision, stamp, built)
        versions = origins.versions(present, learned)
        header = records.header(origin, decision, seen.snapshot, call.ask, learned, versions, flags)
        row = DecisionRow(
            decision_id=decision_id,
            member_id=call.member_id,
            family=call.family,
            at=int(call.at * 1e6),
            payload=payload.encode(payload.Payload(header, seen.stored.state, seen.stored.taste)),
            period_key=key,
            request_id=call.request_id,
            body_hash=call.body_hash,
            contacts=origins.contacts(decision, call.ask, present),
            exposures=decision.exposures,
            learnable=flags.learnable,
            supersedes=replaced.decision_id if replaced else None,
            claim=claim,
        )
        return Plan(call, given, row)


def _products_wanted(ask: Ask, present: Present) -> int:
    if ask.family == "product":
        return sum(one.count for one in ask.placements) + len(ask.exclude) + len(present.controls.paused)
    return SHOWN_PRODUCTS if ask.family == "action" else 0
