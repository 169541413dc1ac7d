"""Forecast tiers in the past and see what became of them: ours beside the run rate, at cut-offs out of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import cutoffs
from features.entities import Programme
from features.learned.tier_outcome import reach_chances
from features.member_facts import of
from features.member_states import state_blobs
from features.standing import tier_features
from features.states import decode
from features.tier_needs import DAY, Needs
from training.frames import HistoryTooShortError
from training.tier_outcome import fit, purchased, rows_of

Floats = NDArray[np.float64]
OURS, RUN_RATE, RUN_RATE_FITTED = "ours", "run rate", "run rate, fitted"
_MOST = 4_000
_DRAWS = 300


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Chances and what came, one row for each member at each cut-off and event."""

    event: NDArray[np.str_]
    """(n,): `upgrade` of those who can rise, `downgrade` of those who can fall."""
    member: NDArray[np.str_]
    came: NDArray[np.bool_]
    chance: Mapping[str, Floats]
    """Forecast → (n,)."""
    usual: Floats
    """(n,): how often it had come to those the forecasts learned from: what skill is measured against."""


def run(
    tables: Path,
    programme: Programme,
    at: datetime,
    cut_offs: int,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Judged:
    """Fit and judge at up to `cut_offs` moments, one look ahead apart, the last one look ahead before `at`.

    Raises:
        HistoryTooShortError: The history has room for none.
    """
    first = purchased(tables, at)["occurred_at"].min()
    parts = []
    ahead = timedelta(days=90)
    for number in range(1, cut_offs + 1):
        cut = at - number * ahead
        if cut - 2 * ahead < first:
            break
        progress(f"as of {cut:%Y-%m-%d}")
        before = _seen(tables, programme, cut - ahead, at, seed)
        parts.append(_judged(tables, programme, cut, at, before, seed))
    if not parts:
        raise HistoryTooShortError(f"tiers are judged 90 days ahead with 180 days before; the history begins {first}")
    joined = pd.concat([part for part in parts if len(part)], ignore_index=True)
    names = (OURS, RUN_RATE, RUN_RATE_FITTED)
    return Judged(
        joined["event"].to_numpy(str),
        joined["member"].to_numpy(str),
        joined["came"].to_numpy(bool),
        {name: joined[name].to_numpy(np.float64) for name in names},
        joined["usual"].to_numpy(np.float64),
    )


def _seen(tables: Path, programme: Programme, cut: datetime, until: datetime, seed: int) -> pd.DataFrame:
    """Members at a cut-off: what they need, at what pace they spend, and what came within the look ahead."""
    needs = Needs(programme)
    members = _drawn(tables, cut, seed)
    found = []
    for member, blob, _ in state_blobs(tables, cut, programme, members):
        one = needs(decode(blob), cut.timestamp())
        if datetime.fromtimestamp(one.decided, UTC) <= until:
            up = one.needs[one.rank + 1] if one.rank + 1 < len(one.needs) else np.nan
            found.append((member, one.rank, up, one.needs[one.rank], one.closes, one.decided))
    columns = ["member_id", "rank", "up", "keep", "closes", "decided"]
    table = pd.DataFrame(found, columns=columns).astype({"up": float, "keep": float})
    if table.empty:
        return table
    later = pd.DataFrame({"member_id": table["member_id"], "at": pd.to_datetime(table["decided"], unit="s", utc=True)})
    features = tier_features(programme)[:1]
    table["then"] = cutoffs.compute(tables, later, features, of(programme))["tier_rank"].fillna(0).to_numpy()
    table["days"] = (table["closes"] - cut.timestamp()) / DAY
    return table


def _drawn(tables: Path, cut: datetime, seed: int) -> list[str]:
    members = np.sort(purchased(tables, cut)["member_id"].unique().astype(str))
    if len(members) > _MOST:
        members = np.sort(np.random.default_rng(seed).choice(members, _MOST, replace=False))
    return [str(one) for one in members]


def _judged(
    tables: Path, programme: Programme, cut: datetime, until: datetime, before: pd.DataFrame, seed: int
) -> pd.DataFrame:
    model = fit(tables, programme, cut, seed)
    table = _seen(tables, programme, cut, until, seed)
    if table.empty:
        return pd.DataFrame(columns=["event", "member", "came", OURS, RUN_RATE, RUN_RATE_FITTED, "usual"])
    money = programme.tier_rules.measure == "spend"
    rows = rows_of(tables, programme, table["member_id"].tolist(), cut)
    old = (
        rows_of(tables, programme, before["member_id"].tolist(), cut - timedelta(days=90)) if len(before) else rows[:0]
    )
    parts = []
    for event, need, of_whom in (("upgrade", "up", 0.0), ("downgrade", "keep", 1.0)):
        some = (table[need].notna() & (table["rank"] >= of_whom)).to_numpy()
        past = (before[need].notna() & (before["rank"] >= of_whom)).to_numpy() if len(before) else np.zeros(0, bool)
        needs, days = table.loc[some, need].to_numpy(), table.loc[some, "days"].to_numpy()
        reached = reach_chances(model, rows[some], days, needs, money=money)
        pace, pace_then = (_pace(one, money) for one in (rows[some], old[past]))
        told = _told(before[past], need, pace_then)
        ours = reached if event == "upgrade" else 1.0 - reached
        naive = pace * days >= needs
        came = _came(table[some], event)
        came_then = _came(before[past], event) if past.any() else np.zeros(1, bool)
        soft = told(needs, pace * days)
        parts.append(
            pd.DataFrame(
                {
                    "event": event,
                    "member": table.loc[some, "member_id"],
                    "came": came,
                    OURS: ours,
                    RUN_RATE: np.where(naive, 1.0, 0.0) if event == "upgrade" else np.where(naive, 0.0, 1.0),
                    RUN_RATE_FITTED: soft if event == "upgrade" else 1.0 - soft,
                    "usual": float(came_then.mean()),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _came(table: pd.DataFrame, event: str) -> NDArray[np.bool_]:
    then, rank = table["then"].to_numpy(), table["rank"].to_numpy()
    found: NDArray[np.bool_] = then > rank if event == "upgrade" else then < rank
    return found


def _pace(rows: Floats, money: bool) -> Floats:
    """Money, or baskets, a day over the last year or since the first purchase."""
    per_basket = np.nan_to_num(rows[:, 6]) if money else 1.0
    found: Floats = np.nan_to_num(rows[:, 3]) * per_basket / np.clip(np.nan_to_num(rows[:, 5]), 30.0, 365.0)
    return found


def _told(before: pd.DataFrame, need: str, pace: Floats) -> Callable[[Floats, Floats], Floats]:
    """The run rate as a chance: a logistic curve over the logarithm of what it comes to against what is needed."""
    from sklearn.linear_model import LogisticRegression

    def ratio(needs: Floats, comes: Floats) -> Floats:
        found: Floats = np.clip(np.log((comes + 1.0) / (np.minimum(needs, 1e9) + 1.0)), -12, 12).reshape(-1, 1)
        return found

    reached = (before["then"] >= before["rank"] + (need == "up")).to_numpy() if len(before) else np.zeros(0, bool)
    if not 5 <= reached.sum() <= len(reached) - 5:
        share = float(reached.mean()) if len(reached) else 0.5
        return lambda needs, _: np.full(len(needs), share)
    curve = LogisticRegression(C=10.0)
    curve.fit(ratio(before[need].to_numpy(), pace * before["days"].to_numpy()), reached)
    return lambda needs, comes: np.asarray(curve.predict_proba(ratio(needs, comes))[:, 1])


def figures(found: Judged, seed: int = 0) -> pd.DataFrame:
    """Brier skill against the usual share, and slope and intercept of calibration, with 95 % intervals over members."""
    rows = []
    for event in ("upgrade", "downgrade"):
        some = found.event == event
        if not 5 <= found.came[some].sum() <= some.sum() - 5:
            continue
        owners, owner = np.unique(found.member[some], return_inverse=True)
        weights = np.random.default_rng(seed).poisson(1.0, (_DRAWS, len(owners)))[:, owner]
        came, usual = found.came[some], found.usual[some]
        for name, chance in found.chance.items():
            rows.append(_figures(event, name, came, chance[some], usual, weights))
    return pd.DataFrame(rows)


def _figures(
    event: str, name: str, came: NDArray[np.bool_], chance: Floats, usual: Floats, weights: NDArray[np.int64]
) -> dict[str, object]:
    off, base = (chance - came) ** 2, (usual - came) ** 2
    skills = 1.0 - (weights @ off) / (weights @ base)
    row: dict[str, object] = {
        "event": event,
        "forecast": name,
        "n": len(came),
        "share": came.mean(),
        "told": chance.mean(),
        "brier": off.mean(),
        "skill": 1.0 - off.sum() / base.sum(),
        **dict(zip(("skill_low", "skill_high"), np.quantile(skills, (0.025, 0.975)), strict=True)),
    }
    slope = _slope(came, chance, np.ones(len(came)))
    slopes = [_slope(came, chance, one.astype(np.float64)) for one in weights[:100]]
    return {
        **row,
        "slope": slope,
        **dict(zip(("slope_low", "slope_high"), np.quantile(slopes, (0.025, 0.975)), strict=True)),
    }


def _slope(came: NDArray[np.bool_], chance: Floats, weight: Floats) -> float:
    """Slope of came on the logit of the chance (Cox 1958), by Newton's method; 1 is calibrated."""
    clipped = np.clip(chance, 1e-4, 1 - 1e-4)
    about = np.column_stack((np.ones(len(came)), np.log(clipped / (1 - clipped))))
    found = np.array([0.0, 1.0])
    for _ in range(25):
        told = 1.0 / (1.0 + np.exp(-np.clip(about @ found, -30, 30)))
        curve = (about * (weight * told * (1 - told))[:, None]).T @ about + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, about.T @ (weight * (came - told)))
        found += np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-8:
            break
    return float(found[1])
