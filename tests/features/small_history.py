"""Small histories for the tests of features: written by hand, or drawn from a seed with all that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.entities import OFFER_TYPES, PointsRules, Programme, SegmentRules, Tier
from features.tables import ENGAGEMENT_TYPES, TABLES

T0 = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

PROGRAMME = Programme(
    currency="EUR",
    timezone="Europe/Amsterdam",
    tiers=(
        Tier("basic", "Basic", 0.0, 365, 1.0),
        Tier("silver", "Silver", 300.0, 365, 1.5),
        Tier("gold", "Gold", 900.0, 365, 2.0),
    ),
    points=PointsRules(expiry_days=365, cost_per_point=0.01, redeemed_share=0.8),
    segments=SegmentRules(30, 2.0, 180, 800.0, 300.0),
    default_margin_rate=0.3,
)


def typed(name: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A typed table from rows that may leave out what has a plain default."""
    filled = [_filled(name, i, row) for i, row in enumerate(rows)]
    frame = pd.DataFrame(filled, columns=[column.name for column in TABLES[name].columns])
    for column in TABLES[name].columns:
        if column.kind == "time":
            frame[column.name] = pd.to_datetime(frame[column.name], utc=True).astype("datetime64[us, UTC]")
        elif column.kind in ("money", "number"):
            frame[column.name] = frame[column.name].astype("float64")
        elif column.kind == "flag":
            frame[column.name] = frame[column.name].astype("bool")
    return frame


