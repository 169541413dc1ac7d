"""The state of a block of members, and of the window that they are in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from experiments.programme.baskets import Shelf
from experiments.programme.chance import Flags, Floats, Log, Whole
from experiments.programme.ledger import Ledger
from experiments.programme.profiles import Profiles
from experiments.programme.seasons import Seasons
from experiments.worlds import World

ACTIVE, FADING, GONE = range(3)


@dataclass(slots=True)
class Life:
    """The state of a block; arrays (n,). It moves while the block lives."""

    world: World
    shelf: Shelf
    profiles: Profiles
    clock: Seasons
    days: int
    rng: np.random.Generator
    book: Ledger
    standing: Whole
    left: Floats
    """Operational days until the next basket that comes by itself."""
    bad: Floats
    engaged: Floats
    contacts: Floats
    """Recent bad experiences, engagements, contacts: halved at every window."""
    last_basket: Floats
    baskets: int = 0
    log: Log = field(default_factory=Log)


@dataclass(slots=True)
class Window:
    """One reward window of every member; arrays (n,). `extra_at` and `uses` are used up as it passes."""

    number: int
    start: Floats
    end: Floats
    here: Flags
    speed: Floats
    arm: Whole
    extra_at: Floats
    uses: Flags
    came: Whole
    """Baskets that came by themselves."""
