"""What tests of the commands share: the command as a person runs it, and a workspace with three purchases."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tessera import cli
from tests.tessera.commands import CONFIGS, DERIVE, ROOT, THREE, Tessera


@pytest.fixture
def tessera(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tessera:
    """The command as a person runs it: exit code, what it printed, what it said on stderr."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def run(*arguments: str | Path, home: Path, configs: Path = CONFIGS) -> tuple[int, str, str]:
        line = ["tessera", *map(str, arguments), "--home", str(home), "--configs", str(configs)]
        monkeypatch.setattr(sys, "argv", line)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(str(end.value.code or 0)), out, err

    return run


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "purchases.csv").write_text(THREE)
    (folder / "map.yaml").write_text(DERIVE)
    return folder


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a history of three purchases and its features; tests take copies."""
    place = tmp_path_factory.mktemp("bad-input")
    (place / "purchases.csv").write_text(THREE)
    (place / "map.yaml").write_text(DERIVE)
    for command in (["ingest", "--source", "folder", "--path", str(place)], ["features"]):
        line = [*command, "--home", str(place / "home"), "--configs", str(CONFIGS)]
        subprocess.run([sys.executable, "-m", "tessera.cli", *line], check=True, capture_output=True, cwd=ROOT)
    return place / "home"


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> Path:
    return shutil.copytree(loaded, tmp_path / "home")
