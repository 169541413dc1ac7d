"""The ground that the serving benchmark stands on: members' states, products, and the same models on every side."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import behavior, catalog, history
from features.learned import save
from features.learned.churn import save_churn
from features.member_states import state_blobs
from features.relations import microseconds
from features.rows import Rows
from features.states import encode_taste
from features.workspace import Workspace

MEMBERS, PRODUCTS, SIMULATED = 100_000, 10_000, 4_000
"""The states of `SIMULATED` members are laid down under as many ids as it takes to have `MEMBERS`."""
COPIES = MEMBERS // SIMULATED
FACTORS, TREES, LEAVES = 32, 200, 12
"""As `configs/training.yaml` has them."""
ENDS = datetime(2026, 1, 1, tzinfo=UTC)
CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where everything lies for the service and for what it is compared with."""

    home: Path

    @property
    def ws(self) -> Workspace:
        """The workspace of the service."""
        return Workspace(self.home, CONFIGS)

    @property
    def rivals(self) -> Path:
        """What the obvious stack loads: a LightGBM text, an implicit model, the members' rows, a Feast repository."""
        return self.home / "rivals"


def alias(member_id: str, copy: int) -> str:
    """The id of a copy of a simulated member."""
    return f"{member_id}~{copy:02d}"


def original(member_id: str) -> str:
    """The simulated member behind an id."""
    return member_id.partition("~")[0]


def prepare(home: Path) -> Iterator[str]:
    """Lay the ground below an empty folder; yields what it is about to do."""
    ground = Ground(home)
    ws = ground.ws
    ground.rivals.mkdir(parents=True, exist_ok=True)
    yield f"simulate {SIMULATED:,} members, {PRODUCTS:,} products, one year"
    tables = simulate(WORLDS["weak"], members=SIMULATED, products=PRODUCTS, days=365, ends_at=ENDS, seed=1)
    history.merge(ws.tables, tables)
    yield f"{MEMBERS:,} member states"
    programme = catalog.load(ws.catalog).programme
    rows = Rows(ws.online)
    states = list(state_blobs(ws.tables, ENDS, programme))
    rows.write("member_state", ((alias(m, copy), blob, at) for m, blob, at in states for copy in range(COPIES)))
    yield f"alternating least squares, {FACTORS} factors"
    members, vectors = _taste(ground, tables)
    at_us = microseconds(ENDS)
    tastes = [(m, encode_taste("1", one, at_us)) for m, one in zip(members, vectors, strict=True) if one[0] == one[0]]
    copies = ((alias(m, copy), blob, ENDS) for m, blob in tastes for copy in range(COPIES))
    rows.write("member_taste", copies)
    rows.close()
    yield f"LightGBM, {TREES} trees of {LEAVES} leaves"
    names = list(behavior.names(programme))
    frame = behavior.historical(
        ws.tables, pd.DataFrame({"member_id": [m for m, _, _ in states], "at": ENDS}), programme
    )
    _churn(ground, frame, names)
    yield f"Feast's own store with {len(frame):,} members and {len(names)} features"
    frame[["member_id", *names]].to_parquet(ground.rivals / "features.parquet")
    ws.champions.write_text(json.dumps({"taste": "1", "churn": "1"}))
    offset = ENDS.timestamp() + 60 - datetime.now(UTC).timestamp()
    ws.clock.write_text(json.dumps({"offset_seconds": offset}))


def _taste(ground: Ground, tables: Mapping[str, pd.DataFrame]) -> tuple[list[str], NDArray[np.float32]]:
    from training import recipes
    from training.interactions import build

    found = build(tables["purchases"], tables["products"], tables["members"], ENDS)
    fitted = recipes.fit("als", found, recipes.config_from("als", {"factors": FACTORS}))
    folder = ground.ws.bundles / "taste" / "1"
    save(fitted.form, folder)
    _describe(folder, "taste")
    if fitted.member_vectors is None:
        raise RuntimeError("the ALS recipe left no vectors of members")
    vectors = np.nan_to_num(fitted.member_vectors)
    with (ground.rivals / "implicit.pickle").open("wb") as file:
        pickle.dump((found.member_ids.tolist(), vectors, fitted.form.vectors, found.counts.tocsr()), file)  # type: ignore[union-attr]
    return found.member_ids.tolist(), fitted.member_vectors


_HORIZON = 90


def _churn(ground: Ground, frame: pd.DataFrame, names: list[str]) -> None:
    import lightgbm

    from training.churn import ChurnConfig, Shape, fit
    from training.frames import Cuts

    rows = frame[names].to_numpy(np.float64)
    label = (np.nan_to_num(frame["recency_days"].to_numpy(np.float64), nan=400.0) > 45).astype(int)
    noisy = np.where(np.random.default_rng(1).random(len(label)) < 0.2, 1 - label, label)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": LEAVES, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1},
        lightgbm.Dataset(rows, noisy, feature_name=names),
        TREES,
    )
    booster.save_model(str(ground.rivals / "lightgbm.txt"))
    at, shape = pd.Timestamp(ENDS), Shape(LEAVES, TREES, 0.5)
    spells = frame.assign(
        at=at, churned=noisy == 1, next_days=np.where(noisy == 1, np.nan, 1.0), followed_days=float(_HORIZON)
    )
    config = ChurnConfig(horizon_days=_HORIZON, other_horizons=1, min_leaf=5)
    folder = ground.ws.bundles / "churn" / "1"
    save_churn(fit(spells, Cuts((ENDS,), ENDS), names, config, seed=1, shape=shape), folder)
    _describe(folder, "churn")


def _describe(folder: Path, name: str) -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "bundle.json").write_text(json.dumps({"name": name, "version": "1", "files": files}))
