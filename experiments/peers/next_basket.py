"""Next-basket peers in an environment of their own: TIFU-KNN, UP-CF and top lists of cornac, neighbours of implicit.

Run with an interpreter that has `cornac`, `implicit`, `pandas` and `pyarrow`; nothing of Tessera is imported:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install cornac similaripy implicit pandas pyarrow
    /tmp/peers/bin/python experiments/peers/next_basket.py HISTORY.parquet LISTS.parquet --trials 25 --seed 0

HISTORY has `member_id`, `basket` (0, 1, 2 … in the order of time for each member) and `product_id`; the target basket
must not be in it. Each peer is tuned on an inner split of HISTORY alone, where each member's last basket is the target,
once for whole lists (`all`) and once for lists of products the member never bought (`new`), and then learns from all of
HISTORY. LISTS gets one row for each peer, settings (`default` or `tuned`), part, member and rank; LISTS.json what was
tuned and how long all took.

cornac 3.0.1 averages the neighbours of TIFU-KNN over members *and* products (`np.mean` without an axis), which adds the
same number to every product: its neighbours change no list. `tifuknn` is that, as shipped; `tifuknn_repaired` takes the
mean over the neighbours alone, as Hu et al. 2020 (eq. 6) say. That the shipped one does so is checked in each run.
A peer that fails "did not run".
"""

from __future__ import annotations

import argparse
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

Settings = Mapping[str, Any]
CHECKED = 5
"""Members on whom scoring together is compared with the peer's own `score`."""


@dataclass(frozen=True)
class History:
    """Baskets of all members, as positions."""

    rows: pd.DataFrame
    """member, basket, product: sorted, without duplicates."""
    members: Any
    """(n_members,): ids."""
    products: Any
    """(n_products,): ids."""

    @cached_property
    def baskets(self) -> list[list[list[int]]]:
        """Of each member the baskets in the order of time."""
        found: list[list[list[int]]] = [[] for _ in self.members]
        for key, part in self.rows.groupby(["member", "basket"], sort=True)["product"]:
            found[key[0]].append(part.tolist())  # type: ignore[call-overload]
        return found

    @property
    def shape(self) -> tuple[int, int]:
        """Members, products."""
        return len(self.members), len(self.products)

    def bought(self) -> sp.csr_matrix:
        """1 where a member bought a product."""
        once = self.rows.drop_duplicates(["member", "product"])
        return sp.csr_matrix((np.ones(len(once), np.float32), (once["member"], once["product"])), shape=self.shape)

    def times(self) -> sp.csr_matrix:
        """In how many baskets."""
        ones = np.ones(len(self.rows), np.float32)
        return sp.csr_matrix((ones, (self.rows["member"], self.rows["product"])), shape=self.shape)

    def dataset(self) -> Any:
        """The same for cornac."""
        from cornac.data import BasketDataset

        keys = [f"{m}:{b}" for m, b in zip(self.rows["member"], self.rows["basket"], strict=True)]
        data = list(zip(self.rows["member"], keys, self.rows["product"], self.rows["basket"], strict=True))
        users = OrderedDict((i, i) for i in range(self.shape[0]))
        items = OrderedDict((i, i) for i in range(self.shape[1]))
        return BasketDataset.build(data, fmt="UBIT", global_uid_map=users, global_iid_map=items)

    def inner(self) -> tuple[History, sp.csr_matrix]:
        """The history without each member's last basket, and those baskets (of members with an earlier one)."""
        last = self.rows.groupby("member")["basket"].transform("max")
        first = self.rows.groupby("member")["basket"].transform("min")
        target = self.rows[(self.rows["basket"] == last) & (last > first)]
        rest = self.rows[(self.rows["basket"] < last) | (last == first)]
        ones = np.ones(len(target), np.float32)
        truth = sp.csr_matrix((ones, (target["member"], target["product"])), shape=self.shape)
        return History(rest, self.members, self.products), truth


