"""The three simulated worlds: the same people, shops and seasons; what our doing causes differs.

The numbers are fixed by `docs/decisions/0002-worlds.md`; the equations they enter stand in `docs/simulator.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from features.entities import ACTION_TYPES, OFFER_TYPES, PointsRules, Tier

EFFECT_TYPES: tuple[str, ...] = (*OFFER_TYPES, *(kind for kind in ACTION_TYPES if kind != "do_nothing"))
"""Every type that may have an effect, in the order of the effect arrays."""

_SHAPE = {
    "discount_percent": 0.40,
    "discount_amount": 0.34,
    "points_multiplier": 0.24,
    "points_fixed": 0.28,
    "gift": 0.30,
    "free_shipping": 0.20,
    "win_back": 0.34,
    "points_expiry_reminder": 0.24,
    "event_invitation": 0.14,
    "community_invitation": 0.08,
    "review_request": 0.06,
    "satisfaction_survey": 0.06,
    "tier_nudge": 0.22,
    "courtesy_call": 0.26,
    "product_recommendation": 0.18,
}
"""Chance that a persuadable member of average pull makes an extra basket, in the strong world."""
_NUISANCE = dict.fromkeys(EFFECT_TYPES, 0.30) | {"courtesy_call": 0.60, "win_back": 0.45, "satisfaction_survey": 0.40}
"""Chance that a sleeping dog stays away for the whole reward window, in the strong world."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One choice of the randomised stretch; `warm` and `cold` are its chances for members who bought lately or not."""

    offer_id: str
    name: str
    type: str
    warm: float
    cold: float
    discount: float = 0.0
    """A share of the basket for `discount_percent`, money for `discount_amount`."""
    points: float = 0.0
    """A factor for `points_multiplier`, points for `points_fixed`."""


ARMS = (
    Arm("do_nothing", "Do nothing", "do_nothing", 0.30, 0.25),
    Arm("basket-5", "5 % off one basket", "discount_percent", 0.14, 0.20, discount=0.05),
    Arm("five-off", "5 euro off", "discount_amount", 0.12, 0.18, discount=5.0),
    Arm("double-points", "Double points on one basket", "points_multiplier", 0.16, 0.10, points=2.0),
    Arm("points-250", "250 points", "points_fixed", 0.14, 0.12, points=250.0),
    Arm("surprise-gift", "A small gift with the next basket", "gift", 0.14, 0.15),
)
"""Offers of the shipped catalogue; both columns of chances sum to one."""

TIERS = (
    Tier("bronze", "Bronze", 0.0, 365, 1.0),
    Tier("silver", "Silver", 400.0, 365, 1.25),
    Tier("gold", "Gold", 1200.0, 365, 1.5),
    Tier("platinum", "Platinum", 3000.0, 365, 2.0),
)
"""The tiers of the shipped catalogue."""


def _scaled(table: Mapping[str, float], factor: float) -> Mapping[str, float]:
    return MappingProxyType({name: value * factor for name, value in table.items()})


@dataclass(frozen=True, slots=True)
class World:
    """All parameters of one world. Times are days; a window is the reward window of `window_days`."""

    name: str
    lift: Mapping[str, float]
    """Type → chance of an extra basket in the window for a persuadable member of average pull."""
    drop: Mapping[str, float]
    """Type → chance that a sleeping dog makes no basket at all in the window."""
    points_pull: float
    """Relative speed-up of shopping while at least 100 points expire within 30 days."""
    engagement_pull: float
    """Relative speed-up of shopping per recent engagement (at most three count)."""
    engagement_loyalty: float
    """Fall of the log hazard of fading per recent engagement."""
    points_loyalty: float
    """Fall of the log hazard of fading at a balance of 1,000 points."""
    fatigue: float
    """Each recent contact multiplies the lift by exp(−fatigue)."""
    irritation: float
    """Rise of the log hazard of fading per recent contact, times the member's own irritability."""

    # Nature: the same in every world.
    window_days: float = 14.0
    stretch_windows: int = 8
    """Reward windows at the end in which what each member gets is drawn by lot: 112 days."""
    campaign_every: int = 3
    """Before the stretch: a targeted campaign (no probabilities) in every so-many-eth window."""
    gap_median: float = 24.0
    gap_spread: float = 0.70
    """Standard deviation of the logarithm of members' mean gaps between baskets."""
    fading_hazard: float = 0.022
    """Median chance per window that an active member starts to fade."""
    hazard_spread: float = 0.80
    fading_speed: float = 0.50
    """Shopping speed of a fading member, relative to an active one."""
    leaving: float = 0.30
    """Chance per window that a fading member is gone."""
    recovering: float = 0.08
    """Chance per window that a fading member is active again."""
    returning: float = 0.006
    """Chance per window that a gone member comes back by itself."""
    bad_experience: float = 0.03
    """Chance per basket; each recent one adds `bad_weight` to the log hazard of fading."""
    bad_weight: float = 0.9
    gone_reach: float = 0.15
    """Factor on the lift for members who are gone."""
    taste_dims: int = 8
    styles: int = 10
    habits: int = 10
    late_share: float = 0.03
    """Share of baskets that we hear of days later."""
    tiers: tuple[Tier, ...] = TIERS
    points: PointsRules = field(default_factory=lambda: PointsRules(365, 0.01, 0.75))
    arms: tuple[Arm, ...] = ARMS


def _world(name: str, strength: float) -> World:
    return World(
        name=name,
        lift=_scaled(_SHAPE, strength),
        drop=_scaled(_NUISANCE, strength),
        points_pull=0.6 * strength,
        engagement_pull=0.08 * strength,
        engagement_loyalty=0.35 * strength,
        points_loyalty=0.30 * strength,
        fatigue=0.12 * strength,
        irritation=0.15 * strength,
    )


WORLDS: Mapping[str, World] = MappingProxyType(
    {"none": _world("none", 0.0), "weak": _world("weak", 0.2), "strong": _world("strong", 1.0)}
)
