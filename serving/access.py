"""Who may call: API keys with scopes. Only their hashes are kept; a key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from serving.problems import refuse

Scope = Literal["caller", "marketer", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
PREFIX = "tk_"


class KeysError(ValueError):
    """The file of keys cannot be used; the text names what is wrong and the way out."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a key belongs to and what it opens."""

    id: str
    name: str
    scopes: frozenset[str]


ANYONE = Holder("open", "open door", frozenset(SCOPES))
"""Everybody, where the service runs without keys (the demo)."""


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys that open something: SHA-256 of the key → its holder."""

    holders: Mapping[str, Holder] = field(default_factory=dict)
    open_door: bool = False

    def admit(self, headers: Mapping[str, str], *scopes: str) -> Holder:
        """The holder of the key in `X-API-Key` or `Authorization: Bearer`, if it has one of these scopes.

        Raises:
            RefusedError: 401 without a valid key, 403 with one that does not open this.
        """
        if self.open_door:
            return ANYONE
        holder = self.holders.get(_digest(_presented(headers)))
        if holder is None:
            raise refuse(401, "no valid API key; send it as X-API-Key", www_authenticate="ApiKey")
        if "admin" not in holder.scopes and holder.scopes.isdisjoint(scopes):
            raise refuse(403, f"this key lacks the scope {' or '.join(scopes) or 'admin'}")
        return holder


def _presented(headers: Mapping[str, str]) -> str:
    key = headers.get("x-api-key")
    if key:
        return key
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read(path: Path) -> Keys:
    """The keys in a file; a file that is absent holds none, so that nobody gets in.

    Raises:
        KeysError: the file cannot be read.
    """
    return Keys({entry["sha256"]: _holder(path, entry) for entry in _entries(path)})


def issue(path: Path, name: str, scopes: Collection[str], entropy: bytes) -> str:
    """Make a key from 32 random bytes, keep its hash, and return the key itself: nobody can show it again.

    Raises:
        KeysError: an unknown scope, or too little entropy.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise KeysError(f"scopes {unknown or '(none)'}: choose among {', '.join(SCOPES)}")
    if len(entropy) < 32:
        raise KeysError(f"a key needs 32 random bytes, {len(entropy)} given")
    key = PREFIX + entropy.hex()
    entry = {"id": _digest(key)[:8], "name": name, "scopes": sorted(scopes), "sha256": _digest(key)}
    _write(path, [*_entries(path), entry])
    return key


def revoke(path: Path, key_id: str) -> bool:
    """Take a key away by its id; False if there is none. The running service follows within half a second."""
    entries = _entries(path)
    left = [entry for entry in entries if entry["id"] != key_id]
    if len(left) == len(entries):
        return False
    _write(path, left)
    return True


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(path.read_bytes())
        return [dict(entry) for entry in found["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeysError(f"{path.name}: cannot be read ({error}); restore it or remove it and make new keys") from error


def _holder(path: Path, entry: Mapping[str, Any]) -> Holder:
    scopes = entry.get("scopes")
    if not isinstance(scopes, list) or not set(scopes) <= set(SCOPES) or not isinstance(entry.get("sha256"), str):
        raise KeysError(f"{path.name}: key {entry.get('id')!r} has no hash or unknown scopes {scopes!r}; revoke it")
    return Holder(str(entry.get("id")), str(entry.get("name")), frozenset(scopes))


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps({"keys": entries}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