def read(path: Path) -> History:
    """The history in a Parquet file."""
    frame = pd.read_parquet(path)
    members, products = np.unique(frame["member_id"].astype(str)), np.unique(frame["product_id"].astype(str))
    rows = pd.DataFrame(
        {
            "member": np.searchsorted(members, frame["member_id"].astype(str)),
            "basket": frame["basket"].to_numpy(),
            "product": np.searchsorted(products, frame["product_id"].astype(str)),
        }
    ).drop_duplicates()
    return History(rows.sort_values(["member", "basket", "product"], ignore_index=True), members, products)


class _Nearest:
    """The answers of scipy's KDTree, which takes minutes in thousands of dimensions, by one product of matrices."""

    def __init__(self, vectors: Any) -> None:
        self.vectors = sp.csr_matrix(vectors)
        self.length = (np.asarray(vectors) ** 2).sum(axis=1)

    def query(self, asked: Any, k: int) -> tuple[None, Any]:
        """No distances, and the positions of the k nearest of each row, in no order."""
        distance = self.length - 2 * (sp.csr_matrix(np.asarray(asked)) @ self.vectors.T).toarray()
        return None, np.argpartition(distance, k - 1, axis=1)[:, :k]


def _tifuknn(history: History, settings: Settings, *, repaired: bool) -> Any:
    import cornac.models.tifuknn.recom_tifuknn as shipped
    import scipy.spatial

    shipped.tqdm = lambda things, **_: things
    model, slow = shipped.TIFUKNN(**settings), scipy.spatial.KDTree
    scipy.spatial.KDTree = _Nearest
    try:
        model.fit(history.dataset())
    finally:
        scipy.spatial.KDTree = slow
    own = np.stack([model._compute_user_vector(baskets) for baskets in history.baskets])  # noqa: SLF001
    own = own.astype(np.float32)
    alpha = model.alpha
    if not repaired:  # the neighbours add one number to every product: no list depends on it
        for member in np.linspace(0, len(own) - 1, CHECKED).astype(int):
            shift = np.asarray(model.score(member, history.baskets[member])) - alpha * own[member]
            if np.ptp(shift) > 1e-5:
                raise RuntimeError("cornac's TIFU-KNN has another mean of neighbours now; use tifuknn_repaired")
        return alpha * own
    out = np.empty_like(own)
    for begin in range(0, len(own), 500):
        _, nearest = model.tree.query(own[begin : begin + 500], model.n_neighbors)
        rows = np.repeat(np.arange(len(nearest)), model.n_neighbors)
        share = np.full(nearest.size, 1.0 / model.n_neighbors, np.float32)
        near = sp.csr_matrix((share, (rows, nearest.ravel())), shape=(len(nearest), len(own))) @ model.tree.vectors
        out[begin : begin + 500] = alpha * own[begin : begin + 500] + (1 - alpha) * near.toarray()
    return out


def tifuknn(history: History, settings: Settings) -> Any:
    """As cornac ships it."""
    return _tifuknn(history, settings, repaired=False)


def tifuknn_repaired(history: History, settings: Settings) -> Any:
    """With the mean over the neighbours."""
    return _tifuknn(history, settings, repaired=True)


def upcf(history: History, settings: Settings) -> Any:
    """UP-CF of cornac, members scored together."""
    import similaripy as sim  # type: ignore[import-not-found]
    from cornac.models import UPCF

    model = UPCF(**settings)
    model.fit(history.dataset())
    bought = model.user_item_matrix.copy()
    bought.data[:] = 1.0
    now = sp.vstack([model._get_user_wise_popularity(baskets) for baskets in history.baskets]).tocsr()  # noqa: SLF001
    scores = np.zeros(history.shape, np.float32)
    k = history.shape[0]
    for begin in range(0, history.shape[0], 500):
        rows = np.arange(begin, min(begin + 500, history.shape[0]))
        likeness = sim.asymmetric_cosine(bought, alpha=model.asymmetry, k=k, target_rows=rows, verbose=False).tocsr()
        likeness = likeness[rows].power(model.locality)
        scores[rows] = (likeness @ now + now[rows]).toarray()
    return scores


