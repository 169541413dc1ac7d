"""A member's state: the rows that count, as compact arrays, from which every feature is finished at any later moment.

A state is made by the SQL of `features.member_facts` (see `features.member_states`) and read here without any
database. It keeps rows, never finished numbers, because recency, windows and expiry move on while nothing happens.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.member_facts import relations
from features.relations import Relation

CONSENTS = ("personalisation", "email", "sms", "push", "call")
RELATIONS: tuple[Relation, ...] = tuple(relations("UTC").values())
"""The relations in the order of a state's arrays; the zone does not touch the layout."""
COLUMNS: Mapping[tuple[str, str], int] = {
    key: index
    for index, key in enumerate(
        [
            *(
                (relation.name, name)
                for relation in RELATIONS
                for name in ("occurred_us", *(column.name for column in relation.stored))
            ),
            ("products", "last_us"),
            ("products", "times"),
            ("categories", "last_us"),
        ]
    )
}
"""(relation, column) → position in `State.columns`."""
_LAST_BOUGHT, _LAST_IN_CATEGORY = COLUMNS["products", "last_us"], COLUMNS["categories", "last_us"]
GROUPS = (*(relation.name for relation in RELATIONS), "products", "categories")
HEAD = struct.Struct(f"<q{len(GROUPS)}IIIHBB")
"""Built at (µs), rows of each group, bytes of product ids, category names and region, consents, enrolled or not."""
SEPARATOR = "\x1f"
_SIGNATURE = zlib.crc32(repr(sorted(COLUMNS.items(), key=lambda item: item[1])).encode()).to_bytes(4, "little")
_GROUP_OF = tuple(1 + GROUPS.index(group) for group, _ in COLUMNS)
_SEARCHED = {
    (relation.name, column.name)
    for relation in RELATIONS
    for column in relation.stored
    if column.kind in ("flag", "word")
}
_IS_SEARCHED = tuple(key in _SEARCHED for key in COLUMNS)


class StateError(ValueError):
    """Bytes that are no state of this version."""


Column = bytes | tuple[int, ...] | tuple[float, ...]
"""Numbers in the order of time; flags and words are bytes, to be searched (a word is its place in `words`, from 1)."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known about one member, from `decode`."""

    built_us: int
    """The moment as of which the state was made, microseconds since 1970."""
    columns: tuple[Column, ...]
    """The arrays, at the positions of `COLUMNS`."""
    consents: Mapping[str, bool]
    """Purpose → consent, from the member's last profile row; empty for a member who never enrolled."""
    region: str | None
    product_ids: tuple[str, ...]
    category_names: tuple[str, ...]

    def products(self) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.float64]]:
        """Products bought and kept: ids, baskets they were in less those returned, last time (epoch seconds)."""
        times = np.array(self.columns[COLUMNS["products", "times"]], np.float32)
        last = np.array(self.columns[_LAST_BOUGHT], np.float64) / 1e6
        return self.product_ids, times, last

    def bought_by(self, at: float) -> bool:
        """Whether every product was last bought at `at` (epoch seconds) or before; so it is where none was bought."""
        return max(self.columns[_LAST_BOUGHT], default=0) / 1e6 <= at

    def categories(self, at: float) -> frozenset[str]:
        """Categories bought in the year before `at` (epoch seconds)."""
        since = at * 1e6 - 365 * 86_400_000_000
        last = self.columns[_LAST_IN_CATEGORY]
        return frozenset([name for name, when in zip(self.category_names, last, strict=True) if when > since])


def decode(blob: bytes) -> State:
    """Read a state.

    Raises:
        StateError: The bytes were cut off, or written by another version of the relations.
    """
    start = 5 + blob[4] if len(blob) > 4 else 0
    layout = _layout(blob[:start])
    try:
        head = HEAD.unpack_from(blob, start)
        columns, at = _columns(blob, layout, head, start + HEAD.size)
    except (struct.error, TypeError) as fault:
        raise StateError(_CUT_OFF) from fault
    products, categories, region, consents, enrolled = head[1 + len(GROUPS) :]
    if len(blob) != at + products + categories + region:
        raise StateError(_CUT_OFF)
    ends = (at + products, at + products + categories)
    return State(
        built_us=head[0],
        columns=columns,
        consents=_consents(consents) if enrolled else {},
        region=blob[ends[1] :].decode() or None,
        product_ids=_texts(blob[at : ends[0]]),
        category_names=_texts(blob[ends[0] : ends[1]]),
    )


def prefix(typecodes: str) -> bytes:
    """The first bytes of a state: which relations it was made for, and the type of each array."""
    return _SIGNATURE + bytes([len(typecodes)]) + typecodes.encode()


def empty() -> State:
    """The state of a member nobody knows."""
    return decode(prefix("B" * len(COLUMNS)) + HEAD.pack(0, *[0] * len(GROUPS), 0, 0, 0, 0, 0))


def encode_taste(version: str, vector: NDArray[np.float32], at_us: int = 0) -> bytes:
    """A member's own vector with the version of the model it belongs to.

    Args:
        version: Version of the model.
        vector: Shape (k,).
        at_us: Up to when the vector knows the member's purchases, microseconds since 1970.
    """
    text = version.encode()
    return struct.pack("<qB", at_us, len(text)) + text + vector.astype("<f4").tobytes()


def decode_taste(blob: bytes) -> tuple[str, NDArray[np.float32], int]:
    """Model version, vector and its time, from `encode_taste`."""
    at_us, length = struct.unpack_from("<qB", blob)
    return blob[9 : 9 + length].decode(), np.frombuffer(blob[9 + length :], dtype="<f4"), at_us


_CUT_OFF = "state is cut off or overlong: materialise the member again (tessera features)"


@lru_cache(maxsize=256)
def _layout(start: bytes) -> tuple[tuple[int, str, int], ...]:
    if start[:4] != _SIGNATURE:
        raise StateError("state was written for other relations: materialise again (tessera features)")
    codes = start[5:].decode("ascii")
    if len(codes) != len(COLUMNS):
        raise StateError(_CUT_OFF)
    typed = zip(_GROUP_OF, codes, _IS_SEARCHED, strict=True)
    return tuple((group, "" if searched else code, struct.calcsize(code)) for group, code, searched in typed)


def _columns(
    blob: bytes, layout: Sequence[tuple[int, str, int]], head: Sequence[int], at: int
) -> tuple[tuple[Column, ...], int]:
    columns: list[Column] = []
    for group, code, size in layout:
        count = head[group]
        end = at + count * size
        columns.append(_unpacker(code, count)(blob, at) if code else blob[at:end])
        at = end
    return tuple(columns), at


@lru_cache(maxsize=4096)
def _unpacker(code: str, count: int) -> Callable[[bytes, int], tuple[Any, ...]]:
    return struct.Struct(f"{count}{code}").unpack_from


@lru_cache(maxsize=64)
def _consents(bits: int) -> Mapping[str, bool]:
    return {purpose: bool(bits >> position & 1) for position, purpose in enumerate(CONSENTS)}


def _texts(joined: bytes) -> tuple[str, ...]:
    return tuple(joined.decode().split(SEPARATOR)[:-1])
