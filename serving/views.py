"""What can be looked up afterwards: a member, a decision, and why it came out so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from features.states import StateError
from serving import payload
from serving.house import House
from serving.journal import StoredDecision
from serving.members import Stored
from serving.problems import refuse, shown
from serving.profile import profile


@dataclass(frozen=True, slots=True)
class Views:
    """Look-ups in one house."""

    house: House

    def member(self, member_id: str) -> dict[str, Any]:
        """The member's profile.

        Raises:
            RefusedError: 404 for a member the online store does not know, 503 while there is none.
        """
        house, at = self.house, self.house.now()
        present = house.watch.present()
        member_id = present.cards.owner(member_id)
        stored = house.engine.fetch(member_id, present)
        if stored is None:
            raise refuse(503, "the online store does not answer", retry_after="1")
        try:
            member = present.rulebook.finish(stored, at)
        except StateError as error:
            raise refuse(503, str(error), retry_after="60") from None
        if member is None:
            raise refuse(404, f"member {shown(member_id)} is not known")
        consents = {**member.state.consents, **house.engine.memory(member_id, present, 0).consents}
        return profile(member_id, member, consents, at, present.rulebook.catalog.programme, present.champions)

    def decision(self, decision_id: str) -> dict[str, Any]:
        """The answer that was given."""
        return self.house.engine.recorded(self._stored(decision_id))

    def explain(self, decision_id: str) -> dict[str, Any]:
        """The answer with every chance and every drop, and what it rested on: enough to run it again."""
        stored = self._stored(decision_id)
        found = payload.decode(stored.payload)
        try:
            member = self.house.watch.present().rulebook.finish(Stored(found.state, found.vector), found.header["at"])
        except StateError:
            member = None
        return {
            **self.house.engine.recorded(stored, "full"),
            "inputs": {
                "at": found.header["at"],
                "direction": found.header["direction"],
                "ask": found.header["ask"],
                "snapshot": found.header["snapshot"],
                "features": dict(member.features) if member else {},
                "learned": found.header["learned"],
            },
            "versions": found.header["versions"],
            "flags": {**found.header["flags"], "learnable": stored.learnable},
        }

    def _stored(self, decision_id: str) -> StoredDecision:
        stored = self.house.journal.find_decision(decision_id)
        if stored is None:
            raise refuse(404, f"decision {shown(decision_id)} is not in the journal")
        return stored
