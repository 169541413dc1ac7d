"""What each endpoint does: read and check, hand over to the engine or the journal, and say how it went."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from starlette.types import Receive

from serving import access, events, limits, problems
from serving.contract import ID_PATTERN, PATHS, REQUESTS, BatchRequest, DecisionRequest, Envelope, FamilyName, Strict
from serving.delivery import deliver, deliver_many
from serving.engine import call
from serving.events import EventsRequest
from serving.house import House
from serving.metrics import Metrics
from serving.problems import Fault, refuse
from serving.views import Views

Asked = TypeVar("Asked", bound=Strict)
JSON = "application/json"
EVENT_SECONDS = 5.0
"""An event that is not on disk by then is answered with 503; sent again it is still stored once."""
FAMILIES: dict[str, FamilyName] = {path: family for family, path in PATHS.items()}


@dataclass(frozen=True, slots=True)
class Request:
    """One request that has found its route."""

    route: str
    name: str
    """The id in the path; empty where there is none."""
    headers: Mapping[str, str]
    receive: Receive
    house: House
    metrics: Metrics
    busy: bool
    """Whether so much is going on that further work should be refused."""
    query: Mapping[str, str] = field(default_factory=dict)
    """What stands behind the question mark; of a name said twice the first counts."""

    def admit(self, *scopes: str) -> access.Holder:
        """Who asks; 401 or 403 where they may not."""
        return self.house.watch.keys.admit(self.headers, *scopes)

    async def body(self, limit: int = limits.BODY) -> dict[str, Any]:
        """The JSON object sent; refused where it is too large, too slow, or comes while too much is going on."""
        content = await limits.read_body(self.headers, self.receive, limit)
        if self.busy:
            self.metrics.shed.inc()
            raise refuse(503, "too many requests at once; try again in a second", retry_after="1")
        return limits.parse(content)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes
    kind: str = JSON


async def decide(request: Request) -> Reply:
    """One member, one moment."""
    began = time.perf_counter()
    holder = request.admit("caller", "marketer")
    body = await request.body()
    family, house = FAMILIES[request.route], request.house
    asked: DecisionRequest = _checked(REQUESTS[family], body)
    _may_ask(holder, asked)
    member_id = house.watch.present().cards.owner(asked.member_id or f"~{asked.anonymous_id}")
    digest = _hash(request.route, body) if asked.request_id else b""
    answer = await deliver(house.engine, call(family, member_id, asked, house.now(), digest))
    _count(request.metrics, family, answer)
    answer["meta"]["took_ms"] = _since(began)
    return Reply(200, orjson.dumps(answer))


async def batch(request: Request) -> Reply:
    """The same for up to 500 members."""
    began = time.perf_counter()
    holder = request.admit("caller", "marketer")
    body = await request.body()
    asked: BatchRequest = _checked(BatchRequest, body)
    _may_ask(holder, asked)
    house, digest = request.house, _hash(request.route, body)
    at = house.now()
    owner = house.watch.present().cards.owner
    calls = [call(asked.family, owner(one), _for_member(asked, one), at, digest) for one in asked.member_ids]
    answers = await deliver_many(house.engine, calls)
    for answer in answers:
        _count(request.metrics, asked.family, answer)
    return Reply(200, orjson.dumps({"answers": answers, "took_ms": _since(began)}))


async def report(request: Request) -> Reply:
    """Events; answered when the accepted ones are on disk."""
    request.admit("caller")
    body = await request.body(limits.EVENTS_BODY)
    asked: EventsRequest = _checked(EventsRequest, body)
    house = request.house
    currency = house.watch.present().rulebook.catalog.programme.currency
    found = events.sort(asked.events, body["events"], datetime.fromtimestamp(house.now(), UTC), currency)
    accepted = duplicates = 0
    if found.rows:
        ticket = house.journal.submit_events(found.rows, asyncio.get_running_loop())
        kept: Any = await ticket.within(EVENT_SECONDS)
        accepted, duplicates = kept.accepted, kept.duplicates
    rejected = [one.model_dump() for one in found.rejected]
    for outcome, count in (("accepted", accepted), ("duplicate", duplicates), ("rejected", len(rejected))):
        request.metrics.events.labels(outcome).inc(count)
    return Reply(202, orjson.dumps({"accepted": accepted, "duplicates": duplicates, "rejected": rejected}))


async def member(request: Request) -> Reply:
    """A member's profile."""
    request.admit("caller", "marketer")
    return Reply(200, orjson.dumps(Views(request.house).member(well_formed(request.name))))


async def tier_path(request: Request) -> Reply:
    """What would change the outcome of the member's tier, at least cost."""
    request.admit("caller", "marketer")
    return Reply(200, orjson.dumps(Views(request.house).tier_path(well_formed(request.name))))


async def decision(request: Request) -> Reply:
    """A decision that was made."""
    request.admit("caller", "marketer")
    return Reply(200, orjson.dumps(Views(request.house).decision(well_formed(request.name))))


async def explain(request: Request) -> Reply:
    """A decision with all it rested on; with `?candidate=` why that one or why not, worked out beside the loop."""
    request.admit("caller", "marketer")
    name, candidate = well_formed(request.name), request.query.get("candidate")
    views = Views(request.house)
    if candidate is None:
        return Reply(200, orjson.dumps(views.explain(name)))
    if not limits.ID.fullmatch(candidate):
        raise refuse(422, "the candidate is malformed", Fault("candidate", ID_PATTERN, problems.shown(candidate)))
    if request.busy:
        raise refuse(503, "too many requests at once; try again in a second", retry_after="1")
    told, work_out = views.explain(name), views.question(name, candidate)
    async with _ONE_AT_A_TIME:
        told["explanation"] = await asyncio.to_thread(work_out)
    return Reply(200, orjson.dumps(told))


_ONE_AT_A_TIME = asyncio.Semaphore(1)
"""Explanations are searched for one after the other, so that answers to callers do not wait for many of them."""


def _checked(model: type[Any], body: dict[str, Any]) -> Any:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise problems.invalid(error) from None


def _may_ask(holder: access.Holder, asked: Envelope) -> None:
    if not asked.dry_run and holder.scopes.isdisjoint(("caller", "admin")):
        raise refuse(403, "a marketer's key decides with dry_run only; it lacks the scope caller")


def _for_member(asked: BatchRequest, member_id: str) -> Envelope:
    if asked.request_id is None:
        return asked
    return asked.model_copy(update={"request_id": f"{asked.request_id}/{member_id}"})


def _hash(route: str, body: Mapping[str, Any]) -> bytes:
    content = orjson.dumps((route, body), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(content, digest_size=16).digest()


def _count(metrics: Metrics, family: str, answer: Mapping[str, Any]) -> None:
    metrics.decided(family, answer["policy"]["mode"]).inc()
    for part in answer["meta"]["degraded"]:
        metrics.degraded.labels(part).inc()


async def asked(request: Request, model: type[Asked]) -> Asked:
    """What a caller sends about the id in the path, checked; the id too."""
    request.admit("caller")
    body = await request.body()
    well_formed(request.name)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise problems.invalid(error) from None


def well_formed(name: str) -> str:
    """The id in the path, or 422."""
    if not limits.ID.fullmatch(name):
        raise refuse(422, "the id in the path is malformed", Fault("id", ID_PATTERN, problems.shown(name)))
    return name


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)
