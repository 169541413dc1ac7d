"""The tables that recipes learn from, read once and cut at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from features import history
from features.workspace import Workspace
from training.interactions import Interactions, build
from training.split import after

_BOUGHT = ["purchase_id", "basket_id", "member_id", "product_id", "quantity", "reverses", "occurred_at", "known_at"]


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Purchases, products and members as typed tables."""

    purchases: pd.DataFrame
    products: pd.DataFrame
    members: pd.DataFrame

    @staticmethod
    def read(ws: Workspace) -> Ledger:
        """As they lie on disk."""
        return Ledger(
            history.read(ws.tables, "purchases", _BOUGHT),
            history.read(ws.tables, "products"),
            history.read(ws.tables, "members"),
        )

    def at(self, moment: datetime) -> Interactions:
        """What was known then."""
        return build(self.purchases, self.products, self.members, moment)

    def after(self, cut: datetime, days: float) -> pd.DataFrame:
        """What was bought in the days that follow."""
        return after(self.purchases, cut, days)
