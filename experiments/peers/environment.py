"""The peers' own environment (RecTools wants numpy < 2), and a process in it that answers one request at a time."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

REQUIREMENTS = ("rectools[lightfm]>=0.17", "cornac>=2", "implicit>=0.7.2", "pyarrow>=16,<22")
"""Lower bounds: without them a resolver may fall back to releases of years ago. The newest pyarrow wants numpy 2."""
SCRIPT = Path(__file__).with_name("answering.py")
MEMORY_GB = 8.0
"""Of every process, theirs and ours."""
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class PeersError(RuntimeError):
    """The environment cannot be made or its process does not answer; the text has what was said."""


def python_of(folder: Path, requirements: Sequence[str] = REQUIREMENTS) -> Path:
    """The interpreter of an environment with these packages, made by uv if it is not there yet.

    Args:
        folder: Where it lies; made anew when the requirements change.
        requirements: What is installed.

    Raises:
        PeersError: uv is missing or cannot resolve or build the packages.
    """
    python = folder / "bin" / "python"
    stamp = folder / "tessera-peers.txt"
    wanted = hashlib.sha256("\n".join(requirements).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    if shutil.which("uv") is None:
        raise PeersError("uv is not installed: the peers' environment is made with it (https://docs.astral.sh/uv)")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    _said(["uv", "venv", "--quiet", "--clear", "--no-config", "--python", version, str(folder)])
    _said(["uv", "pip", "install", "--quiet", "--no-config", "--python", str(python), *requirements])
    stamp.write_text(wanted)
    return python


def versions(python: Path) -> dict[str, str]:
    """What is installed there: package → version."""
    said = _said(["uv", "pip", "list", "--no-config", "--format", "json", "--python", str(python)])
    return {each["name"]: each["version"] for each in json.loads(said)}


class Desk:
    """A process that answers requests; one that has ended is started again for the next."""

    def __init__(self, command: Sequence[str], errors: IO[str], folder: Path = SCRIPT.parent) -> None:
        self._command, self._errors, self._folder = command, errors, folder
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, Any], seconds: float | None = None) -> dict[str, Any]:
        """What it answers to one request: seconds, or a `reason`; the end of the process is a reason too.

        Args:
            request: Of the form the process reads.
            seconds: By the clock on the wall; a process that takes longer is ended, and that is the reason. None waits.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            line = process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if line is None:
            self.close()
            return {"reason": f"not done within {seconds:.0f} s"}
        if not line:
            return {"reason": f"the process ended with {process.wait()} (negative: killed by that signal)"}
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                cwd=self._folder,
                env={**os.environ, **dict.fromkeys(_THREADS, "1")},
            )
        return self._process


@contextmanager
def desk(python: Path, errors: IO[str], memory_gb: float = MEMORY_GB) -> Iterator[Desk]:
    """A process of the peers' environment with so much memory, ended afterwards.

    What libraries print goes to `errors`.
    """
    yield from _ended(Desk([str(python), "-W", "ignore", str(SCRIPT), str(memory_gb)], errors))


@contextmanager
def own_desk(errors: IO[str], memory_gb: float = MEMORY_GB) -> Iterator[Desk]:
    """The same for our own recipes, with this interpreter."""
    command = [sys.executable, "-W", "ignore", "-m", "experiments.peers.ours", str(memory_gb)]
    yield from _ended(Desk(command, errors, SCRIPT.parents[2]))


def _ended(found: Desk) -> Iterator[Desk]:
    try:
        yield found
    finally:
        found.close()


def _said(command: Sequence[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(sys.prefix).anchor)
    if found.returncode:
        raise PeersError(f"{' '.join(command[:3])}: {found.stderr.strip()[-2000:]}")
    return found.stdout
