"""What callers say and get when points are redeemed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.contract import Answer, Identifier, Strict

Channel = Literal["goods", "coupon", "tier_upgrade", "pay_with_points"]


class PointsRedeemRequest(Strict):
    """Points to be used. With a `request_id` it may be sent again: nothing is spent twice."""

    points: float = Field(gt=0, le=1e9, description="A whole number; the channel says how few and in which steps.")
    channel: Channel = Field(description="What for; earning.yaml says what a point is worth there.")
    request_id: Identifier | None = None


class PointsReleaseRequest(Strict):
    """A redemption to be rolled back."""

    redemption_id: Identifier


class UsedLot(Answer):
    """Points that came from one lot."""

    lot_id: str
    points: float
    expires_at: str | None = None


class RedemptionAnswer(Answer):
    """A redemption; it is on disk. `balance` is what was left at that moment."""

    redemption_id: str
    member_id: str
    state: Literal["redeemed", "released"]
    channel: Channel
    points: float
    value: float = Field(description="What the member gets for them, in the programme's currency.")
    currency: str
    balance: float
    lots: list[UsedLot]
    redeemed_at: str
