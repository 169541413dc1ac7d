"""What a programme knows of its members from the form they filled in: since when, where they live, what they allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.programme.chance import PROFILES, Flags, Floats, Whole, stream

REGIONS = ("north", "south", "east", "west", "centre")
INCOMES = ("under 25k", "25-50k", "50-75k", "75-100k", "over 100k")
COMPOSITIONS = ("single", "couple", "family", "shared")
CONSENTS = ("personalisation", "email", "sms", "push", "call")
_AGREE = np.array([0.95, 0.72, 0.38, 0.55, 0.30])


@dataclass(frozen=True, slots=True)
class Profiles:
    """Arrays (n_members,); `consents` is (n_members, 5) in the order of CONSENTS."""

    enrolled: Floats
    """Days after the start of the history; negative before it."""
    region: Whole
    birth_year: Whole
    """0 where it was not given."""
    consents: Flags
    household: Whole
    """Ordinal inside the block; −1 for none. Two or three members in a row share one."""
    channel: Whole
    """Index into CHANNELS of what we would use to reach them."""
    phase: Floats
    """Days before the end at which their last whole reward window ends, inside (0, 14)."""


CHANNELS = ("email", "sms", "push", "app")


def profiles(days: int, count: int, seed: int, block: int) -> Profiles:
    """The profiles of one block."""
    rng = stream(seed, PROFILES, block)
    before = rng.random(count) < 0.6
    enrolled = np.where(before, -rng.exponential(300, count), rng.uniform(0, 0.9 * days, count))
    consents = rng.random((count, len(CONSENTS))) < _AGREE
    ways = np.column_stack([consents[:, 1], consents[:, 2] & (rng.random(count) < 0.4), consents[:, 3]])
    wish = np.where(ways, rng.random((count, 3)), -1.0)
    channel = np.where(ways.any(axis=1), wish.argmax(axis=1), 3)
    apart = rng.random(count) < 0.7
    household = np.where(rng.random(count) < 0.8, np.cumsum(apart), -1)
    given = rng.random(count) < 0.85
    return Profiles(
        enrolled=enrolled,
        region=rng.integers(len(REGIONS), size=count),
        birth_year=np.where(given, rng.integers(1940, 2005, size=count), 0),
        consents=consents,
        household=household,
        channel=channel,
        phase=rng.integers(0, 13, size=count) + rng.uniform(0.2, 0.7, count),
    )
