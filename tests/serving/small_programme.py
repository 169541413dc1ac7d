"""A small installation: a simulated history, its online store, configuration and two champions made by hand."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from features.behavior import names
from features.learned import Factors, Trees, save
from features.learned.churn import ADDED, Churn, save_churn
from features.learned.silence_logistic import Logistic
from features.member_states import state_blobs
from features.rows import Rows
from features.states import encode_taste
from features.workspace import Workspace

CONFIGS = Path(__file__).parents[2] / "configs"
ENDS = datetime(2026, 3, 1, tzinfo=UTC)
MEMBERS, PRODUCTS = 300, 80


def build(home: Path) -> Workspace:
    """Everything that serving reads, below one folder."""
    ws = Workspace(home)
    home.mkdir(parents=True, exist_ok=True)
    shutil.copytree(CONFIGS, ws.config_folder)
    tables = simulate(WORLDS["strong"], members=MEMBERS, products=PRODUCTS, days=240, ends_at=ENDS, seed=3)
    history.merge(ws.tables, tables)
    programme = catalog.load(ws.catalog).programme
    rows = Rows(ws.online)
    rows.write("member_state", state_blobs(ws.tables, ENDS, programme))
    products = sorted(tables["products"]["product_id"])
    rng = np.random.default_rng(5)
    members = rows.members("member_state")
    rows.write(
        "member_taste",
        [
            (member, encode_taste("1", rng.normal(size=8).astype(np.float32), int(ENDS.timestamp() * 1e6)), ENDS)
            for member in members
        ],
    )
    rows.close()
    put_taste(ws, "1", products)
    put_churn(ws, "1", list(names(programme)))
    crown(ws, taste="1", churn="1")
    ws.clock.write_text(json.dumps({"offset_seconds": ENDS.timestamp() + 60 - datetime.now(UTC).timestamp()}))
    return ws


def put_taste(ws: Workspace, version: str, products: list[str], seed: int = 1) -> Path:
    """A bundle of random factors."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(len(products), 8)).astype(np.float32)
    form = Factors(
        product_ids=np.array(products),
        vectors=vectors,
        biases=np.zeros(len(products), np.float32),
        popularity=np.linspace(1, 0, len(products), dtype=np.float32),
        gram=(vectors.T @ vectors + np.eye(8)).astype(np.float64),
        bridge=np.empty((0, 0)),
        alpha=10.0,
        half_life_days=90.0,
    )
    folder = ws.bundles / "taste" / version
    save(form, folder)
    return describe(folder, "taste", version)


def put_churn(ws: Workspace, version: str, features: list[str]) -> Path:
    """A bundle of one tree with one question: was the last purchase more than 60 days ago?"""
    one = np.array
    trees = Trees(
        feature_names=one([*features, *ADDED]),
        split_starts=one([0, 1], np.int32),
        leaf_starts=one([0, 2], np.int32),
        feature=one([features.index("recency_days")], np.int32),
        threshold=one([60.0]),
        missing=one([2], np.int8),
        default_left=one([False]),
        left=one([-1], np.int32),
        right=one([-2], np.int32),
        split_value=one([0.0]),
        leaf_value=one([-1.0, 1.0]),
        leaf_count=one([10.0, 10.0]),
    )
    folder = ws.bundles / "churn" / version
    nothing = Logistic(one([], np.str_), np.zeros(3), np.zeros(7), np.zeros(7), np.zeros(7), one([0.5, 40.0, 0.5, 3.0]))
    curve, days = (one([-2.0, 2.0]), one([0.1, 0.9])), one([30.0, 90.0, 180.0])
    save_churn(Churn(trees, *curve, nothing, np.ones(3), np.zeros(3), share=1.0, days=days, horizon=90.0), folder)
    return describe(folder, "churn", version)


def describe(folder: Path, name: str, version: str, **more: Any) -> Path:
    """Write `bundle.json` with the hashes of what lies in the folder."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    files.pop("bundle.json", None)
    (folder / "bundle.json").write_text(json.dumps({"name": name, "version": version, "files": files, **more}))
    return folder


def crown(ws: Workspace, **versions: str) -> None:
    """Say which bundles serve."""
    draft = ws.champions.with_suffix(".tmp")
    draft.write_text(json.dumps(versions))
    draft.replace(ws.champions)