def _filled(name: str, i: int, row: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {TABLES[name].key[0]: f"{name}-{i}", "known_at": row.get("occurred_at")}
    if name == "purchases":
        quantity = row.get("quantity", 1)
        price = row.get("unit_price", 10.0)
        defaults |= {"quantity": quantity, "unit_price": price, "discount": 0.0}
        defaults |= {"amount": quantity * price - row.get("discount", 0.0), "product_id": "p0"}
    if name == "members":
        defaults |= {"enrolled_at": row.get("occurred_at")}
        defaults |= {c.name: True for c in TABLES[name].columns if c.kind == "flag"}
    if name == "products":
        defaults |= {
            "unit_price": 10.0,
            "unit_margin": 3.0,
            "margin_basis": "assumed",
            "occurred_at": T0,
            "known_at": T0,
        }
    return defaults | dict(row)


def write(folder: Path, tables: Mapping[str, pd.DataFrame]) -> Path:
    """Write typed tables as the history room does: a Parquet file each, sorted by member."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        ordered = frame.sort_values("member_id") if "member_id" in frame else frame
        ordered.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def pairs(member_ids: Sequence[str], *moments: datetime) -> pd.DataFrame:
    """Every member at every moment."""
    rows = [(member, at) for at in moments for member in member_ids]
    frame = pd.DataFrame(rows, columns=["member_id", "at"])
    frame["at"] = pd.to_datetime(frame["at"], utc=True).astype("datetime64[us, UTC]")
    return frame


def drawn(seed: int, n_members: int = 40, days: int = 500, ends: datetime = T0) -> dict[str, pd.DataFrame]:
    """A history drawn from a seed: ties, returns, late rows, lots with and without expiry, members with nothing."""
    rng = np.random.default_rng(seed)
    members = [f"m{i:04d}" for i in range(n_members)]
    products = [{"product_id": f"p{i}", "category": f"c{i % 7}"} for i in range(30)]
    return {
        "members": typed("members", [_member(rng, member, ends, days) for member in members]),
        "products": typed("products", products),
        "purchases": typed(
            "purchases", _numbered("purchase_id", [r for m in members for r in _lines(rng, m, ends, days)])
        ),
        "points": typed("points", _numbered("entry_id", [r for m in members for r in _entries(rng, m, ends, days)])),
        "engagements": typed(
            "engagements", _numbered("engagement_id", [r for m in members for r in _engaged(rng, m, ends, days)])
        ),
        "offer_events": typed(
            "offer_events", _numbered("event_id", [r for m in members for r in _told(rng, m, ends, days)])
        ),
    }


def _numbered(key: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: f"{key}-{i}", **row} for i, row in enumerate(rows)]


def _moment(rng: np.random.Generator, ends: datetime, days: int) -> datetime:
    return ends - timedelta(days=int(rng.integers(0, days)), microseconds=int(rng.integers(0, 86_400_000_000)))


def _times(rng: np.random.Generator, ends: datetime, days: int, late: float = 0.05) -> dict[str, Any]:
    at = _moment(rng, ends, days)
    known = at + timedelta(days=float(rng.integers(1, 60))) if rng.random() < late else at
    return {"occurred_at": at, "known_at": known}


def _member(rng: np.random.Generator, member: str, ends: datetime, days: int) -> dict[str, Any]:
    at = _moment(rng, ends - timedelta(days=days), 400)
    region = ["north", "south", None][int(rng.integers(0, 3))]
    return {"member_id": member, "occurred_at": at, "region": region, "consent_email": bool(rng.random() < 0.5)}


def _lines(rng: np.random.Generator, member: str, ends: datetime, days: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for basket in range(int(rng.integers(0, 30))):
        times = _times(rng, ends, days)
        for _ in range(int(rng.integers(1, 5))):
            rows.append({"member_id": member, "basket_id": f"{member}-{basket}", **_line(rng), **times})
            if rng.random() < 0.05:
                rows[-1]["known_at"] = times["occurred_at"] + timedelta(days=3)
        if rng.random() < 0.15:
            rows.append(_taken_back(rng, rows[-1]))
    return rows


def _line(rng: np.random.Generator) -> dict[str, Any]:
    price = float(np.round(rng.gamma(2.0, 8.0), 2))
    discount = float(np.round(price * 0.1, 2)) if rng.random() < 0.3 else 0.0
    quantity = int(rng.integers(1, 4))
    return {
        "product_id": f"p{int(rng.integers(0, 33))}",
        "quantity": quantity,
        "unit_price": price,
        "discount": discount,
        "amount": quantity * price - discount,
        "offer_id": "spring" if rng.random() < 0.1 else None,
    }


def _taken_back(rng: np.random.Generator, line: dict[str, Any]) -> dict[str, Any]:
    at = line["occurred_at"] + timedelta(days=float(rng.integers(0, 20)), seconds=1)
    back = {"quantity": -line["quantity"], "amount": -line["amount"], "discount": 0.0}
    return {**line, **back, "basket_id": f"{line['basket_id']}-r", "occurred_at": at, "known_at": at}


def _entries(rng: np.random.Generator, member: str, ends: datetime, days: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for lot in range(int(rng.integers(0, 15))):
        times = _times(rng, ends, days)
        expires = times["occurred_at"] + timedelta(days=365) if rng.random() < 0.8 else None
        entry = {"member_id": member, "lot_id": f"{member}-{lot}", "expires_at": expires}
        points = int(rng.integers(10, 400))
        rows.append({**entry, "type": "earn", "points": points, **times})
        if rng.random() < 0.3:
            later = times["occurred_at"] + timedelta(days=float(rng.integers(1, 100)))
            gone = {
                "type": "redeem",
                "points": -points // 2,
                "occurred_at": later,
                "known_at": later,
                "expires_at": None,
            }
            rows.append({**entry, **gone})
    return rows


def _engaged(rng: np.random.Generator, member: str, ends: datetime, days: int) -> list[dict[str, Any]]:
    types = rng.choice(ENGAGEMENT_TYPES, size=int(rng.integers(0, 12)))
    return [{"member_id": member, "type": str(kind), **_times(rng, ends, days)} for kind in types]


def _told(rng: np.random.Generator, member: str, ends: datetime, days: int) -> list[dict[str, Any]]:
    rows = []
    for kind in rng.choice([*OFFER_TYPES, "win_back", "something_else"], size=int(rng.integers(0, 25))):
        event = str(rng.choice(["sent", "impression", "opened", "click", "accept", "redeem", "unsubscribe"]))
        times = _times(rng, ends, days)
        rows.append({"member_id": member, "offer_id": f"o-{kind}", "offer_type": str(kind), "type": event, **times})
    return rows
