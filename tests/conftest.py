"""What tests of the whole share: one demonstration, run once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import whole


@dataclass(frozen=True)
class Demonstrated:
    """The folder that `tessera demo --once` left, and what it said."""

    home: Path
    said: subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """A command run in this process may set the environment, as `serve` does; that ends with the test."""
    before = dict(os.environ)
    yield
    # Feast sets this as it is imported, and Prometheus' client, imported after it, needs it for as long as it lives.
    lasting = {name: value for name, value in os.environ.items() if name == "PROMETHEUS_MULTIPROC_DIR"}
    os.environ.clear()
    os.environ.update(before | lasting)


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Demonstrated:
    """Tests take copies (`whole.copy`)."""
    place = tmp_path_factory.mktemp("demonstrated")
    said = whole.demonstrate(place / "home", whole.quick_configs(place / "configs"))
    return Demonstrated(place / "home", said)
