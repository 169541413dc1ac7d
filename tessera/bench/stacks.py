"""What the service is compared with, in the same shell with the same tuning, one worker each.

`noop` reads and answers; `obvious` is what most teams build: Feast's SDK and its SQLite store, implicit's `recommend`,
LightGBM's `predict`; `obvious_rows` is the same with our online store in the place of Feast's.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from serving import limits
from tessera.bench.ground import Ground, original

Answerer = Callable[[dict[str, Any]], dict[str, Any]]
_OFFERS = [{"id": f"offer-{k}", "probability": 0.1, "value": {"net": 1.0 - k / 10}} for k in range(10)]


def answerer(kind: str, ground: Ground) -> Answerer:
    """What answers in this stack."""
    if kind == "noop":
        return lambda asked: {"member_id": asked["member_id"], "results": _OFFERS, "meta": {"degraded": []}}
    names = _names(ground)
    read = _from_feast(ground, names) if kind == "obvious" else _from_rows(ground)
    recommend, predict = _recommender(ground), _predictor(ground)

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        member = asked["member_id"]
        row = read(member)
        products, scores = recommend(original(member))
        churn = predict(row)
        pairs = zip(products, scores, strict=True)
        results = [{"id": one, "probability": 1.0, "value": {"net": value}} for one, value in pairs]
        return {"member_id": member, "results": results, "churn": churn, "meta": {"degraded": []}}

    return answer


def _names(ground: Ground) -> list[str]:
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(ground.rivals / "features.parquet").names if name != "member_id"]


def _from_feast(ground: Ground, names: list[str]) -> Callable[[str], Any]:
    import numpy as np

    store = feast_store(ground, names)
    wanted = [f"member_features:{name}" for name in names]

    def read(member: str) -> Any:
        found = store.get_online_features(features=wanted, entity_rows=[{"member_id": original(member)}]).to_dict()
        return np.array([[found[name][0] for name in names]], dtype=np.float64)

    return read


def feast_store(ground: Ground, names: list[str]) -> Any:
    """Feast with its own SQLite store, as its documentation starts."""
    from datetime import timedelta

    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    folder = ground.rivals / "feast"
    config = RepoConfig(
        project="rival", provider="local", registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store={"type": "duckdb"}, entity_key_serialization_version=3,
    )  # fmt: skip
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(config=config)
    if fresh:
        member = Entity(name="member", join_keys=["member_id"], value_type=ValueType.STRING)
        source = FileSource(path=str(ground.rivals / "features.parquet"), timestamp_field="event_timestamp")
        view = FeatureView(
            name="member_features", entities=[member], ttl=timedelta(days=0), source=source,
            schema=[Field(name=name, dtype=Float64) for name in names],
        )  # fmt: skip
        store.apply([member, view])
    return store


def fill_feast(ground: Ground) -> None:
    """Write the simulated members' features into Feast's own store."""
    import pandas as pd

    from tessera.bench.ground import ENDS

    frame = pd.read_parquet(ground.rivals / "features.parquet").assign(event_timestamp=pd.Timestamp(ENDS))
    names = [name for name in frame.columns if name not in ("member_id", "event_timestamp")]
    feast_store(ground, names).write_to_online_store("member_features", df=frame)


def _from_rows(ground: Ground) -> Callable[[str], Any]:
    from features import catalog
    from features.rows import Rows
    from serving.members import Finish, fetch
    from tessera.bench.ground import ENDS

    rows, finish = Rows(ground.ws.online), Finish(catalog.load(ground.ws.catalog).programme)
    at = ENDS.timestamp() + 60

    def read(member: str) -> Any:
        found = finish(fetch(rows, member), at)
        if found is None:
            raise KeyError(member)
        return found.row[None, :]

    return read


def _recommender(ground: Ground) -> Callable[[str], tuple[list[str], list[float]]]:
    from implicit.cpu.als import AlternatingLeastSquares

    with (ground.rivals / "implicit.pickle").open("rb") as file:
        members, member_vectors, product_vectors, counts = pickle.load(file)  # noqa: S301 - written by this benchmark
    model = AlternatingLeastSquares(factors=product_vectors.shape[1], num_threads=1)
    model.user_factors, model.item_factors = member_vectors, product_vectors
    place = {member: row for row, member in enumerate(members)}

    def recommend(member: str) -> tuple[list[str], list[float]]:
        row = place[member]
        products, scores = model.recommend(row, counts[row], N=10, filter_already_liked_items=False)
        return [str(one) for one in products.tolist()], scores.tolist()

    return recommend


def _predictor(ground: Ground) -> Callable[[Any], float]:
    import lightgbm

    booster = lightgbm.Booster(model_file=str(ground.rivals / "lightgbm.txt"))
    return lambda row: float(booster.predict(row, num_threads=1)[0])


class Plain:
    """Reads a body within the service's limits and answers with what an answerer says."""

    def __init__(self) -> None:
        self.answer: Answerer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; `/readyz` says whether there is an answerer."""
        if scope["path"] == "/readyz" or self.answer is None:
            status, body = (200 if self.answer else 503), b"{}"
        else:
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            asked = limits.parse(await limits.read_body(headers, receive, limits.BODY))
            status, body = 200, orjson.dumps(self.answer(asked))
        lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": body})


def shell(plain: Plain, warm: Callable[[], None]) -> Any:
    """BentoML with the settings of the service around an app of the benchmark's."""
    import gc

    import bentoml
    from starlette.types import ASGIApp

    from serving.service import SETTINGS, SWITCH_S

    class Front:
        def __init__(self, app: ASGIApp) -> None:
            self._bento = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await (plain if scope["type"] == "http" else self._bento)(scope, receive, send)

    class Rival:
        @bentoml.on_startup  # type: ignore[untyped-decorator, unused-ignore]
        def open(self) -> None:
            sys.setswitchinterval(SWITCH_S)
            warm()
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)

    service: Any = bentoml.service(**{**SETTINGS, "name": "rival"})(Rival)
    service.add_asgi_middleware(Front)
    return service.to_asgi()


def main(kind: str, home: str, port: int) -> None:
    """Serve one stack in the shell of the service."""
    from serving.address import listen
    from serving.service import run

    plain = Plain()

    def warm() -> None:
        found = answerer(kind, Ground(Path(home)))
        found({"member_id": "M0000001~00"})
        plain.answer = found

    run(listen("127.0.0.1", port), shell(plain, warm))


if __name__ == "__main__":
    os.environ.setdefault("FEAST_USAGE", "False")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
