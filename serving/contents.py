"""What the member sees of a candidate: the marketer's texts, with what is known of this very member. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan

from features.entities import Candidate, Programme
from features.ledger.best_use import best_use
from serving.portrait import Portrait
from serving.snapshot import Learned


def shown(candidate: Candidate, who: Portrait, learned: Learned, programme: Programme) -> Mapping[str, str]:
    """What the member sees, with the products of a recommendation and the best use of points that expire."""
    if candidate.type == "product_recommendation":
        return {**candidate.content, "product_ids": ",".join(product for product, _ in learned.products[:3])}
    if candidate.type != "points_expiry_reminder":
        return candidate.content
    expiring, balance = (who.numbers.get(name, nan) for name in ("points_expiring_30d", "points_balance"))
    use = best_use(expiring, balance, programme.earning.channels, programme.points.cost_per_point)
    if use is None:
        return candidate.content
    return {**candidate.content, "use": use.channel, "use_points": str(use.points), "use_value": f"{use.value:.2f}"}
