"""What a side by side has done so far, as JSON lines: every trial and every answer is on disk as soon as it is known.

A run that was interrupted reads its own lines and goes on; a line that a kill cut short does not count. The lists of an
answer lie beside it as Parquet, written before the line that names them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LINES = "peers.jsonl"
LISTS = "lists"


class RecordsError(ValueError):
    """The records are of another run, in use, or not there; the text says which and the way out."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of settings tried on the inner fold."""

    name: str
    """Of the entrant."""
    number: int
    """From 0, which is the defaults."""
    settings: Mapping[str, Any]
    ndcg: float | None
    """None where it did not run."""
    seconds: float
    """By the clock on the wall, with the lists."""
    seed: int
    reason: str = ""
    """Why it did not run."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One entrant's lists on the split that is judged, or why there are none."""

    title: str
    """The entrant's name, with ` (tuned)` for the settings that tuning found."""
    seed: int
    settings: Mapping[str, Any]
    seconds: float
    """By the clock on the wall."""
    fit_seconds: float | None = None
    """Processor time."""
    answer_seconds: float | None = None
    """Processor time."""
    lists: str = ""
    """Parquet in the folder of lists; empty where it did not run."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """What one call of the run was asked for."""

    identity: Mapping[str, Any]
    """What must be the same for the run to go on: the split, the figures, the sampler, the limits."""
    source: Mapping[str, Any]
    """Where the history came from, so that a report can cut it again."""
    entrants: Mapping[str, Mapping[str, Any]]
    """Name → defaults."""
    trials: int
    seeds: Sequence[int]
    versions: Mapping[str, str]
    tuned_on: str


@dataclass(frozen=True, slots=True)
class Records:
    """The lines of one folder."""

    folder: Path

    @property
    def file(self) -> Path:
        """The JSON lines."""
        return self.folder / LINES

    def sessions(self) -> list[Session]:
        """Every call of the run, oldest first."""
        return [Session(**line) for line in self._of("session")]

    def trials(self, name: str) -> list[Trial]:
        """The trials of one entrant, in order."""
        return [Trial(**line) for line in self._of("trial") if line["name"] == name]

    def answers(self) -> dict[tuple[str, int], Answered]:
        """Title and seed → the answer."""
        return {(line["title"], line["seed"]): Answered(**line) for line in self._of("answer")}

    def begin(self, session: Session) -> None:
        """Note a call of the run.

        Raises:
            RecordsError: The lines are of another run, or an entrant's defaults were others.
        """
        now: dict[str, Any] = json.loads(json.dumps(asdict(session)))
        for before in self.sessions():
            for key, value in now["identity"].items():
                if before.identity.get(key) != value:
                    raise RecordsError(_differs(self.folder, key, before.identity.get(key), value))
            for name, defaults in now["entrants"].items():
                if before.entrants.get(name, defaults) != defaults:
                    raise RecordsError(_differs(self.folder, f"{name} as", before.entrants[name], defaults))
        self._add("session", session)

    def add(self, line: Trial | Answered) -> None:
        """Put a line on disk."""
        self._add("trial" if isinstance(line, Trial) else "answer", line)

    def lists(self, answer: Answered) -> Path:
        """Where the lists of an answer lie."""
        return self.folder / LISTS / answer.lists

    @contextmanager
    def held(self) -> Iterator[None]:
        """The only run that writes here; what a kill left of a last line is cut away.

        Raises:
            RecordsError: Another run writes here.
        """
        (self.folder / LISTS).mkdir(parents=True, exist_ok=True)
        with (self.folder / "peers.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as busy:
                raise RecordsError(f"{self.folder}: another run writes here; wait for it or stop it") from busy
            if self.file.exists():
                with self.file.open("r+b") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)
            yield

    def _add(self, kind: str, line: Session | Trial | Answered) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"line": kind, **asdict(line)}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _of(self, kind: str) -> Iterator[dict[str, Any]]:
        if not self.file.exists():
            return
        for text in self.file.read_text(encoding="utf-8").split("\n")[:-1]:
            line: dict[str, Any] = json.loads(text)
            if line.pop("line") == kind:
                yield line


def _differs(folder: Path, what: str, before: Any, now: Any) -> str:
    return (
        f"{folder}: was begun with {what} {before!r}, not {now!r}; give what it was begun with, or another folder "
        "(--out)"
    )
