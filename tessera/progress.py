"""Progress for long work: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
LINE_EVERY_S = 10.0


class Steps:
    """Tells which step runs and how long each took; `note` adds a line below the running step."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the first step could have begun."""
        return time.monotonic() - self._began

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Run one step: its title while it runs, its time when it is done."""
        began = time.monotonic()
        if self._tty:
            from rich.console import Console

            with Console(stderr=True).status(f"{title} …"):
                yield
        else:
            yield
        print(f"[{self.seconds:6.1f} s] {title} ({time.monotonic() - began:.1f} s)", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One plain line about what was found or made."""
        for line in text.splitlines():
            print(f"           {line}", file=sys.stderr, flush=True)

    def counted(self, items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
        """The items, with a bar that fills on a terminal and a line every ten seconds elsewhere."""
        if self._tty:
            from rich.console import Console
            from rich.progress import track

            yield from track(items, description=what, total=total, console=Console(stderr=True), transient=True)
            return
        due = time.monotonic() + LINE_EVERY_S
        for number, item in enumerate(items, start=1):
            yield item
            if time.monotonic() > due:
                self.note(f"{number:,} of {total:,} {what}")
                due = time.monotonic() + LINE_EVERY_S
