"""The OpenAPI 3.1 document, made from the models that check the requests, so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from serving import lifetime_value
from serving.contract import (
    ID_PATTERN,
    PATHS,
    REQUESTS,
    BatchAnswer,
    BatchRequest,
    DecisionAnswer,
    DecisionRequest,
    RecommendationRequest,
)
from serving.events import EventsAnswer, EventsRequest
from serving.redemptions import PointsRedeemRequest, PointsReleaseRequest, RedemptionAnswer
from serving.spending import BudgetsAnswer, CommitRequest, HoldRequest, ReservationAnswer

SIMPLE_FILTER = r"^[a-z]{3,12}_(==|!=|<|<=|>|>=)_-?[0-9]{1,6}$".replace("_", " ")
"""What a machine may make up as a filter; people write more (`serving.filters`)."""

_MODELS = (
    DecisionRequest,
    RecommendationRequest,
    BatchRequest,
    DecisionAnswer,
    BatchAnswer,
    EventsRequest,
    EventsAnswer,
    HoldRequest,
    CommitRequest,
    ReservationAnswer,
    BudgetsAnswer,
    PointsRedeemRequest,
    PointsReleaseRequest,
    RedemptionAnswer,
)
_TITLES = {
    "offer": ("offers", "Offers for a member"),
    "action": ("nextBestAction", "The next best action for a member, offers' products included"),
    "benefit": ("benefits", "Which benefits of the member's tier to put forward"),
    "product": ("recommendations", "Products the member is likely to want next"),
}
_REFUSALS = {
    "400": "The body is no JSON object, too deep, or says a key twice",
    "401": "No valid API key",
    "403": "The key lacks the scope",
    "405": "Another method is understood here",
    "408": "The body did not arrive in time",
    "409": "The request_id was used with another body",
    "413": "The body is too large",
    "415": "Only application/json is understood",
    "422": "The request breaks the contract",
    "503": "Not ready, overloaded, or the journal cannot be written",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "rule", "value"],
                "properties": {name: {"type": "string"} for name in ("field", "rule", "value")},
            },
        },
    },
}
_CANDIDATE: dict[str, Any] = {
    "name": "candidate",
    "in": "query",
    "required": False,
    "description": "Adds `explanation`: why this candidate or why not, and what would have to change.",
    "schema": {"type": "string", "pattern": ID_PATTERN},
}
_MEMBER: dict[str, Any] = {
    "type": "object",
    "description": "Segment and why, tier and distance to the next, points by expiry, churn, next purchase, consents.",
    "required": ["member_id", "segment", "tier", "points", "churn", "consents"],
    "properties": {
        "member_id": {"type": "string"},
        "segment": {"type": "object"},
        "tier": {"type": "object"},
        "points": {"type": "object"},
        "churn": {"type": ["object", "null"]},
        "lifetime_value": {"anyOf": [{"$ref": "#/components/schemas/LifetimeValue"}, {"type": "null"}]},
        "next_purchase": {"type": ["object", "null"]},
        "consents": {"type": "object", "additionalProperties": {"type": "boolean"}},
    },
}


def document(*, open_door: bool = False) -> dict[str, Any]:
    """The document; with `open_door` nothing asks for a key."""
    paths: dict[str, Any] = {
        path: {"post": _post(*_TITLES[family], REQUESTS[family], DecisionAnswer)} for family, path in PATHS.items()
    }
    paths["/v1/decisions/batch"] = {
        "post": _post("decideBatch", "The same decision for up to 500 members", BatchRequest, BatchAnswer)
    }
    paths["/v1/events"] = {
        "post": _post(
            "reportEvents", "Report what happened; answered when it is on disk", EventsRequest, EventsAnswer, "202"
        )
    }
    paths["/v1/members/{member_id}"] = {"get": _get("getMember", "One member", "member_id", _ref("Member"))}
    paths["/v1/members/{member_id}/tier-path"] = {
        "get": _get(
            "getTierPath", "What would change the member's tier, at least cost", "member_id", {"type": "object"}
        )
    }
    answer = _ref("DecisionAnswer")
    paths["/v1/decisions/{decision_id}"] = {"get": _get("getDecision", "A decision", "decision_id", answer)}
    paths["/v1/decisions/{decision_id}/explain"] = {
        "get": _get("explainDecision", "A decision with every chance and all it rested on", "decision_id", answer)
    }
    paths["/v1/decisions/{decision_id}/explain"]["get"]["parameters"].append(_CANDIDATE)
    paths |= _spending()
    paths |= _points()
    components: dict[str, Any] = {"schemas": _schemas()}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tessera",
            "version": "1",
            "description": "Decides which offer, action and benefit comes next for a member of a loyalty programme.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    }
    if not open_door:
        components["securitySchemes"] = {"ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
        whole["security"] = [{"ApiKey": []}]
    return whole


def _spending() -> dict[str, Any]:
    where = _in_path("reservation_id")
    steps = {
        "validate": ("validateReservation", "Whether a reservation may be redeemed now", HoldRequest),
        "commit": ("commitReservation", "Redeem: spend what is reserved; again is the same", CommitRequest),
        "release": ("releaseReservation", "Give back what is reserved or was redeemed; again is the same", HoldRequest),
    }
    paths: dict[str, Any] = {}
    for step, (name, summary, request) in steps.items():
        post = _post(name, summary, request, ReservationAnswer)
        post["responses"] |= {
            "404": _refusal("There is no such reservation"),
            "409": _refusal("It expired, was released, or takes more than there is; `errors` says which"),
        }
        paths[f"/v1/reservations/{{reservation_id}}/{step}"] = {"post": {**post, "parameters": [where]}}
    listed = {"200": _answer(_ref("BudgetsAnswer")), **_refusals("401", "403", "405", "503")}
    summary = "What every budget has left, and what one more unit would earn"
    paths["/v1/budgets"] = {"get": {"operationId": "budgets", "summary": summary, "responses": listed}}
    return paths


def _points() -> dict[str, Any]:
    whose = "/v1/members/{member_id}/points"
    redeem = _post("redeemPoints", "Use a member's points, all or nothing", PointsRedeemRequest, RedemptionAnswer)
    why = (
        "CHANNEL_CLOSED, WRONG_AMOUNT, BELOW_MINIMUM, WRONG_STEP, NOT_ENOUGH_POINTS, or the request_id had another body"
    )
    redeem["responses"]["409"] = _refusal(f"{why}; `errors` says which")
    back = _post("releasePoints", "Roll a redemption back; again is the same", PointsReleaseRequest, RedemptionAnswer)
    del back["responses"]["409"]
    back["responses"]["404"] = _refusal("The member has no such redemption")
    where = {"parameters": [_in_path("member_id")]}
    return {f"{whose}/redeem": {"post": redeem | where}, f"{whose}/release": {"post": back | where}}


def _in_path(parameter: str) -> dict[str, Any]:
    return {"name": parameter, "in": "path", "required": True, "schema": {"type": "string", "pattern": ID_PATTERN}}


def _schemas() -> dict[str, Any]:
    wanted = [(model, "validation" if model.__name__.endswith("Request") else "serialization") for model in _MODELS]
    _, found = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = found["$defs"]
    for schema in schemas.values():
        _close(schema)
    return {**schemas, "Problem": _PROBLEM, "Member": _MEMBER, "LifetimeValue": lifetime_value.SCHEMA}


def _close(schema: Any) -> None:
    """Keys that fit no pattern are refused; a filter made up by a machine is one that can be read."""
    if isinstance(schema, list):
        for one in schema:
            _close(one)
    elif isinstance(schema, dict):
        _close_object(schema)
        for one in schema.values():
            _close(one)


def _close_object(schema: dict[str, Any]) -> None:
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
    if schema.get("format") == "tessera-filter":
        del schema["format"]
        for branch in schema.get("anyOf", (schema,)):
            if branch.get("type") == "string":
                branch["pattern"] = SIMPLE_FILTER


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _post(name: str, summary: str, request: type[Any], answer: type[Any], status: str = "200") -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": _ref(request.__name__)}}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": body,
        "responses": {status: _answer(_ref(answer.__name__)), **_refusals(*_REFUSALS)},
    }


def _get(name: str, summary: str, parameter: str, schema: dict[str, str]) -> dict[str, Any]:
    where = _in_path(parameter)
    refusals = {"404": _refusal("It is not known"), **_refusals("401", "403", "405", "422", "503")}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [where],
        "responses": {"200": _answer(schema), **refusals},
    }


def _answer(schema: dict[str, str]) -> dict[str, Any]:
    return {"description": "The answer", "content": {"application/json": {"schema": schema}}}


def _refusals(*codes: str) -> dict[str, Any]:
    return {code: _refusal(_REFUSALS[code]) for code in codes}


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _ref("Problem")}}}
