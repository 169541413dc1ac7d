"""The version of the code that decides."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from serving import code
from tests.serving.running import ROOT


def _version(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from serving import code; print(code.version())"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_changed_line_is_another_code_and_another_place_is_not(tmp_path: Path) -> None:
    for room in code.ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    assert _version(tmp_path) == _version(ROOT) == code.version()
    value = tmp_path / "serving" / "value.py"
    value.write_text(value.read_text() + "\n# another line\n")
    assert _version(tmp_path) != code.version()
