"""The command line: help that is quick, errors that name the way out, exit codes that tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "demo",
    "ingest",
    "features",
    "frame",
    "train",
    "promote",
    "serve",
    "decide",
    "preview",
    "pause",
    "nightly",
    "check",
    "replay",
    "keys",
    "clock",
    "bench",
    "report",
    "segments",
    "lineage",
]
HEAVY = [
    "feast",
    "mlflow",
    "lightgbm",
    "implicit",
    "lightfm",
    "optuna",
    "matplotlib",
    "pandas",
    "bentoml",
    "sklearn",
    "duckdb",
]


def tessera(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tessera.cli", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_without_loading_a_heavy_library(command: str) -> None:
    probe = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from tessera.cli import app\n"
        f"result = CliRunner().invoke(app, [{command!r}, '--help'])\n"
        "print(result.exit_code, result.output.count(chr(10)))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    status, loaded = answer.stdout.splitlines()
    assert status.startswith("0 ")
    assert int(status.split()[1]) > 5
    assert loaded == "[]"


def test_a_command_without_a_history_says_how_to_load_one(tmp_path: Path) -> None:
    answer = tessera("nightly", "--home", str(tmp_path))
    assert answer.returncode == 2
    assert "tessera ingest" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    answer = tessera("check", "--home", str(tmp_path), "--configs", str(tmp_path / "nowhere"))
    assert answer.returncode == 2
    assert str(tmp_path / "nowhere") in answer.stderr


def test_an_unknown_source_is_named_with_the_known_ones(tmp_path: Path) -> None:
    answer = tessera("ingest", "--source", "sap", "--path", str(tmp_path), "--home", str(tmp_path))
    assert answer.returncode == 2
    assert "sap" in answer.stderr
    assert "online_retail" in answer.stderr


def test_a_source_without_a_path_is_refused(tmp_path: Path) -> None:
    answer = tessera("ingest", "--source", "online_retail", "--home", str(tmp_path))
    assert answer.returncode == 2
    assert "--path" in answer.stderr


def test_the_programme_clock_can_be_set_and_returned_to_real_time(tmp_path: Path) -> None:
    assert "2011-12-09" in tessera("clock", "--home", str(tmp_path), "--at", "2011-12-09").stdout
    assert "+0 s from real time" in tessera("clock", "--home", str(tmp_path), "--live").stdout
