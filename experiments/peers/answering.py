"""A peer at work, in the peers' own environment: this script imports nothing of ours.

It reads one request as JSON from each line of its input, fits the peer it names on a Parquet file of purchases
(`row`, `column`, `count`, `at`: positions of members and products, baskets, epoch seconds), writes the lists it asks
for as Parquet (`mask`, `row`, `rank`, `column`) and answers one line of JSON: seconds of processor time, or why not.
Peers are used with one thread and through their own scores; members without purchases get what is most popular.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import scipy.sparse as sp  # noqa: E402

Scores = Callable[[Any], Any]
"""Rows of members (n,) → scores of all products (n, n_products)."""
_AT_ONCE = 256


def implicit_als(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """AlternatingLeastSquares of implicit."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(**params, num_threads=1, random_state=seed)
    return _factors(model, known)


def implicit_bpr(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """BayesianPersonalizedRanking of implicit."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(**params, num_threads=1, random_state=seed)
    return _factors(model, known)


def implicit_bm25(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """BM25Recommender of implicit: nearest neighbours among products."""
    from implicit.nearest_neighbours import BM25Recommender

    del seed
    model = BM25Recommender(**params, num_threads=1)
    model.fit(known, show_progress=False)
    return lambda rows: (known[rows] @ model.similarity).toarray()


def cornac_bpr(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """BPR of cornac, the best of the published table on MovieLens 100k without a GPU."""
    from cornac.models import BPR

    return _cornac(BPR(**params, num_threads=1, seed=seed), known)


def cornac_ease(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """EASE of cornac."""
    from cornac.models import EASE

    return _cornac(EASE(**params, verbose=False, seed=seed), known)


def rectools_ease(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """EASEModel of RecTools."""
    from rectools.models import EASEModel

    del seed
    model = EASEModel(**params)
    model.fit(_rectools(known))
    weight = np.asarray(model.weight)
    return lambda rows: known[rows] @ weight


def rectools_svd(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """PureSVDModel of RecTools."""
    from rectools.models import PureSVDModel

    del seed  # 0.19 passes it on in a form that the newer scipy refuses
    model = PureSVDModel(**params)
    model.fit(_rectools(known))
    return lambda rows: model.user_factors[rows] @ model.item_factors.T


def rectools_lightfm(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """LightFM with the WARP loss through RecTools."""
    from lightfm import LightFM
    from rectools.models import LightFMWrapperModel

    given = dict(params)
    epochs = int(given.pop("epochs", 1))
    model = LightFMWrapperModel(LightFM(loss="warp", random_state=seed, **given), epochs=epochs, num_threads=1)
    model.fit(_rectools(known))
    inner = model.model
    members, products = inner.user_embeddings, inner.item_embeddings
    return lambda rows: members[rows] @ products.T + inner.item_biases


def rectools_popular(known: Any, params: dict[str, Any], seed: int) -> Scores:
    """PopularModel of RecTools: buyers over the whole history."""
    from rectools.models import PopularModel

    del seed
    model = PopularModel(**params)
    model.fit(_rectools(known))
    ids, scores = model.popularity_list
    found = np.zeros(known.shape[1])
    found[np.asarray(ids, int)] = scores
    return lambda rows: np.broadcast_to(found, (len(rows), len(found)))


PEERS: dict[str, Callable[[Any, dict[str, Any], int], Scores]] = {
    found.__name__: found
    for found in (
        implicit_als,
        implicit_bpr,
        implicit_bm25,
        cornac_bpr,
        cornac_ease,
        rectools_ease,
        rectools_svd,
        rectools_lightfm,
        rectools_popular,
    )
}


def _factors(model: Any, known: Any) -> Scores:
    model.fit(known, show_progress=False)
    members, products = np.asarray(model.user_factors), np.asarray(model.item_factors)
    return lambda rows: members[rows] @ products.T


def _cornac(model: Any, known: Any) -> Scores:
    """Their data set numbers members and products by first appearance; scores are put back in our order."""
    from cornac.data import Dataset

    found = known.tocoo()
    rows, columns, values = found.row.tolist(), found.col.tolist(), found.data.tolist()
    data = Dataset.from_uir(list(zip(rows, columns, values, strict=True)), seed=0)
    model.fit(data)
    place = np.fromiter(data.iid_map, int, len(data.iid_map))

    def scores(asked: Any) -> Any:
        out = np.full((len(asked), known.shape[1]), -np.inf)
        for at, row in enumerate(asked.tolist()):
            if row in data.uid_map:
                out[at, place] = np.asarray(model.score(data.uid_map[row])).ravel()[: len(place)]
        return out

    return scores


def _rectools(known: Any) -> Any:
    """Their data set; every member and product is named in order, so that positions stay ours."""
    from rectools.dataset import Dataset, IdMap, Interactions

    found = known.tocoo()
    frame = pd.DataFrame({"user_id": found.row, "item_id": found.col, "weight": found.data.astype(np.float64)})
    frame["datetime"] = pd.Timestamp("2000-01-01")
    ids = (IdMap.from_values(np.arange(known.shape[0])), IdMap.from_values(np.arange(known.shape[1])))
    return Dataset(user_id_map=ids[0], item_id_map=ids[1], interactions=Interactions(frame))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Fit and write the lists that a request asks for."""
    bought = pd.read_parquet(request["train"])
    shape = (request["members"], request["products"])
    known = sp.csr_matrix((bought["count"].to_numpy(np.float32), (bought["row"], bought["column"])), shape=shape)
    begun = time.process_time()
    scores = PEERS[request["peer"]](known, request["params"], request["seed"])
    fitted = time.process_time()
    frames = [
        _lists(scores, known, np.asarray(rows, np.int64), mask, request["k"]) for mask, rows in request["asked"].items()
    ]
    listed = time.process_time()
    pd.concat(frames, ignore_index=True).to_parquet(request["out"], index=False)
    return {"fit_seconds": fitted - begun, "answer_seconds": listed - fitted}


def _lists(scores: Scores, known: Any, rows: Any, mask: str, k: int) -> pd.DataFrame:
    """The first k; `mask` is any, new (not bought before) or own (bought before)."""
    buyers = np.asarray((known > 0).sum(axis=0)).ravel()
    parts = []
    for begin in range(0, len(rows), _AT_ONCE):
        some = rows[begin : begin + _AT_ONCE]
        found = np.array(scores(some), np.float64)
        own = known[some].toarray() > 0
        found[~own.any(axis=1)] = buyers
        found[~np.isfinite(found)] = -np.inf
        if mask != "any":
            found[own if mask == "new" else ~own] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        at, rank = np.nonzero(np.take_along_axis(found, order, 1) > -np.inf)
        parts.append(pd.DataFrame({"mask": mask, "row": some[at], "rank": rank + 1, "column": order[at, rank]}))
    return pd.concat(parts, ignore_index=True)


def serve(answering: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests until the input ends, in so many GB of memory as the first argument says.

    What libraries print goes to the error stream.
    """
    most = int(float(sys.argv[1]) * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            said = answering(json.loads(line))
        except Exception as error:  # noqa: BLE001  the peer's own faults are its result
            said = {"reason": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(said) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(answer)
