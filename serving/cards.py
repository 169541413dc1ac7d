"""Whose card, visit or merged account an id is: a request under any of them is about the one member."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features import identity


@dataclass(frozen=True, slots=True)
class Cards:
    """The links as the tables were made with them (`features.identity`)."""

    owners: Mapping[str, str] = field(default_factory=dict)
    """Card → member."""
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Member → the other ids it is known by."""

    def owner(self, member_id: str) -> str:
        """The member whose id, card or visit this is."""
        return self.owners.get(member_id, member_id)


def read(tables: Path) -> Cards:
    """The links of these tables; none where nothing was ever linked."""
    owners = identity.read(tables)
    others: dict[str, list[str]] = defaultdict(list)
    for card, member_id in sorted(owners.items()):
        others[member_id].append(card)
    return Cards(owners, {member_id: tuple(cards) for member_id, cards in others.items()})
