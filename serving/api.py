"""The ASGI app: finds the route, guards it, counts it, and turns every refusal into a problem document."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from serving import endpoints, pages, points_endpoints, problems, spending_endpoints
from serving.contract import PATHS
from serving.endpoints import Reply, Request
from serving.house import House
from serving.journal import JournalError
from serving.metrics import Metrics
from serving.problems import Problem, RefusedError, refuse

LAG_S = 0.25
"""When the event loop is so far behind, further work is refused at once, so that what was begun ends in time."""
PAGES = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/")
NOWHERE = "(none)"
_LOG = logging.getLogger("tessera.serving")

Handler = Callable[[Request], Awaitable[Reply]]
_EXACT: dict[str, Handler] = {
    **dict.fromkeys(PATHS.values(), endpoints.decide),
    "/v1/decisions/batch": endpoints.batch,
    "/v1/events": endpoints.report,
}
_WITH_ID: dict[tuple[str, ...], tuple[str, Handler]] = {
    ("members",): ("/v1/members/{member_id}", endpoints.member),
    ("members", "tier-path"): ("/v1/members/{member_id}/tier-path", endpoints.tier_path),
    ("decisions",): ("/v1/decisions/{decision_id}", endpoints.decision),
    ("decisions", "explain"): ("/v1/decisions/{decision_id}/explain", endpoints.explain),
}


_LISTS: dict[str, Handler] = {"/v1/budgets": spending_endpoints.budgets}
_POST_TO: dict[tuple[str, ...], tuple[str, Handler]] = {
    ("reservations", "validate"): ("/v1/reservations/{reservation_id}/validate", spending_endpoints.validate),
    ("reservations", "commit"): ("/v1/reservations/{reservation_id}/commit", spending_endpoints.commit),
    ("reservations", "release"): ("/v1/reservations/{reservation_id}/release", spending_endpoints.release),
    ("members", "points", "redeem"): ("/v1/members/{member_id}/points/redeem", points_endpoints.redeem),
    ("members", "points", "release"): ("/v1/members/{member_id}/points/release", points_endpoints.release),
}


class Api:
    """`house` is set once everything is open; until then the endpoints answer 503."""

    def __init__(self) -> None:
        self.house: House | None = None
        self.metrics = Metrics()
        self.lag = 0.0
        """Seconds by which the event loop is behind."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing but a bug becomes a 500."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        route, name, method, handler = _find(scope["path"])
        extra: Mapping[str, str] = {}
        try:
            reply = await self._reply(scope, receive, route, name, method, handler)
        except RefusedError as error:
            reply, extra = _written(error.problem)
        except JournalError as error:
            reply, extra = _written(Problem(503, str(error), (), {"Retry-After": "1"}))
        except Exception:  # noqa: BLE001 - a bug in one answer must not take the others with it; it is logged whole
            _LOG.exception("a bug in %s", route)
            reply, extra = _written(Problem(500, "a bug; the log has the details"))
        count, seconds = self.metrics.request(route, _METHODS.get(scope["method"], "OTHER"), reply.status)
        count.inc()
        seconds.observe(time.perf_counter() - began)
        await _send(send, reply, extra, head=scope["method"] == "HEAD")

    async def _reply(
        self, scope: Scope, receive: Receive, route: str, name: str, method: str, handler: Handler | None
    ) -> Reply:
        if route == NOWHERE:
            raise refuse(404, f"there is no {problems.shown(scope['path'])}; /docs lists what there is")
        if scope["method"] != method and (method, scope["method"]) != ("GET", "HEAD"):
            raise refuse(405, f"{route} understands {method} only", allow=method)
        if handler is None:
            return Reply(*pages.page(route, self.house, self.metrics))
        if self.house is None:
            raise refuse(503, "the service is starting", retry_after="1")
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        query = _query(scope.get("query_string", b""))
        request = Request(route, name, headers, receive, self.house, self.metrics, self.lag > LAG_S, query)
        return await handler(request)


def _query(text: bytes) -> Mapping[str, str]:
    if not text:
        return {}
    return {name: many[0] for name, many in parse_qs(text.decode("latin-1")).items()}


_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")}


def _find(path: str) -> tuple[str, str, str, Handler | None]:
    """Route template, id in the path, method, and what answers."""
    handler = _EXACT.get(path)
    if handler is not None:
        return path, "", "POST", handler
    if path in PAGES or path in _LISTS:
        return path, "", "GET", _LISTS.get(path)
    parts = path.split("/")
    if len(parts) > 3 and parts[:2] == ["", "v1"]:
        key = (parts[2], *parts[4:])
        method, table = ("POST", _POST_TO) if key in _POST_TO else ("GET", _WITH_ID)
        route, found = table.get(key, (NOWHERE, None))
        return route, parts[3], method, found
    return NOWHERE, "", "GET", None


def _written(problem: Problem) -> tuple[Reply, Mapping[str, str]]:
    return Reply(problem.status, orjson.dumps(problem.body()), problems.MEDIA_TYPE), problem.headers


async def _send(send: Send, reply: Reply, extra: Mapping[str, str], *, head: bool) -> None:
    headers = [(b"content-type", reply.kind.encode()), (b"content-length", str(len(reply.body)).encode())]
    headers += [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in extra.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
