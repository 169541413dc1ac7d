from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from features import behavior, online, store, views
from features.member_states import state_blobs
from features.rows import Rows
from features.states import decode, decode_taste
from features.workspace import Workspace
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write

EARLIER = T0 - timedelta(days=60)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    write(workspace.tables, drawn(31, n_members=30))
    store.apply(workspace, PROGRAMME)
    return workspace


def members(ws: Workspace) -> list[str]:
    return sorted(pd.read_parquet(ws.tables / "members.parquet")["member_id"])


def test_feast_retrieves_exactly_what_was_computed_row_for_row(ws: Workspace) -> None:
    asked = pairs([*members(ws), "nobody"], T0, EARLIER)
    assert store.write_offline(ws, asked, PROGRAMME) == len(asked)
    asked = pd.concat([asked, asked.iloc[:5]]).sample(frac=1.0, random_state=3, ignore_index=True)
    found = store.historical(ws, asked, views.EVERYTHING)
    expected = behavior.historical(ws.tables, asked, PROGRAMME)
    assert len(found) == len(asked)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True)


def test_columns_of_the_caller_such_as_labels_stay_beside_their_row(ws: Workspace) -> None:
    asked = pairs(members(ws)[:6], T0, EARLIER).assign(label=np.arange(12) % 2)
    store.write_offline(ws, asked, PROGRAMME)
    found = store.historical(ws, asked, views.EVERYTHING)
    assert found["label"].tolist() == asked["label"].tolist()


def test_a_moment_nobody_computed_gives_missing_values_never_stale_or_future_ones(ws: Workspace) -> None:
    store.write_offline(ws, pairs(members(ws), T0), PROGRAMME)
    for at in (T0 - timedelta(seconds=1), T0 + timedelta(days=2)):
        assert store.historical(ws, pairs(members(ws), at), views.EVERYTHING)["tenure_days"].isna().all()


def test_computing_a_moment_again_replaces_its_rows_and_keeps_the_others(ws: Workspace) -> None:
    asked = pairs(members(ws), T0, EARLIER)
    store.write_offline(ws, asked, PROGRAMME)
    extra = {"purchase_id": "x", "basket_id": "x", "member_id": "m0003", "occurred_at": T0 - timedelta(days=1)}
    on_disk = pd.read_parquet(ws.tables / "purchases.parquet")
    write(ws.tables, {"purchases": pd.concat([on_disk, typed("purchases", [extra])])})
    store.write_offline(ws, pairs(["m0003"], T0), PROGRAMME)
    found = store.historical(ws, asked, views.EVERYTHING)
    expected = behavior.historical(ws.tables, asked, PROGRAMME)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True)


def test_a_service_gives_the_features_of_its_model_version(ws: Workspace) -> None:
    names = ["recency_days", "points_balance", "tier_rank"]
    store.apply(ws, PROGRAMME, {"churn_v1": names})
    store.apply(ws, PROGRAMME, {"churn_v2": names[:1]})
    asked = pairs(members(ws), T0)
    store.write_offline(ws, asked, PROGRAMME)
    assert sorted(store.historical(ws, asked, "churn_v1").columns) == sorted(["member_id", "at", *names])
    assert store.historical(ws, asked, "churn_v2").columns.tolist() == ["member_id", "at", "recency_days"]


def test_a_service_of_a_feature_that_is_not_there_is_refused(ws: Workspace) -> None:
    with pytest.raises(ValueError, match="no feature is called recensy_days"):
        store.apply(ws, PROGRAMME, {"churn_v1": ["recensy_days"]})


def test_every_feature_is_in_exactly_one_view() -> None:
    found = [feature.name for view in views.views(PROGRAMME) for feature in view.features]
    assert sorted(found) == sorted(behavior.names(PROGRAMME))


def test_the_first_run_makes_every_state_and_the_next_only_those_with_news(ws: Workspace) -> None:
    everybody = members(ws)
    assert store.materialize(ws, PROGRAMME, T0 - timedelta(days=3)) == len(everybody)
    news = {
        frame_member
        for name in ("members", "purchases", "points", "engagements", "offer_events")
        for frame_member in known_after(ws, name)
    }
    assert 0 < len(news) < len(everybody)
    assert store.materialize(ws, PROGRAMME, T0) == len(news)
    rows = Rows(ws.online)
    for member, blob, _ in state_blobs(ws.tables, T0, PROGRAMME, sorted(news)):
        row = rows.read(views.STATE, member)
        assert row is not None
        assert row[1] == T0.timestamp()
        assert decode(row[0]).product_ids == decode(blob).product_ids


