"""One member's lots as they stand now: those of the tables, and what was accepted since, in the order of acceptance.

The order of acceptance, and not of time, because a promise was made against what had been accepted before it: replayed
so, its lots always hold what it took, whatever is reported late. The next ledger is computed in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from features.ledger.redeeming import Draw, Lot, in_order


class Purse:
    """Lots that points come into and go out of.

    What is taken without there being enough is owed: the next points pay it, so that nothing can be spent twice.
    """

    def __init__(self, lots: Iterable[Lot] = ()) -> None:
        self._lots = {lot.lot_id: lot for lot in lots}
        self._owed = 0.0

    def put(self, lot: Lot) -> None:
        """Points come in: a new lot, or back into one there is."""
        paid = min(self._owed, lot.points)
        self._owed -= paid
        there = self._lots.get(lot.lot_id, replace(lot, points=0.0))
        self._lots[lot.lot_id] = replace(there, points=there.points + lot.points - paid)

    def take(self, draws: Iterable[Draw]) -> None:
        """Points go out of the lots named."""
        for draw in draws:
            lot = self._lots.get(draw.lot_id)
            taken = min(draw.points, lot.points if lot else 0.0)
            self._owed += draw.points - taken
            if lot is not None:
                self._lots[draw.lot_id] = replace(lot, points=lot.points - taken)

    def burn(self, points: float, at: datetime) -> None:
        """Points go out of whichever lots expire soonest after `at`."""
        for lot in in_order(self._lots.values(), at):
            taken = min(points, lot.points)
            self._lots[lot.lot_id] = replace(lot, points=lot.points - taken)
            points -= taken
        self._owed += points

    def lots(self) -> tuple[Lot, ...]:
        """All of them, those that are empty or out of time included."""
        return tuple(self._lots.values())
