"""A small installation for the tests of serving, built once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.workspace import Workspace
from tests.serving import small_programme
from tests.serving.running import Running, served


@pytest.fixture(scope="session")
def built_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("programme") / "home"
    small_programme.build(home)
    return home


@pytest.fixture
def ws(built_home: Path, tmp_path: Path) -> Workspace:
    """A copy that a test may change."""
    home = tmp_path / "home"
    shutil.copytree(built_home, home)
    return Workspace(home)


@pytest.fixture(scope="session")
def service(built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running service that tests share; they use members and ids of their own and leave its files alone."""
    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(built_home, home)
    with served(home) as running:
        yield running
