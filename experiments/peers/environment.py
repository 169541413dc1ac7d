"""The peers' own environment (RecTools wants numpy < 2), and a process in it that answers one request at a time."""

from __future__ import annotations

import hashlib
import json
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

    def __init__(self, command: Sequence[str], errors: IO[str]) -> None:
        self._command, self._errors = command, errors
        self._process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=SCRIPT.parent,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers to one request: seconds, or a `reason`; the end of the process is a reason too."""
        if self._process.poll() is not None:
            self.close()
            self._process = self._started()
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        try:
            into.write(json.dumps(request) + "\n")
            into.flush()
            line = out.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"reason": f"the process ended with {self._process.wait()} (negative: killed by that signal)"}
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def desk(python: Path, errors: IO[str], memory_gb: float = 8.0) -> Iterator[Desk]:
    """A process of the peers' environment with so much memory, ended afterwards.

    What libraries print goes to `errors`.
    """
    found = Desk([str(python), "-W", "ignore", str(SCRIPT), str(memory_gb)], errors)
    try:
        yield found
    finally:
        found.close()


def _said(command: Sequence[str]) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(sys.prefix).anchor)
    if found.returncode:
        raise PeersError(f"{' '.join(command[:3])}: {found.stderr.strip()[-2000:]}")
    return found.stdout
