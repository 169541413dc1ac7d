"""What can be looked up afterwards: a member, a decision, and why it came out so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from features.entities import Catalog
from features.states import StateError
from serving import explain_past, payload, tier_outlook, tier_path
from serving.answer import moment
from serving.calls import call
from serving.contract import DecisionRequest, PlacementAsk
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
        programme = present.rulebook.catalog.programme
        said = profile(member_id, member, consents, at, programme, present.champions)
        said["tier"]["outlook"] = tier_outlook.told(tier_outlook.seen(member, at, programme), present.tier_outcome)
        return said

    def tier_path(self, member_id: str) -> dict[str, Any]:
        """What would bring the member to the next tier, and what would keep the present one, at least cost.

        Raises:
            RefusedError: 404 for a member nobody knows and before tiers were forecast, 503 while the store is missing.
        """
        house, at = self.house, self.house.now()
        present = house.watch.present()
        member_id = present.cards.owner(member_id)
        if present.tier_outcome is None:
            raise refuse(404, "tiers are not forecast yet: tessera tiers --fit")
        asked = DecisionRequest(member_id=member_id, placements=_places(present.rulebook.catalog), dry_run=True)
        calls = {family: call(family, member_id, asked, at, b"") for family in ("action", "benefit")}
        member = house.engine.look(calls["action"], present).member
        if member is None:
            raise refuse(404, f"member {shown(member_id)} is not known")
        found = [house.engine.appraise(one)[0] for one in calls.values()]
        programme = present.rulebook.catalog.programme
        standing = tier_outlook.seen(member, at, programme)
        allowed = [one for many in found for one in many.allowed]
        window = float(present.rulebook.policy.families["action"].reward_window_days)
        return {
            "member_id": member_id,
            "as_of": moment(at),
            "currency": programme.currency,
            **tier_path.told(standing, present.tier_outcome, allowed, window),
        }

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

    def question(self, decision_id: str, candidate: str) -> Callable[[], dict[str, Any]]:
        """Why this candidate or why not, and what would have to change: reads here, to be worked out wherever."""
        return explain_past.why(self.house, self._stored(decision_id), candidate)

    def _stored(self, decision_id: str) -> StoredDecision:
        stored = self.house.journal.find_decision(decision_id)
        if stored is None:
            raise refuse(404, f"decision {shown(decision_id)} is not in the journal")
        return stored


def _places(catalog: Catalog) -> list[PlacementAsk]:
    """Every place that a candidate names, so that none drops out because of where it is shown."""
    every = (*catalog.offers, *catalog.actions, *catalog.benefits)
    named = sorted({place for one in every for place in one.placements})
    return [PlacementAsk(id=place) for place in [*named[:9], "default"]]
