"""What went wrong, as callers read it: RFC 9457 problem documents that name the field, the rule and the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_SHOWN = 100
"""Characters of an offending value that are shown."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule of a request."""

    field: str
    rule: str
    value: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    status: int
    detail: str
    errors: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The document; `errors` is there only where a field is to blame."""
        title = HTTPStatus(self.status).phrase
        document: dict[str, Any] = {
            "type": f"urn:tessera:problem:{title.lower().replace(' ', '-')}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"field": one.field, "rule": one.rule, "value": one.value} for one in self.errors]
        return document


class RefusedError(Exception):
    """A request that gets a problem instead of an answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refuse(status: int, detail: str, *errors: Fault, **headers: str) -> RefusedError:
    """The exception that ends a request with this problem; `retry_after="1"` becomes the header `Retry-After`."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return RefusedError(Problem(status, detail, errors, named))


def response(problem: Problem) -> Response:
    """The problem as an HTTP response."""
    return Response(orjson.dumps(problem.body()), problem.status, problem.headers, MEDIA_TYPE)


def invalid(error: ValidationError) -> RefusedError:
    """A request that breaks the contract: every fault, at most twenty of them."""
    found = error.errors(include_url=False, include_context=False)[:20]
    faults = [Fault(_path(one["loc"]), f"{one['type']}: {one['msg']}", shown(one.get("input"))) for one in found]
    return refuse(422, f"the request breaks the contract in {error.error_count()} place(s)", *faults)


def _path(location: Iterable[object]) -> str:
    return ".".join(str(part)[:_SHOWN] for part in location) or "(body)"


def shown(value: object) -> str:
    """A short text of any value, fit for an answer and for one line of a log."""
    text = value if isinstance(value, str) else repr(value)
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:_SHOWN])
    return printable + ("…" if len(text) > _SHOWN else "")
