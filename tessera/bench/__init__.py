"""Benchmarks that print figures beside a named alternative; each measures in one run on one machine."""

from __future__ import annotations

from importlib import import_module

from tessera.setup import RefusedError

WHAT = ("serve", "features", "train", "bulk", "lifetime", "films", "spread", "hillstrom", "allocation", "rounds")


def run(what: str) -> int:
    """Run one benchmark by its name.

    Returns:
        0; the figures are for reading, not for passing.

    Raises:
        RefusedError: There is no such benchmark.
    """
    if what not in WHAT:
        raise RefusedError(f"bench {what}: there is {', '.join(WHAT)}")
    import_module(f"tessera.bench.{what}").run()
    return 0
