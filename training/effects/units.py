"""Units to learn effects from, out of the tables: who, what was known before, what was drawn, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.drawn import NOTHING, chances, decisions, positions
from training.effects.inputs import Drawn, Floats, Whole, drawn


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Units in order of time."""

    units: Drawn
    """The outcome is baskets in the reward window."""
    responded: Floats
    """(n,): 1 where what was given was accepted or redeemed."""
    at_us: Floats
    """(n,): when it was decided, microseconds since 1970."""
    arms: tuple[str, ...]
    """(k,): candidate ids, doing nothing first."""
    who: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, object))
    """(n,): member ids."""

    def rows(self, keep: NDArray[np.bool_] | Whole) -> Found:
        """Some of the units."""
        return Found(self.units.rows(keep), self.responded[keep], self.at_us[keep], self.arms, self.who[keep])


def units(
    tables: Path,
    at: datetime,
    window_days: int,
    features: Callable[[pd.DataFrame], pd.DataFrame],
    names: Sequence[str],
    most: int,
    seed: int,
) -> Found | None:
    """Everything that was drawn by lot and whose window has closed.

    Args:
        tables: folder of the typed tables.
        at: nothing known later is used.
        window_days: the reward window.
        features: pairs of member_id and at → the same with features as they were known then.
        names: which of them.
        most: more units than this are not used: whole members are left out by lot.
        seed: of that lot.

    Returns:
        None where nothing, or never doing nothing, was drawn.
    """
    found = decisions(tables, at, window_days)
    if found.empty or NOTHING not in set(found["candidate_type"]):
        return None
    found = _some(found, most, seed).sort_values(["at_us", "member_id", "family"], ignore_index=True)
    kinds = dict(zip(found["candidate_id"], found["candidate_type"], strict=True))
    arms = (NOTHING, *sorted(one for one, kind in kinds.items() if kind != NOTHING))
    column = {one: NOTHING if kind == NOTHING else one for one, kind in kinds.items()}
    pairs = pd.DataFrame(
        {
            "member_id": found["member_id"],
            "at": pd.to_datetime(found["at_us"], unit="us", utc=True).astype("datetime64[us, UTC]"),
        }
    )
    rows = pairs.merge(features(pairs.drop_duplicates(ignore_index=True)), on=["member_id", "at"], how="left")
    made = drawn(
        rows[list(names)].to_numpy(np.float64),
        positions(found["candidate_id"].map(column), arms),
        chances(found, column, arms),
        found["baskets"].to_numpy(np.float64),
        tuple(kinds.get(arm, NOTHING) for arm in arms),
        pd.factorize(found["member_id"])[0].astype(np.int64),
    )
    return Found(
        made,
        found["responded"].to_numpy(np.float64),
        found["at_us"].to_numpy(np.float64),
        arms,
        found["member_id"].to_numpy(object),
    )


def _some(found: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    if len(found) <= most:
        return found
    who = np.sort(found["member_id"].unique())
    rank = dict(zip(who[np.random.default_rng(seed).permutation(len(who))], range(len(who)), strict=True))
    order = found["member_id"].map(rank).sort_values(kind="stable")
    return found.loc[order.index[:most]]
