"""A programme in which one candidate's effect turns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = 14
CHANCES = {"do_nothing": 0.3, "ten": 0.4, "gift": 0.3}
TYPES = {"do_nothing": "do_nothing", "ten": "discount_percent", "gift": "gift"}


def programme(tables: Path, effect: float, turns: int, windows: int = 10, members: int = 300, seed: int = 0) -> Path:
    """Members buy 0.7 baskets a window; from window `turns` on, `ten` changes that by `effect`; `gift` adds 0.2."""
    rng = np.random.default_rng(seed)
    decisions, purchases = [], []
    names = list(CHANCES)
    for window in range(-4, windows):
        start = BEGINS + timedelta(days=WINDOW * window)
        for who in range(members):
            chosen = names[rng.choice(3, p=list(CHANCES.values()))] if window >= 0 else ""
            rate = 0.7 + (effect if chosen == "ten" and window >= turns else 0.2 if chosen == "gift" else 0.0)
            at = start + timedelta(minutes=who)
            if chosen:
                decisions.append((f"d{window}-{who}", f"m{who}", chosen, TYPES[chosen], CHANCES[chosen], at))
            purchases += [(f"m{who}", at + timedelta(days=1 + float(x) * 12)) for x in rng.random(rng.poisson(rate))]
    drawn = pd.DataFrame(
        decisions, columns=["decision_id", "member_id", "candidate_id", "candidate_type", "probability", "occurred_at"]
    ).assign(family="offer", placement="home", rank=1, learnable=True, propensities=json.dumps(CHANCES))
    bought = pd.DataFrame(purchases, columns=["member_id", "occurred_at"]).assign(quantity=1.0)
    tables.mkdir(parents=True)
    for name, frame in (("decisions", drawn), ("purchases", bought)):
        frame["occurred_at"] = pd.to_datetime(frame["occurred_at"], utc=True).astype("datetime64[us, UTC]")
        frame.assign(known_at=frame["occurred_at"]).to_parquet(tables / f"{name}.parquet", index=False)
    return tables


def after(windows: float) -> datetime:
    return BEGINS + timedelta(days=WINDOW * windows + 1)
