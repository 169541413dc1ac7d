"""Lists for every member in one file: those the service gives, with consent respected and filters applied."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features import history
from features.rows import Rows
from features.states import decode_taste
from features.workspace import Workspace
from serving.contract import DecisionRequest
from serving.engine import call
from serving.house import open_house
from serving.rulebook import switch
from tessera.campaign import pause
from tessera.recommend import Wanted, onto, run
from tessera.setup import RefusedError
from tests.serving import small_programme
from training import vectors
from training.ledger import Ledger

AT = small_programme.ENDS


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small installation whose members' vectors lie offline as well as online."""
    ws = small_programme.build(tmp_path_factory.mktemp("recommend") / "home")
    rows = Rows(ws.online)
    members = rows.members("member_taste")
    blobs = rows.read_members("member_taste", members)
    rows.close()
    found = np.stack([decode_taste(blobs[member][0])[1] for member in members])
    vectors.keep(ws, "1", np.array(members), found, AT)
    return ws


def written(ws: Workspace, **wanted: Any) -> pd.DataFrame:
    out = ws.root / "lists.parquet"
    rows = run(ws, Wanted(out, at=AT, **wanted))
    frame = pd.read_parquet(out)
    assert len(frame) == rows
    return frame


def lists(frame: pd.DataFrame) -> dict[str, list[str]]:
    return {str(member): group["product_id"].tolist() for member, group in frame.groupby("member_id")}


def test_every_member_gets_the_list_that_the_service_gives(ws: Workspace) -> None:
    frame = written(ws, k=5)
    found = lists(frame)
    assert len(found) == small_programme.MEMBERS
    assert set(frame["model_version"]) == {"1"}
    assert frame.groupby("member_id")["rank"].apply(list).map(tuple).unique().tolist() == [(1, 2, 3, 4, 5)]
    house = open_house(ws, lambda n: b"0" * n, open_door=True)
    ask = {"placements": [{"id": "a", "count": 5}], "dry_run": True}
    try:
        for member in list(found)[:60]:
            request = DecisionRequest.model_validate({"member_id": member, **ask})
            answer = house.engine.plan(call("product", member, request, AT.timestamp(), b"")).answer
            assert [one["id"] for one in answer["results"]] == found[member]
    finally:
        house.close()


def test_who_did_not_agree_gets_what_is_popular(ws: Workspace) -> None:
    frame = written(ws, k=3)
    members = history.read(ws.tables, "members").sort_values("known_at").drop_duplicates("member_id", keep="last")
    refused = set(members.loc[~members["consent_personalisation"].astype(bool), "member_id"])
    assert refused
    assert set(frame.loc[~frame["personal"], "member_id"]) == refused
    products = sorted(history.read(ws.tables, "products", ["product_id"])["product_id"])
    assert {tuple(lists(frame)[member]) for member in refused} == {tuple(products[:3])}


def test_filters_pauses_and_what_is_bought_already_are_left_out(ws: Workspace) -> None:
    products = history.read(ws.tables, "products").set_index("product_id")
    category = products["category"].iloc[0]
    first = sorted(products.index[products["category"] == category])[0]
    switch(ws.controls, first, paused=True)
    try:
        frame = written(ws, k=4, filter=f"category == '{category}'", only_new=True)
    finally:
        switch(ws.controls, first, paused=False)
    assert set(products.loc[frame["product_id"], "category"]) == {category}
    assert first not in set(frame["product_id"])
    known = Ledger.read(ws).at(AT)
    mine = frame[frame["personal"]]
    row = np.searchsorted(known.member_ids, mine["member_id"].to_numpy(np.str_))
    column = np.searchsorted(known.product_ids, mine["product_id"].to_numpy(np.str_))
    assert not np.asarray(known.counts[row, column]).any()


def test_a_filter_that_cannot_be_read_or_leaves_nothing_is_refused(ws: Workspace) -> None:
    with pytest.raises(RefusedError, match="--filter: filter, character 8"):
        written(ws, filter="price >")
    with pytest.raises(RefusedError, match="leaves no product"):
        written(ws, filter="price < 0")


def test_without_a_recommender_the_way_out_is_named(ws: Workspace, tmp_path: Path) -> None:
    bare = Workspace(tmp_path, ws.config_folder)
    bare.tables.symlink_to(ws.tables)
    with pytest.raises(RefusedError, match="tessera train --model taste"):
        run(bare, Wanted(tmp_path / "x.parquet", at=AT))


def test_purchases_of_products_that_the_model_does_not_know_are_left_out(ws: Workspace) -> None:
    known = Ledger.read(ws).at(datetime(2026, 2, 1, tzinfo=UTC))
    kept = np.array(["a new one", *known.product_ids[[3, 7]]])
    moved = onto(known, kept)
    assert moved.counts.shape == (len(known.member_ids), 3)
    assert np.array_equal(moved.counts.toarray()[:, 1:], known.counts.toarray()[:, [3, 7]])
    assert np.array_equal(moved.last_at.toarray()[:, 1:], known.last_at.toarray()[:, [3, 7]])
    assert not moved.counts.toarray()[:, 0].any()
    assert len(moved.buys) == len(moved.bought_at) == int(np.isin(known.buys[:, 1], [3, 7]).sum())


def test_a_product_can_be_paused_by_hand_and_what_nobody_knows_cannot(ws: Workspace) -> None:
    product = sorted(history.read(ws.tables, "products", ["product_id"])["product_id"])[0]
    pause(ws, product, resume=False)
    assert product not in set(written(ws, k=5)["product_id"])
    pause(ws, product, resume=True)
    assert product in set(written(ws, k=5)["product_id"])
    with pytest.raises(RefusedError, match="no candidate is called 'nothing such'"):
        pause(ws, "nothing such", resume=False)
