"""What the journal keeps of one decision: the answer, and every input it was made from, in one blob.

Encoded and decoded here and nowhere else: a version byte, the lengths of three parts, then the parts: a JSON header,
the member's state as it lay in the online store, and the member's vector.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import orjson

VERSION = 1
_HEAD = struct.Struct("<BIII")


class PayloadError(ValueError):
    """A blob that is no payload, or of a version this code does not know."""


@dataclass(frozen=True, slots=True)
class Payload:
    """One decision with its inputs; `state` and `vector` are empty where there was none."""

    header: dict[str, Any]
    state: bytes = b""
    vector: bytes = b""


def encode(payload: Payload) -> bytes:
    """The blob of a payload.

    >>> decode(encode(Payload({"a": 1}, b"state"))).state
    b'state'
    """
    header = orjson.dumps(payload.header)
    return b"".join(
        (
            _HEAD.pack(VERSION, len(header), len(payload.state), len(payload.vector)),
            header,
            payload.state,
            payload.vector,
        )
    )


def decode(blob: bytes) -> Payload:
    """The payload in a blob; PayloadError where it is none."""
    if len(blob) < _HEAD.size:
        raise PayloadError(f"{len(blob)} bytes are no payload")
    version, header, state, vector = _HEAD.unpack_from(blob)
    if version != VERSION:
        raise PayloadError(f"payload version {version} is unknown; this code reads {VERSION}")
    if len(blob) != _HEAD.size + header + state + vector:
        raise PayloadError(f"the payload should have {_HEAD.size + header + state + vector} bytes, has {len(blob)}")
    start = _HEAD.size
    return Payload(
        orjson.loads(blob[start : start + header]),
        blob[start + header : start + header + state],
        blob[start + header + state :],
    )
