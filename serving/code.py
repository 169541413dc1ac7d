"""Which code decides: a digest of the sources that a decision runs through, so that a replay can name a difference."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

ROOMS = ("features", "serving")


@cache
def version() -> str:
    """Twelve hex digits over every Python file of the rooms that decide; another digit, another code.

    Read once for each process, at its start, before anybody can change the files under it.
    """
    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).resolve().parents[1]
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
