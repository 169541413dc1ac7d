"""How tiers are counted and held, as a marketer writes it in `tiers.yaml`: the key `tier_rules` (docs/tiers.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from features.entities import TierRules
from features.written import Written


class TierRulesEntry(Written):
    """Without it tiers count spend inside the rolling window alone."""

    window: Literal["rolling", "calendar_year", "membership_year"] = "rolling"
    measure: Literal["spend", "baskets"] = "spend"
    hold: Literal["none", "year", "next_year"] = "none"
    grace_days: Annotated[int, Field(ge=0, le=365)] = 0
    soft_landing: bool = False
    upgrade: Literal["at_once", "review"] = "at_once"

    def rules(self) -> TierRules:
        """The rules as the other rooms know them."""
        return TierRules(**self.model_dump())