def gptop(history: History, settings: Settings) -> Any:  # noqa: ARG001 - it has none
    """Own purchases first, then everybody's: what `cornac.models.GPTop` scores."""
    ever = np.asarray(history.times().sum(axis=0)).ravel()
    return (history.times().toarray() + ever / ever.max()).astype(np.float32)


def _implicit(model: Any, history: History) -> Any:
    bought = history.bought()
    model.fit(bought, show_progress=False)
    if hasattr(model, "similarity"):
        return (bought @ model.similarity).toarray()
    return np.asarray(model.user_factors @ model.item_factors.T)


def item_cosine(history: History, settings: Settings) -> Any:
    """CosineRecommender of implicit."""
    from implicit.nearest_neighbours import CosineRecommender

    return _implicit(CosineRecommender(**settings, num_threads=1), history)


def item_bm25(history: History, settings: Settings) -> Any:
    """BM25Recommender of implicit."""
    from implicit.nearest_neighbours import BM25Recommender

    return _implicit(BM25Recommender(**settings, num_threads=1), history)


def als(history: History, settings: Settings) -> Any:
    """AlternatingLeastSquares of implicit."""
    from implicit.cpu.als import AlternatingLeastSquares

    return _implicit(AlternatingLeastSquares(**settings, random_state=0, num_threads=1), history)


def ease(history: History, settings: Settings) -> Any:
    """Steck 2019, closed form; RecTools has the same model, with 500 as its regularisation."""
    bought = history.bought()
    gram = (bought.T @ bought).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += settings["regularization"]
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return bought @ weights.astype(np.float32)


def _tifuknn_space(rng: np.random.Generator) -> Settings:
    return {
        "n_neighbors": int(rng.choice([50, 100, 300, 500, 900])),
        "within_decay_rate": float(rng.choice([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])),
        "group_decay_rate": float(rng.choice([0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])),
        "alpha": float(rng.choice([0.05, 0.1, 0.3, 0.5, 0.7, 0.9])),
        "n_groups": int(rng.choice([3, 5, 7, 10, 15, 20, 30])),
    }


def _upcf_space(rng: np.random.Generator) -> Settings:
    return {
        "recency": int(rng.choice([1, 5, 10, 25, 100, 0])),
        "locality": int(rng.choice([1, 2, 5, 10, 25])),
        "asymmetry": float(rng.choice([0.0, 0.25, 0.5, 0.75, 1.0])),
    }


PEERS: dict[str, tuple[Callable[[History, Settings], Any], Settings, Callable[[np.random.Generator], Settings]]] = {
    "tifuknn": (tifuknn, {}, _tifuknn_space),
    "tifuknn_repaired": (tifuknn_repaired, {}, _tifuknn_space),
    "upcf": (upcf, {}, _upcf_space),
    "gptop": (gptop, {}, lambda _: {}),
    "item_cosine": (item_cosine, {"K": 20}, lambda rng: {"K": int(2 ** rng.uniform(3, 11))}),
    "item_bm25": (
        item_bm25,
        {"K": 20},
        lambda rng: {
            "K": int(2 ** rng.uniform(3, 11)),
            "K1": float(rng.uniform(0.2, 3)),
            "B": float(rng.uniform(0, 1)),
        },
    ),
    "als": (
        als,
        {},
        lambda rng: {
            "factors": int(rng.choice([32, 64, 128, 200])),
            "regularization": float(10 ** rng.uniform(-3, 1.5)),
            "alpha": float(10 ** rng.uniform(-0.5, 1.5)),
            "iterations": 15,
        },
    ),
    "ease": (ease, {"regularization": 500.0}, lambda rng: {"regularization": float(10 ** rng.uniform(1, 4))}),
}
"""Name → how to score all members, the settings it is shipped with, and how a trial draws others."""


