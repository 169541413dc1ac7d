"""What is there for machines that watch and people that look: readiness, metrics, the document, and a page to try it.

Nothing on these pages comes from another host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST

from serving import openapi
from serving.answer import moment
from serving.house import House
from serving.metrics import Metrics
from serving.watch import sentences

_HOME = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Tessera</title><h1>Tessera</h1>"
    b"<p><a href=/docs>The API, to read and to try</a> &middot; <a href=/openapi.json>its document</a> &middot; "
    b"<a href=/readyz>readiness</a> &middot; <a href=/metrics>metrics</a></html>"
)
_DOCS = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Tessera API</title>"
    b"<link rel=stylesheet href=/static_content/swagger-ui.css>"
    b"<link rel=icon href=/static_content/favicon-light-32x32.png><div id=swagger-ui></div>"
    b"<script src=/static_content/swagger-ui-bundle.js></script>"
    b"<script>SwaggerUIBundle({url:'/openapi.json',dom_id:'#swagger-ui',validatorUrl:null})</script></html>"
)
_HTML = "text/html; charset=utf-8"
_JSON = "application/json"


def page(route: str, house: House | None, metrics: Metrics) -> tuple[int, bytes, str]:
    """Status, body and content type of one of the pages."""
    if route == "/livez":
        return 200, b'{"status":"alive"}', _JSON
    if route == "/readyz":
        ready, body = readiness(house)
        return (200 if ready else 503), orjson.dumps(body), _JSON
    if route == "/metrics":
        return 200, _measured(house, metrics), CONTENT_TYPE_LATEST
    if route == "/openapi.json":
        return 200, _document(house is not None and house.watch.keys.open_door), _JSON
    return 200, _DOCS if route == "/docs" else _HOME, _HTML


@lru_cache(maxsize=2)
def _document(open_door: bool) -> bytes:
    return orjson.dumps(openapi.document(open_door=open_door))


def readiness(house: House | None) -> tuple[bool, dict[str, Any]]:
    """Whether decisions can be made and kept, and what is wrong even if they can."""
    if house is None:
        return False, {"status": "starting"}
    watch = house.watch
    ready = watch.ready and house.journal.healthy
    body: dict[str, Any] = {
        "status": "ready" if ready else "not ready",
        "at": moment(house.now()),
        "journal": house.journal.trouble or "healthy",
        "refused": sentences(watch.faults),
    }
    if watch.ready:
        present = watch.present()
        body["versions"] = {
            "catalog": present.rulebook.catalog.version,
            "policy": present.rulebook.policy.version,
            "experiments": present.rulebook.experiments.version,
            "models": present.champions.versions,
        }
        body["degraded"] = [*present.champions.missing, *([] if present.rows else ["features"])]
    return ready, body


def _measured(house: House | None, metrics: Metrics) -> bytes:
    if house is not None:
        metrics.faults.clear()
        for source, found in house.watch.faults.items():
            metrics.faults.labels(source).set(len(found))
        metrics.swaps.set(house.watch.swaps)
        syncs = house.journal.sync_seconds
        metrics.sync.set(syncs[-1] if syncs else 0.0)
        metrics.waiting.set(house.journal.waiting)
        metrics.healthy.set(float(house.journal.trouble is None))
    return metrics.text()