def known_after(ws: Workspace, name: str) -> list[str]:
    frame = pd.read_parquet(ws.tables / f"{name}.parquet")
    overlapping = T0 - timedelta(days=3) - timedelta(days=2)
    return list(frame[frame["known_at"] > overlapping]["member_id"])


def test_states_of_another_version_are_all_made_anew(ws: Workspace) -> None:
    everybody = members(ws)
    store.materialize(ws, PROGRAMME, T0)
    store.push(ws, [(member, b"made by an older version", T0) for member in everybody])
    assert store.materialize(ws, PROGRAMME, T0 + timedelta(days=30)) == len(everybody)


def test_a_push_never_puts_an_older_state_in_place_of_a_newer_one(ws: Workspace) -> None:
    store.push(ws, [("m0001", b"newer", T0)])
    store.push(ws, [("m0001", b"older", T0 - timedelta(seconds=1))])
    assert store.online(ws, views.STATE, ["m0001", "m0002"]) == {"m0001": b"newer"}


def test_feast_and_the_plain_reader_see_the_same_bytes(ws: Workspace) -> None:
    store.materialize(ws, PROGRAMME, T0)
    plain = Rows(ws.online)
    through_feast = store.online(ws, views.STATE, members(ws))
    assert len(through_feast) == len(members(ws))
    for member, blob in through_feast.items():
        row = plain.read(views.STATE, member)
        assert row is not None
        assert row[0] == blob


def test_vectors_are_pushed_with_their_version(ws: Workspace) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert store.push_tastes(ws, "4", ["m0001", "m0002"], vectors, T0) == 2
    row = Rows(ws.online).read(views.TASTE, "m0002")
    assert row is not None
    version, vector, at_us = decode_taste(row[0])
    assert (version, at_us) == ("4", round(T0.timestamp() * 1e6))
    np.testing.assert_array_equal(vector, vectors[1])


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A private Redis on a socket of its own; stopped by its own handle."""
    pytest.importorskip("redis", reason="needs the package redis: install tessera[redis]")
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("needs the program redis-server: install the package redis-server")
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"127.0.0.1:{port},db=0"
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"redis-server did not listen on port {port} within 5 s")


def test_the_same_states_come_out_of_redis_by_configuration_alone(tmp_path: Path, redis: str) -> None:
    ws = Workspace(tmp_path / "home")
    write(ws.tables, drawn(31, n_members=30))
    config = ws.root / "configs" / "feature_store.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(yaml.safe_dump({"online_store": {"type": "redis", "connection_string": redis}}))
    store.apply(ws, PROGRAMME)
    assert store.materialize(ws, PROGRAMME, T0) == 30
    found = store.online(ws, views.STATE, [*members(ws), "nobody"])
    expected = {member: blob for member, blob, _ in state_blobs(ws.tables, T0, PROGRAMME)}
    assert found == expected
    assert not ws.online.exists()
    rows = online.reader(ws)
    assert rows is not None
    somebody = members(ws)[0]
    assert rows.read_many((views.STATE, views.TASTE), somebody) == {views.STATE: (expected[somebody], T0.timestamp())}
    assert rows.read_many((views.STATE, views.TASTE), "nobody") == {}
    store.push(ws, [("m0001", b"newer", T0 + timedelta(hours=1))])
    store.push(ws, [("m0001", b"older", T0)])
    assert store.online(ws, views.STATE, ["m0001"]) == {"m0001": b"newer"}


def test_a_family_without_a_view_is_an_error_that_says_where_to_add_it() -> None:
    another = behavior.Feature("new", "weather", "baskets", "count(*)", "New.")
    with pytest.raises(ValueError, match=r"\['weather'\] belong to no view: add them to _TOPICS"):
        views.grouped((*behavior.definitions(PROGRAMME), another))
