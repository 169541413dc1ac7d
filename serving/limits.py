"""How much a caller may send, and how a body becomes a value: size, depth, duplicate keys, and time to send it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive

from serving.contract import ID_PATTERN
from serving.problems import refuse

BODY = 64 * 2**10
EVENTS_BODY = 2**20
DEPTH = 8
READ_SECONDS = 2.0
ID = re.compile(ID_PATTERN)


async def read_body(headers: Mapping[str, str], receive: Receive, limit: int, seconds: float = READ_SECONDS) -> bytes:
    """The whole body, if it is JSON, small enough and sent in time.

    Raises:
        RefusedError: 415, 413, 408, or 400 for a caller that went away.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refuse(415, f"content-type {kind or '(none)'!r} is not understood; send application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise refuse(415, "compressed bodies are not understood; send the JSON as it is")
    announced = headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced[:12]) > limit:
        raise refuse(413, f"the body is larger than {limit} bytes; send less at a time", connection="close")
    message = await _next(receive, seconds)
    if not message.get("more_body"):
        return _within(message.get("body", b""), limit)
    return await _rest(message.get("body", b""), receive, limit, seconds)


async def _rest(first: bytes, receive: Receive, limit: int, seconds: float) -> bytes:
    parts, size = [first], len(first)
    deadline = asyncio.get_running_loop().time() + seconds
    more = True
    while more:
        message = await _next(receive, deadline - asyncio.get_running_loop().time())
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = bool(message.get("more_body")) and size <= limit
    return _within(b"".join(parts), limit)


async def _next(receive: Receive, seconds: float) -> Any:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            message = await receive()
    except TimeoutError:
        raise refuse(408, f"the body did not arrive within {READ_SECONDS:g} s", connection="close") from None
    if message["type"] == "http.disconnect":
        raise refuse(400, "the caller went away before the body was complete", connection="close")
    return message


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise refuse(413, f"the body is larger than {limit} bytes; send less at a time", connection="close")
    return body


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RefusedError: 400 where it is no JSON, no object, too deep, or says the same key twice.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refuse(400, f"the body is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise refuse(400, "the body must be a JSON object")
    if body.count(b"{") + body.count(b"[") > DEPTH and deeper_than(value, DEPTH):
        raise refuse(400, f"the body is nested deeper than {DEPTH} levels")
    if _says_twice(body, value):
        raise refuse(400, "the body says the same key twice; which of the two is meant?")
    return value


def deeper_than(value: object, levels: int) -> bool:
    """Whether objects and lists are nested more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(deeper_than(one, levels - 1) for one in inner)


def _says_twice(body: bytes, value: dict[str, Any]) -> bool:
    """Writing the parsed value again loses a colon for each key said twice; escapes need the slow way."""
    if b"\\" not in body:
        return body.count(b":") != orjson.dumps(value).count(b":")
    twice = False

    def see(pairs: list[tuple[str, Any]]) -> None:
        nonlocal twice
        twice = twice or len(dict(pairs)) != len(pairs)

    json.loads(body, object_pairs_hook=see)
    return twice
