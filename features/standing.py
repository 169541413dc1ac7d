"""Where a member stands in the tiers, as features: by the spend inside each tier's rolling window and nothing else."""

from __future__ import annotations

from features.entities import Tier
from features.relations import Feature


def tier_features(tiers: tuple[Tier, ...]) -> tuple[Feature, ...]:
    """The four features of a programme's tiers, lowest tier first; ranks count from 0."""
    ranks = range(len(tiers))
    left = [f"{tier.window_days} - max(age_days) filter ({_dropping_loses(tier)})" for tier in tiers]
    keep = [
        f"case when {_spend(tier, sooner=30)} < {_cents(tier)}"
        f" then ({_cents(tier)} - {_spend(tier, sooner=30)}) / 100 else 0 end"
        for tier in tiers
    ]
    gap = [f"({_cents(tier)} - {_spend(tier)}) / 100" for tier in tiers[1:]]
    return (
        Feature("tier_rank", "tier", "baskets", _by_rank(tiers, [str(rank) for rank in ranks]), "Tier, 0 the lowest."),
        Feature(
            "spend_to_next_tier",
            "tier",
            "baskets",
            _by_rank(tiers, [*gap, "null"]),
            "Money to spend today to reach the next tier; missing in the highest.",
        ),
        Feature(
            "spend_to_keep_tier",
            "tier",
            "baskets",
            _by_rank(tiers, ["0", *keep[1:]]),
            "Money to spend within 30 days so that the tier still holds then; 0 in the lowest.",
        ),
        Feature(
            "tier_days_left",
            "tier",
            "baskets",
            _by_rank(tiers, ["null", *left[1:]]),
            "Days until the tier is lost if nothing is bought; missing in the lowest.",
        ),
    )


def _by_rank(tiers: tuple[Tier, ...], values: list[str]) -> str:
    """SQL that picks the value of the highest tier reached."""
    reached = [
        f"when {_spend(tier)} >= {_cents(tier)} then {value}"
        for tier, value in reversed(list(zip(tiers[1:], values[1:], strict=True)))
    ]
    return f"case {' '.join(reached)} else {values[0]} end" if reached else values[0]


def _spend(tier: Tier, sooner: int = 0) -> str:
    return f"coalesce(sum(spend) filter (where age_days < {max(tier.window_days - sooner, 0)}), 0)"


def _cents(tier: Tier) -> int:
    return round(tier.min_spend * 100)


def _dropping_loses(tier: Tier) -> str:
    """The baskets without which, once they leave the window, what is newer no longer reaches the tier."""
    return f"where newer_spend < {_cents(tier)} and age_days < {tier.window_days}"