def lists(scores: Any, bought: sp.csr_matrix, k: int, *, only_new: bool) -> Any:
    """The best k products of each row; ties by position."""
    scores = np.array(scores, np.float64)
    if only_new:
        row, column = bought.nonzero()
        scores[row, column] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def ndcg(ranked: Any, truth: sp.csr_matrix) -> float:
    """Mean over the rows with anything in the truth."""
    rows = np.flatnonzero(truth.getnnz(axis=1))
    discount = 1.0 / np.log2(np.arange(2, ranked.shape[1] + 2))
    most = np.minimum(truth.getnnz(axis=1)[rows], ranked.shape[1])
    hit = np.asarray(truth[np.repeat(rows, ranked.shape[1]), ranked[rows].ravel()]).reshape(len(rows), -1) > 0
    return float(((hit @ discount) / np.cumsum(discount)[most - 1]).mean())


def without(truth: sp.csr_matrix, bought: sp.csr_matrix) -> sp.csr_matrix:
    """What of the truth was new to the member."""
    left = sp.csr_matrix(truth - truth.multiply(bought > 0))
    left.eliminate_zeros()
    return left


def tune(name: str, history: History, trials: int, k: int, seed: int) -> dict[str, tuple[float, Settings]]:
    """Settings with the best nDCG@k on the inner split, for each part; the shipped ones are the first trial."""
    score, shipped, draw = PEERS[name]
    inner, truth = history.inner()
    bought = inner.bought()
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[float, Settings]] = {"all": (-1.0, shipped), "new": (-1.0, shipped)}
    for trial in range(trials):
        settings = shipped if trial == 0 else draw(rng)
        scores = score(inner, settings)
        for part in found:
            wanted = without(truth, bought) if part == "new" else truth
            value = ndcg(lists(scores, bought, k, only_new=part == "new"), wanted)
            if value > found[part][0]:
                found[part] = (value, settings)
    return found


def run(name: str, history: History, trials: int, k: int, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Lists of one peer with its own and with tuned settings, and what was tuned."""
    score, shipped, _ = PEERS[name]
    started = time.process_time()
    best = tune(name, history, trials, k, seed)
    bought, parts = history.bought(), []
    for way, part, settings in [
        ("default", "all", shipped),
        ("default", "new", shipped),
        *(("tuned", part, best[part][1]) for part in best),
    ]:
        ranked = lists(score(history, settings), bought, k, only_new=part == "new")
        parts.append(
            pd.DataFrame(
                {
                    "peer": name,
                    "settings": way,
                    "part": part,
                    "member_id": np.repeat(history.members, k),
                    "rank": np.tile(np.arange(k), len(history.members)),
                    "product_id": history.products[ranked.ravel()],
                }
            )
        )
    told = {part: {"inner_ndcg": value, "settings": settings} for part, (value, settings) in best.items()}
    return pd.concat(parts), {**told, "trials": trials, "cpu_seconds": time.process_time() - started}


def main() -> None:
    """Tune, fit and write down."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("history", type=Path)
    asked.add_argument("lists", type=Path)
    asked.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    asked.add_argument("--trials", type=int, default=25)
    asked.add_argument("--k", type=int, default=10)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    history, told, parts = read(given.history), dict[str, Any](), list[pd.DataFrame]()
    for name in given.peers:
        try:
            part, told[name] = run(name, history, given.trials, given.k, given.seed)
            parts.append(part)
        except Exception as error:  # noqa: BLE001 - a peer that fails must not take the others with it
            told[name] = {"did_not_run": f"{type(error).__name__}: {error}"}
        print(name, json.dumps(told[name]), flush=True)  # noqa: T201 - its only output for people
        if parts:
            pd.concat(parts).to_parquet(given.lists, index=False)
        given.lists.with_suffix(".json").write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
