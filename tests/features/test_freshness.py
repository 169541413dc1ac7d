from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features import behavior, store
from features.finishing import finisher
from features.freshness import refresh
from features.rows import Rows
from features.states import decode
from features.workspace import Workspace
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write

finish = finisher(behavior.definitions(PROGRAMME))


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A history up to T0, materialised."""
    workspace = Workspace(tmp_path)
    write(workspace.tables, drawn(21))
    store.apply(workspace, PROGRAMME)
    store.materialize(workspace, PROGRAMME, T0)
    return workspace


def served(ws: Workspace, member: str, at: datetime) -> Mapping[str, float]:
    row = Rows(ws.online).read("member_state", member)
    assert row is not None
    return dict(zip(behavior.names(PROGRAMME), finish(decode(row[0]), at).tolist(), strict=True))


def purchase(**parts: Any) -> dict[str, pd.DataFrame]:
    row = {"purchase_id": "new", "basket_id": "new", "member_id": "m0001", "product_id": "p1", "unit_price": 25.0}
    return {"purchases": typed("purchases", [{**row, **parts}])}


def test_an_accepted_purchase_shows_in_the_members_features(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=5)
    before = served(ws, "m0001", at)
    started = time.perf_counter()
    assert refresh(ws, PROGRAMME, at, purchase(occurred_at=at), ["m0001"]) == 1
    assert time.perf_counter() - started < 2
    after = served(ws, "m0001", at)
    assert after["recency_days"] == 0
    assert after["lifetime_baskets"] == before["lifetime_baskets"] + 1
    assert after["lifetime_spend"] == pytest.approx(before["lifetime_spend"] + 25)


def test_a_late_event_falls_into_its_place(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=5)
    before = served(ws, "m0001", at)
    late = purchase(occurred_at=T0 - timedelta(days=200), known_at=at)
    refresh(ws, PROGRAMME, at, late, ["m0001"])
    after = served(ws, "m0001", at)
    assert after["recency_days"] == before["recency_days"]
    assert after["baskets_90d"] == before["baskets_90d"]
    assert after["baskets_365d"] == before["baskets_365d"] + 1


def test_a_row_that_is_both_in_the_journal_and_in_the_tables_counts_once(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=5)
    rows = purchase(occurred_at=at)
    on_disk = pd.read_parquet(ws.tables / "purchases.parquet")
    before = served(ws, "m0001", at)
    write(ws.tables, {"purchases": pd.concat([on_disk, rows["purchases"]], ignore_index=True)})
    refresh(ws, PROGRAMME, at, rows, ["m0001"])
    after = served(ws, "m0001", at)
    assert after["lifetime_baskets"] == before["lifetime_baskets"] + 1
    assert after["lifetime_spend"] == pytest.approx(before["lifetime_spend"] + 25)


def test_refreshing_equals_ingesting_and_computing_for_training(ws: Workspace) -> None:
    at = T0 + timedelta(hours=3)
    fresh = {
        **purchase(occurred_at=at - timedelta(hours=1), known_at=at),
        "engagements": typed(
            "engagements", [{"engagement_id": "e-new", "member_id": "m0001", "type": "review", "occurred_at": at}]
        ),
        "offer_events": typed(
            "offer_events",
            [
                {
                    "event_id": "o-new",
                    "member_id": "m0001",
                    "offer_id": "o",
                    "offer_type": "gift",
                    "type": "accept",
                    "occurred_at": at,
                }
            ],
        ),
    }
    refresh(ws, PROGRAMME, at, fresh, ["m0001"])
    online = served(ws, "m0001", at)
    merged = {name: pd.concat([pd.read_parquet(ws.tables / f"{name}.parquet"), frame]) for name, frame in fresh.items()}
    write(ws.tables, merged)
    offline = behavior.historical(ws.tables, pairs(["m0001"], at), PROGRAMME).iloc[0]
    assert online == pytest.approx({name: offline[name] for name in online}, nan_ok=True, rel=1e-12)


def test_a_member_first_seen_in_an_event_gets_a_state(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=1)
    assert refresh(ws, PROGRAMME, at, purchase(member_id="brand-new", occurred_at=at), ["brand-new", "unheard-of"]) == 1
    found = served(ws, "brand-new", at)
    assert (found["lifetime_baskets"], found["recency_days"]) == (1, 0)


def test_rows_without_the_optional_columns_are_taken(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=1)
    rows = {
        "purchases": purchase(occurred_at=at)["purchases"].drop(columns=["reverses", "offer_id", "channel", "store_id"])
    }
    assert refresh(ws, PROGRAMME, at, rows, ["m0001"]) == 1
    assert served(ws, "m0001", at)["recency_days"] == 0


def test_other_members_keep_their_rows(ws: Workspace) -> None:
    before = Rows(ws.online).read("member_state", "m0002")
    refresh(ws, PROGRAMME, T0 + timedelta(minutes=1), purchase(occurred_at=T0), ["m0001"])
    assert Rows(ws.online).read("member_state", "m0002") == before


def test_a_later_run_over_everybody_keeps_what_events_had_brought(ws: Workspace) -> None:
    at = T0 + timedelta(minutes=5)
    rows = purchase(occurred_at=at)
    refresh(ws, PROGRAMME, at, rows, ["m0001"])
    store.materialize(ws, PROGRAMME, at + timedelta(hours=1), fresh=rows)
    row = Rows(ws.online).read("member_state", "m0001")
    assert row is not None
    assert row[1] == (at + timedelta(hours=1)).timestamp()
    assert served(ws, "m0001", at + timedelta(hours=1))["recency_days"] == pytest.approx(1 / 24)
